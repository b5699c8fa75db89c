from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from inseq_core.cli.program import program
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.hooks import ModelSpec, get_host


@pytest.fixture(autouse=True)
def carried():
    """A toy by a name that needs no framework option."""
    for name in ("toy-lm", "toy-translator"):
        spec = ModelSpec(name=name, location=lambda name=name: name, summary="A toy.", framework="toy")
        get_host().models.register(spec)
    yield
    for name in ("toy-lm", "toy-translator"):
        get_host().models.unregister(name)


def run(*arguments, model="toy-lm", method="leave_out"):
    """``inseq attribute`` with these arguments."""
    return CliRunner().invoke(program, ["attribute", "-m", model, "-a", method, *arguments])


def saved(tmp_path, *arguments, **options):
    """The result that the command saved."""
    path = tmp_path / "out.json"
    result = run(*arguments, "--hide", "-o", str(path), **options)
    assert result.exit_code == 0, result.output
    return FeatureAttributionOutput.load(path)


def test_one_command_shows_a_table():
    """Source tokens, steps, and the step scores below."""
    result = run("-i", "the dog sees", "--step_scores", "probability")

    assert result.exit_code == 0, result.output
    for text in ("the", "sees", "probability"):
        assert text in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("-i", "the dog", "a cat"),
        ("-i", "the dog", "-i", "a cat"),
        ("--input_texts", "the dog", "a cat"),
        ("--input-texts", "the dog", "--input-texts=a cat"),
    ],
)
def test_several_texts_follow_one_another_or_are_repeated(tmp_path, arguments):
    """And one text is never a list of its characters."""
    assert saved(tmp_path, *arguments).info.input_texts == ("the dog", "a cat")


def test_options_are_written_with_underscores_or_hyphens(tmp_path):
    """Scripts for the peer and habits of the shell both work."""
    a = saved(tmp_path, "-i", "the dog", "--attributed_fn", "logit", "--start_pos", "-2")
    b = saved(tmp_path, "-i", "the dog", "--attributed-fn", "logit", "--start-pos", "-2")

    assert a[0] == b[0] and a.info.attributed_fn == "logit" and a[0].n_steps == 2


def test_every_option_reaches_the_call(tmp_path):
    """The peer ignored its --device and others."""
    out = saved(
        tmp_path,
        *(
            "-i",
            "the dog",
            "-g",
            "a cat sees it",
            "-fn",
            "logit",
            "-bs",
            "1",
            "-s",
            "2",
            "-e",
            "4",
            "--seed",
            "7",
        ),
        *("--step_scores", "probability", "entropy", "--attribute_target", "--eos"),
        *("--output_step_attributions", "--attribution_kwargs", '{"sign": -1.0, "features": "word"}'),
        model="toy-translator",
    )

    info = out.info
    assert (info.attr_pos_start, info.attr_pos_end, info.seed) == (2, 4, 7)
    assert info.attributed_fn == "logit" and info.step_scores == ("probability", "entropy")
    assert info.attribute_target and info.include_eos_baseline and info.output_step_attributions
    assert info.attribution_args["sign"] == -1.0 and out[0].feature_kind == "word"
    assert info.constrained_decoding and info.generated_texts == ("a cat sees it",)
    generated = saved(tmp_path, "-i", "the dog", "--generation_kwargs", '{"max_new_tokens": 2}')
    assert generated.info.generation_args == {"max_new_tokens": 2} and generated[0].n_steps == 2


def test_the_target_of_a_decoder_only_model_is_attributed_anyway(tmp_path):
    """One script for both kinds of models: what the flag asks for is there."""
    a, b = saved(tmp_path, "-i", "the dog", "--attribute_target"), saved(tmp_path, "-i", "the dog")

    assert a[0] == b[0]


def test_loading_options_reach_the_framework():
    """The toy accepts no such argument, and says so."""
    result = run("-i", "the dog", "--model_kwargs", '{"nonsense": 1}')

    assert result.exit_code == 1 and "nonsense" in result.output


def test_aggregators_and_selectors_are_applied_in_order(tmp_path):
    """positional: 100 · step + position in every entry of (layer, hidden)."""
    common = ("-i", "the dog", "--generation_kwargs", '{"max_new_tokens": 2}')
    out = saved(
        tmp_path,
        *common,
        *("--attribution_aggregators", "sum", "mean", "--attribution_selectors", "1"),
        "--no_normalize_attributions",
        method="positional",
    )
    assert out[0].target_attributions[:3, 0].tolist() == [300.0, 301.0, 302.0]

    normalized = saved(
        tmp_path,
        *common,
        "--attribution_aggregators",
        "sum",
        "sum",
        "--normalize_attributions",
        method="positional",
    )
    assert normalized[0].target_attributions[:3, 0].sum() == pytest.approx(1.0, rel=1e-6)
    rescaled = saved(tmp_path, *common, "--rescale_attributions", method="positional")
    assert rescaled[0].maximum == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("method", ["leave_out", "positional"])
@pytest.mark.parametrize(
    ("options", "aggregator", "parameters"),
    [
        (("--attribution_aggregators", "sum"), "sum", {}),
        (("--attribution_aggregators", "words"), "words", {}),
        (("--attribution_aggregators", "words", "sum", "mean"), ["words", "sum", "mean"], {}),
        (("--attribution_aggregators", "sum", "mean"), ["sum", "mean"], {}),
        (
            ("--attribution_aggregators", "sum", "mean", "--no_normalize_attributions"),
            ["sum", "mean"],
            {"normalize": False},
        ),
        (("--normalize_attributions",), None, {"normalize": True}),
        (("--rescale_attributions",), None, {"rescale": True}),
    ],
)
def test_an_aggregator_means_what_it_means_in_python(tmp_path, method, options, aggregator, parameters):
    """Naming the default aggregator switched normalisation off here, and left it on there."""
    arguments = ("-i", "the dog sees", "--generation_kwargs", '{"max_new_tokens": 2}')
    whole = saved(tmp_path, *arguments, method=method)
    out = saved(tmp_path, *arguments, *options, method=method)

    assert list(out) == list(whole.aggregate(aggregator, **parameters))
    whole = saved(tmp_path, *arguments, *options, "--aggregate_output", method=method)
    assert whole[0].axes == () and list(whole) == list(out.aggregate())


def test_an_entry_is_picked_from_each_axis(tmp_path):
    """positional has layers and dimensions; the last axis comes first. One index more is an axis that is not there."""
    arguments = ("-i", "the dog", "--generation_kwargs", '{"max_new_tokens": 2}')
    options = ("--attribution_aggregators", "words", "--attribution_selectors")
    whole = saved(tmp_path, *arguments, method="positional")

    both = saved(
        tmp_path, *arguments, *options[2:], "2", "1", "--no_normalize_attributions", method="positional"
    )
    assert both[0].axes == ()
    assert both[0].target_attributions[0].tolist() == whole[0].target_attributions[0, :, 1, 2].tolist()
    words = saved(tmp_path, *arguments, *options, "2", method="positional")
    assert list(words) == list(whole.aggregate(["words", "sum", "mean"], select_idx=2))
    for picked, said in (("5", "within the axis 'hidden' of size 3"), ("1 1 1", "there is layer, hidden")):
        result = run(*arguments, *options, *picked.split(), method="positional")
        assert result.exit_code == 1 and said in result.output


@pytest.mark.parametrize("flag", ["--rescale_attributions", "--normalize_attributions"])
def test_merged_tokens_can_be_rescaled_and_normalised(tmp_path, flag):
    """It is asked of the whole, whichever aggregator comes last."""
    arguments = ("-i", "the dog sees", "--attribution_aggregators", "words", flag)
    scores = saved(tmp_path, *arguments, method="positional")[0].target_attributions

    assert scores.ndim == 2
    one = np.nanmax(scores) if "rescale" in flag else np.nansum(scores[:, 0])
    assert one == pytest.approx(1.0, rel=1e-6)  # float32


@pytest.mark.parametrize("options", [("--aggregate_output",), ("--attribution_aggregators", "words")])
def test_step_attributions_are_aggregated_with_their_texts(tmp_path, options):
    """They were dropped as soon as anything was aggregated."""
    arguments = ("-i", "the dog sees", "--output_step_attributions", *options)
    out = saved(tmp_path, *arguments, method="positional")

    assert out.step_attributions == out[0].step_attributions


def test_what_is_shown_has_one_score_a_token(tmp_path):
    """Merging words leaves layers and dimensions, and nobody asks for a table of each."""
    result = run("-i", "the dog", "--attribution_aggregators", "words", method="positional")

    assert result.exit_code == 0, result.output
    assert "layer" not in result.output and "hidden" not in result.output


def test_the_saved_file_is_granular_unless_aggregated(tmp_path):
    """Raw scores are what one can go on with."""
    assert saved(tmp_path, "-i", "the dog", method="positional")[0].axes == ("layer", "hidden")
    assert saved(tmp_path, "-i", "the dog", "--aggregate_output", method="positional")[0].axes == ()


def test_a_methods_own_parameter_may_be_called_method(tmp_path):
    """Integrated gradients have a quadrature of that name, and explain lists it."""
    out = saved(tmp_path, "-i", "the dog", "--attribution_kwargs", '{"method": "fast"}', method="quadrature")

    assert out.info.attribution_method == "quadrature" and out.info.attribution_args["method"] == "fast"
    result = run("-i", "the dog", "--attribution_kwargs", '{"method": "fast"}')
    assert result.exit_code == 2 and "'method' has an option of its own" in result.output


def test_a_picture_is_written_as_one_page(tmp_path):
    """--viz_path; with --hide nothing is printed but where it is."""
    path = tmp_path / "picture.html"
    result = run("-i", "the dog", "a cat", "--viz_path", str(path), "--hide")

    page = path.read_text(encoding="utf-8")
    assert result.exit_code == 0 and "<" in page and "dog" in page and "cat" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--input_texts"),
        (("-i", "the dog", "--hide"), "--save_path or --viz_path"),
        (("-i", "the dog", "--attribution_kwargs", "{n: 1}"), "is not JSON"),
        (("-i", "the dog", "--attribution_kwargs", "[1]"), "JSON list"),
        (("-i", "the dog", "--attribution_kwargs", '{"seed": 1}'), "an option of its own"),
        (("-i", "the dog", "--attribution_kwargs", '{"sgn": 1}'), "Did you mean 'sign'"),
        (("-i", "the dog", "-fn", "entropi"), "Did you mean 'entropy'"),
        (("-i", "the dog", "--step_scores", "entropi"), "Did you mean 'entropy'"),
        (("-i", "the dog", "-o", "/no/such/folder/x.json"), "does not exist"),
        (("-i", "the dog", "-o", "-"), "results go to files"),
        (("-i", "the dog", "--aggregate_output"), "--save_path"),
        (("-i", "the dog", "--output_step_attributions"), "--save_path"),
        (("-i", "the dog", "--normalize_attributions", "--rescale_attributions"), "one of"),
        (("-i", "the dog", "--attribution_selectors", "1"), "at most one index for each axis"),
        (("-i", "the dog", "--attribution_aggregators", "wrods"), "Did you mean 'words'"),
        (("-i", "the dog", "--attribution_aggregators", "split"), "split_pattern = None"),
        (("-i", "the dog", "-s", "99"), "attr_pos_start = 99"),
        (("-i", "the dog", "-bs", "0"), "batch_size = 0"),
        (("-i", "the dog", "--atribute_target"), "--attribute_target"),
    ],
)
def test_bad_input_is_one_friendly_message(arguments, said):
    """No traceback, exit status not zero."""
    result = run(*arguments)

    assert result.exit_code != 0
    assert said in result.output and "Traceback" not in result.output


def test_a_misspelt_aggregator_is_refused_before_a_model_is_loaded():
    """After a long run the result would be gone."""
    for name in ("wrods", "split"):
        result = run("-i", "the dog", "--attribution_aggregators", name, model="a-model-that-there-is-not")

        assert result.exit_code == 2 and name in result.output


def test_verbose_tells_what_is_done(caplog):
    """-v and -vv differ."""
    import logging

    run("-i", "the dog", "-vv")
    assert logging.getLogger("inseq_core").level == logging.DEBUG
    run("-i", "the dog", "-v")
    assert logging.getLogger("inseq_core").level == logging.INFO
    run("-i", "the dog")
    assert logging.getLogger("inseq_core").level == logging.WARNING


def test_a_saved_file_is_plain_json(tmp_path):
    """Readable by anyone, executed by nobody."""
    path = tmp_path / "out.json"
    run("-i", "the dog", "--hide", "-o", str(path))

    assert isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
