from __future__ import annotations

import pytest
from click.testing import CliRunner

from inseq_core.cli.program import program
from inseq_core.errors import InvalidArgumentError
from inseq_core.pecore import AttributeContextOutput

pytestmark = pytest.mark.usefixtures("toys")

TEXTS = (
    *("--input_current_text", "a cat"),
    *("--input_context_text", "the small dog"),
    *("--output_current_text", "sees it because"),
)


def run(*arguments, model="toy-lm", answers=None):
    """``inseq attribute-context`` with these arguments."""
    return CliRunner().invoke(
        program, ["attribute-context", "-m", model, "-a", "leave_out", *arguments], input=answers
    )


def saved(tmp_path, *arguments, texts=TEXTS, **options):
    """The result that the command saved."""
    path = tmp_path / "out.json"
    result = run(*texts, *arguments, "--no_show_viz", "-o", str(path), **options)
    assert result.exit_code == 0, result.output
    return AttributeContextOutput.load(path)


def test_one_command_shows_the_sensitive_tokens(tmp_path):
    """Nothing is written unless it is asked for."""
    result = run(*TEXTS)

    assert result.exit_code == 0, result.output
    assert "context sensitivity" in result.output and "small" in result.output


def test_options_are_written_with_underscores_or_hyphens(tmp_path):
    """Scripts for the peer and habits of the shell both work."""
    with_hyphens = tuple(t.replace("_", "-") if t.startswith("--") else t for t in TEXTS)

    a, b = saved(tmp_path), saved(tmp_path, texts=with_hyphens)
    assert a.cti_scores == b.cti_scores and a.cci_scores == b.cci_scores


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--input_template", "{current} {context}"), "input_template", "{current} {context}"),
        (
            ("--contextless_input_current_text", "red {current}"),
            "contextless_input_current_text",
            "red {current}",
        ),
        (
            ("--contextless_output_current_text", "it {current}"),
            "contextless_output_current_text",
            "it {current}",
        ),
        (("--context_sensitivity_metric", "pcxmi"), "context_sensitivity_metric", "pcxmi"),
        (("-fn", "contrast_prob_diff"), "attributed_fn", "contrast_prob_diff"),
        (("--decoder_input_output_separator", " is "), "decoder_input_output_separator", " is "),
        (("--attribution_kwargs", '{"sign": -1.0}'), "attribution_kwargs", {"sign": -1.0}),
        (("--normalize_attributions",), "normalize_attributions", True),
        (("--rescale_attributions",), "rescale_attributions", True),
        (("--context_sensitivity_std_threshold", "-3"), "context_sensitivity_std_threshold", -3.0),
        (
            ("-fn", "contrast_prob_diff", "--contextless_output_next_tokens", "red"),
            "contextless_output_next_tokens",
            ["red"],
        ),
        (("-a", "positional"), "attribution_method", "positional"),
        (("-a", "positional", "--attribution_selectors", "1"), "attribution_selectors", [1]),
        (("-a", "positional", "--attribution_aggregators", "sum"), "attribution_aggregators", ["sum"]),
    ],
)
def test_an_option_reaches_the_procedure_and_changes_the_result(tmp_path, arguments, name, value):
    """The peer has flags that change nothing."""
    base = saved(tmp_path, *arguments[:2]) if len(arguments) > 2 else saved(tmp_path)
    out = saved(tmp_path, *arguments)

    assert out.info[name] == value
    assert (out.cti_scores, out.cci_scores) != (base.cti_scores, base.cci_scores)


def test_no_more_tokens_are_attributed_than_are_asked_for(tmp_path):
    """All three without a threshold."""
    every = ("--context_sensitivity_std_threshold", "-9")

    assert len(saved(tmp_path, *every).cci_scores) == 3
    assert len(saved(tmp_path, *every, "--context_sensitivity_topk", "2").cci_scores) == 2


def test_loading_options_reach_the_framework(monkeypatch):
    """All of them: the peer ignores its --device."""
    asked = {}

    def load(name, method, **options):
        asked.update(options, name=name, method=method)
        raise InvalidArgumentError("seen")

    monkeypatch.setattr("inseq_core.model.load_model", load)
    run(
        *TEXTS,
        *("--device", "cuda:1", "--framework", "toy"),
        *("--model_kwargs", '{"a": 1}', "--tokenizer_kwargs", '{"b": 2}'),
    )

    assert asked == {
        "name": "toy-lm",
        "method": "leave_out",
        "device": "cuda:1",
        "framework": "toy",
        "model_kwargs": {"a": 1},
        "tokenizer_kwargs": {"b": 2},
    }


@pytest.mark.parametrize(
    "arguments",
    [("--attribution_std_threshold", "-9"), ("--attribution_topk", "1", "--attribution_std_threshold", "-9")],
)
def test_options_of_cues_change_the_cues(tmp_path, arguments):
    """Three without a threshold, one with topk; the scores are the same."""
    base, out = saved(tmp_path), saved(tmp_path, *arguments)

    assert base.cci_scores == out.cci_scores
    assert len(out.cues(out.cci_scores[0])) == (1 if "--attribution_topk" in arguments else 3)


def test_an_output_context_is_given_or_generated(tmp_path):
    """The strategies of the output's context."""
    texts = ("--input_current_text", "a cat", "--output_current_text", "sees")
    given = saved(tmp_path, "--output_context_text", "the dog", texts=texts)
    assert given.output_context == "the dog"

    wanted = (
        "--output_template",
        "{context} because {current}",
        "--generation_kwargs",
        '{"max_new_tokens": 1}',
    )
    refused = run(*texts, *wanted, "--handle_output_context_strategy", "pre")
    assert refused.exit_code == 1 and "needs output_context_text" in refused.output
    unclear = run(*texts, *wanted, "--handle_output_context_strategy", "auto")
    assert unclear.exit_code == 1 and "not clear" in unclear.output
    asked = run(*texts, "--input_context_text", "the small dog", *wanted, answers="\n")
    assert asked.exit_code == 0, asked.output
    assert "The model generated:" in asked.stderr and "nothing for none" in asked.stderr
    assert "The model generated:" not in asked.stdout and "nothing for none" not in asked.stdout


def test_the_word_to_compare_with_is_asked_for(tmp_path):
    """And the answer is taken."""
    out = saved(
        tmp_path,
        *("-fn", "contrast_prob_diff", "--context_sensitivity_topk", "1"),
        "--prompt_user_for_contextless_output_next_tokens",
        answers="blue\n",
    )

    assert out.cci_scores[0].contrast_token == "blue"


def test_special_tokens_are_kept(tmp_path):
    """As many as are named."""
    texts = ("--input_current_text", "a", "--input_context_text", "<unk> dog", "--output_current_text", "it")

    assert saved(tmp_path, texts=texts).input_context_tokens == ("dog",)
    kept = saved(tmp_path, "--special_tokens_to_keep", "<unk>", "</s>", texts=texts)
    assert kept.input_context_tokens == ("<unk>", "dog")


def test_info_and_pictures_are_as_they_are_asked_for(tmp_path):
    """Two switches, a page, and steps on the way."""
    assert saved(tmp_path, "--no-add-output-info").info is None
    page = tmp_path / "out.html"
    result = run(*TEXTS, "--viz_path", str(page), "--no_show_viz", "--show_intermediate_outputs")
    assert result.exit_code == 0, result.output
    assert "small" in page.read_text() and "kl_divergence" in result.output
    assert "There, underlined" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (("--no_show_viz",), "leaves nothing to see", 2),
        (("--save_path", "nowhere/at/all.json"), "does not exist", 2),
        (("--save_path", "-"), "results go to files", 2),
        (("--viz_path", "nowhere/at/all.html"), "does not exist", 2),
        (("--context_sensitivity_metric", "nonsense"), "nonsense", 2),
        (("--context_sensitivity_topk", "0"), "0", 2),
        (("--input_template", "{context}"), "places {current}", 1),
    ],
)
def test_what_is_wrong_is_one_message(arguments, message, status):
    """A usage error is status 2, ours 1."""
    result = run(*TEXTS, *arguments)

    assert message in result.output
    assert result.exit_code == status


def test_nothing_is_loaded_for_arguments_that_do_not_fit():
    """The model's name is wrong, too; the template is said first."""
    result = run(*TEXTS, "--input_template", "{context}", model="no-such-model")

    assert "places {current}" in result.output
