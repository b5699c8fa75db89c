"""What a user mistypes beside ``attribute()``: an error of ours says what was wrong, before anything is lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from support.results import encoder_decoder, output_of

import inseq
from inseq_core import errors

QUIET = {"show_progress": False}


@pytest.fixture(scope="module")
def translator():
    """The embedded translator."""
    return inseq.load_model("demo-en-fr", "leave_one_out")


@pytest.fixture
def granular():
    """(S, T, 2 layers, 4 heads)."""
    scores = np.arange(4 * 3 * 2 * 4, dtype=np.float32).reshape(4, 3, 2, 4)
    return encoder_decoder(source_attributions=scores, target_attributions=None, axes=("layer", "head"))


@pytest.mark.parametrize(
    "wrong", [2.5, "a", True, (1, 0), (2, 2), (0, 5), (-5, 2), (0.0, 2), [], [0, 4], {1}, -5]
)
def test_a_selection_that_picks_nothing_or_is_none_is_refused(granular, wrong):
    """An empty span became a mean of nothing: zeros or NaN under the name of scores."""
    with pytest.raises(errors.InvalidArgumentError, match="select_idx"):
        granular.aggregate("scores", select_idx=wrong)


@pytest.mark.parametrize(
    ("selection", "heads"), [(1, [1]), (-1, [3]), ((1, 3), [1, 2]), ((-2, 4), [2, 3]), ([3, 0], [3, 0])]
)
def test_a_selection_picks_what_it_says(granular, selection, heads):
    """Indices, a span with an exclusive end, a list; negative ones from the end."""
    found = granular.aggregate("scores", aggregate_fn="mean", select_idx=selection, normalize=False)

    expected = granular.source_attributions[..., heads].mean(-1)
    np.testing.assert_allclose(found.source_attributions, expected, rtol=1e-6)


TEXTS = ["The nurse left.", "The doctor came."]


@pytest.mark.parametrize(
    "texts",
    [
        np.array(TEXTS),
        pd.Series(TEXTS, index=[7, 3]),
        pd.Index(TEXTS),
        pd.array(TEXTS),
        np.array(TEXTS, object),
    ],
    ids=["array", "series", "index", "pandas array", "objects"],
)
def test_texts_may_come_from_an_array_or_a_column(translator, texts):
    """Who has a table passes a column of it; its index is not the texts' order."""
    outputs = pd.Series(["L'infirmière est partie.", "Le médecin est venu."])
    found = translator.attribute(texts, outputs, attr_pos_start=np.array([1, 2]), **QUIET)

    assert found == translator.attribute(TEXTS, list(outputs), attr_pos_start=[1, 2], **QUIET)
    assert translator.generate(texts) == translator.generate(TEXTS)
    assert tuple(translator.embed(texts).shape) == tuple(translator.embed(TEXTS).shape)


@pytest.mark.parametrize(
    "many", [iter(TEXTS), (text for text in TEXTS), set(TEXTS), dict.fromkeys(TEXTS).keys()]
)
def test_what_has_no_order_or_can_be_read_once_is_refused_with_the_way_out(translator, many):
    """A generator is empty the second time, and a set is shuffled."""
    with pytest.raises(
        errors.InvalidArgumentError, match=r"input_texts = .* a list of them: list\(…\) makes one"
    ):
        translator.attribute(many, **QUIET)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"english": TEXTS}), "input_texts = "),
        (np.array([TEXTS]), "input_texts = "),
        (np.array("a text"), "input_texts = "),
        (pd.Series(["a", None]), r"input_texts\[1\] = nan"),
        (np.array([1, 2]), r"input_texts\[0\] = 1 "),
        (pd.Series([], dtype=str), "at least one text"),
    ],
)
def test_tables_and_columns_of_other_things_are_refused(translator, table, said):
    """The names of a table's columns are not its texts, and a missing text is none."""
    with pytest.raises(errors.InvalidArgumentError, match=said):
        translator.attribute(table, **QUIET)


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ("a \ud83d b", "input_texts"),
        (["fine", "\udc80"], r"input_texts\[1\]"),
        ([{"role": "user", "content": "\ud83d"}], r"input_texts\[0\]\['content'\]"),
    ],
)
def test_half_of_a_character_is_refused_with_its_place(translator, texts, named):
    """Text that was cut, or read as Latin-1 with errors kept: tokenizers end in a TypeError."""
    with pytest.raises(errors.InvalidArgumentError, match=rf"{named} = .*half of a character, '\\ud"):
        translator.attribute(texts, **QUIET)
    with pytest.raises(errors.InvalidArgumentError, match=r"generated_texts = .*half of a character"):
        translator.attribute("fine", "\ud83d", **QUIET)


def test_a_text_that_is_not_there_is_said_with_how_many_there_are(granular):
    """Not an error about tuples."""
    out = output_of(granular)
    with pytest.raises(IndexError, match=r"no text 5: the output holds 1"):
        out[5]
    with pytest.raises(TypeError, match=r"out\[0\]\['her'\]"):
        out["her"]


@pytest.mark.parametrize(
    ("show", "wrong"),
    [
        (lambda out: out.show_granular(display=False, slice_dims=3), "slice_dims = 3"),
        (lambda out: out.show_tokens(display=False, replace_char=3), "replace_char = 3"),
        (lambda out: out.show_tokens(display=False, replace_char={"a": 1}), "replace_char = "),
        (lambda out: out.aggregate("subwords", special_chars=3), "special_chars = 3"),
        (lambda out: out.show(display="no"), "display = 'no'"),
        (lambda out: out.show(display=False, return_html="no"), "return_html = 'no'"),
        (lambda out: out.show(display=False, max_show_size="a"), "max_show_size = 'a'"),
        (lambda out: out.show_granular(display=False, max_show_size=2.5), "max_show_size = 2.5"),
        (lambda out: out.show(display=False, show_dim="head"), r"show_dim = 'head'.*\n.*show_granular"),
        (lambda out: out.show(display=False, slice_dims={"head": (0, 1)}), "slice_dims = "),
        (lambda out: out.show_tokens(display=False, wrap_after=2.5), "wrap_after = 2.5"),
        (lambda out: out.show_tokens(display=False, wrap_after={1}), "wrap_after = "),
        (lambda out: out.show_tokens(display=False, step_score_highlight=3), "step_score_highlight = 3"),
        (lambda out: out.decode_tokens(None), "tokenizer = None"),
        (lambda out: out.aggregate(normalize="no"), "normalize = 'no'"),
        (lambda out: out.save("nowhere.json", overwrite="no"), "overwrite = 'no'"),
        (lambda out: out.save_html(3), "path = 3"),
    ],
)
def test_an_option_of_another_kind_is_named(granular, show, wrong):
    """Each ended in an error about attributes of Python's own types."""
    with pytest.raises(errors.InvalidArgumentError, match=wrong):
        show(output_of(granular))


def test_what_is_not_installed_is_not_called_so(granular):
    """Axes and step scores are the result's own."""
    for ask in (
        lambda: granular.aggregate("scores", axis="hidden"),
        lambda: granular.weight_attributions("nope"),
        lambda: output_of(granular).show_granular(display=False, show_dim="nope"),
    ):
        with pytest.raises(errors.UnknownNameError, match="There are: ") as raised:
            ask()
        assert "Installed" not in str(raised.value)


@pytest.mark.parametrize(
    ("short", "meant"), [("prob", "probability"), ("perp", "perplexity"), ("Surp", "surprisal")]
)
def test_the_beginning_of_a_name_is_a_guess_too(translator, short, meant):
    """Too short to be alike by its letters."""
    with pytest.raises(errors.UnknownNameError, match=f"Did you mean '{meant}'"):
        translator.attribute(TEXTS, step_scores=[short], **QUIET)


@pytest.mark.parametrize(
    "arguments",
    [
        {"logprob": "yes"},
        {"attributed_fn": "margin", "logprob": 1},
        {"step_scores": ["contrast_prob"], "contrast_targets": TEXTS, "step_scores_args": {"logprob": "no"}},
    ],
)
def test_a_flag_of_a_step_function_is_one(translator, arguments):
    """ "no" was taken for True."""
    with pytest.raises(errors.InvalidArgumentError, match=r"logprob = .*expected True or False"):
        translator.attribute(TEXTS, **arguments, **QUIET)


def test_what_weights_steps_is_named_by_its_own_argument(translator):
    """It was called an item of step_scores, which the user had not given."""
    with pytest.raises(errors.InvalidArgumentError, match="weight_by = 3"):
        translator.attribute(TEXTS, weight_by=3, **QUIET)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_type_that_there_is_not_is_no_damaged_file(name):
    """The advice was to write the weights again."""
    with pytest.raises(errors.InvalidArgumentError, match="dtype = 'floaty'"):
        inseq.load_model("demo-lm", model_kwargs={name: "floaty"})


@pytest.mark.parametrize("wrong", [1.5, 5, True, (0,)])
def test_an_axis_is_a_name_or_a_number(granular, wrong):
    """Not an error about tuple indices."""
    with pytest.raises(errors.InvalidArgumentError, match="axis"):
        granular.aggregate("scores", axis=wrong)


@pytest.mark.parametrize("wrong", [lambda values: values, lambda values, axis: 1 / 0])
def test_a_failing_aggregation_function_is_named_with_how_it_is_called(granular, wrong):
    """A function of one argument is the likely mistake."""
    with pytest.raises(errors.InvalidArgumentError, match=r"'<lambda>' failed: .*\n.*fn\(array, axis\)"):
        granular.aggregate(wrong)


def test_a_folder_that_is_missing_is_named_and_not_a_file_of_ours(tmp_path):
    """The error named a temporary file that nobody had asked for."""
    with pytest.raises(errors.SavedFileMissingError, match=r"no folder .*results to save run\.json in"):
        output_of(encoder_decoder()).save(tmp_path / "results" / "run.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [5, None, b"x.json", ["x.json"]])
def test_a_path_is_a_path(wrong):
    """Saving and loading say the same."""
    with pytest.raises(errors.InvalidArgumentError, match="path"):
        output_of(encoder_decoder()).save(wrong)
    with pytest.raises(errors.InvalidArgumentError, match="path"):
        inseq.load_attributions(wrong)


@pytest.mark.parametrize("wrong", [lambda text: [], lambda text, adapter: 5])
def test_a_failing_function_of_features_is_named_with_how_it_is_called(translator, wrong):
    """It ended in a TypeError inside the engine."""
    with pytest.raises(errors.InvalidArgumentError, match=r"'<lambda>' failed: .*\n.*fn\(text, adapter\)"):
        translator.attribute("The nurse slept.", features=wrong, **QUIET)


def test_a_captum_class_that_cannot_run_is_named(translator):
    """LRP has no rule for embeddings: Captum says so with a TypeError."""
    with pytest.raises(errors.CapabilityError, match="captum:LRP does not run on demo-en-fr"):
        translator.attribute("The nurse slept.", method="captum", algorithm="LRP", **QUIET)


def test_a_model_loaded_in_inference_mode_can_be_attributed():
    """Servers load in the mode they serve in; such weights could not be differentiated through."""
    with torch.inference_mode():
        model = inseq.load_model("demo-lm", "saliency")

    assert model.attribute("The capital of France is", **QUIET)[0].n_steps


def test_a_model_made_in_inference_mode_is_refused_with_the_reason(translator):
    """Torch's own error comes at the first gradient, and names a tensor."""
    with torch.inference_mode():
        made = type(translator.model)(translator.model.config)

    with pytest.raises(errors.ModelLoadError, match="inference_mode"):
        inseq.load_model(made, "saliency", tokenizer=translator.tokenizer)


@pytest.mark.parametrize("wrong", [[-1], [1.5], [[1, 2.5]], [True], np.array([5.0]), ["a"]])
def test_ids_are_whole_numbers_from_zero(translator, wrong):
    """A negative one overflowed in the tokenizer, and a fraction was cut off."""
    for ask in (translator.decode, translator.convert_ids_to_tokens):
        with pytest.raises(errors.InvalidArgumentError, match="ids = "):
            ask(wrong)
    found = {translator.decode(ids) for ids in ([5, 6], np.array([5, 6]), [torch.tensor(5), np.int64(6)])}
    assert len(found) == 1


@pytest.mark.parametrize(
    "wrong", [[99999], [[3, 800]], [[-1]], torch.tensor([[99999]]), torch.tensor([[1.5]])]
)
def test_ids_to_embed_are_of_the_vocabulary(translator, wrong):
    """On a GPU the framework's own error ends the session."""
    with pytest.raises(errors.InvalidArgumentError, match="inputs"):
        translator.embed(wrong)


@pytest.mark.parametrize("wrong", [["saliency"], {"a": 1}, 3, None])
def test_one_name_is_explained_at_a_time(wrong):
    """Not an error about hashes."""
    with pytest.raises(errors.InvalidArgumentError, match=r"identifier = .*one name"):
        inseq.explain(wrong)


def test_steps_are_weighted_by_one_name():
    """The scores that there are, and not an error about hashes."""
    with pytest.raises(errors.UnknownNameError, match=r"\['entropy'\](.|\n)*probability"):
        output_of(encoder_decoder()).weight_attributions(["entropy"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"outptu_template": "{current}"}, "Did you mean 'output_template'"),
        ({"n_steps": 3}, "integrated_gradients, .*: give attribution_kwargs={'n_steps': "),
        ({"foo": 3}, "nobody takes: 'foo'"),
    ],
)
def test_an_argument_that_attribute_context_does_not_take_is_ours_to_name(translator, arguments, said):
    """As with ``attribute``; still a TypeError, as of any function."""
    with pytest.raises(errors.UnknownArgumentError, match=said) as error:
        inseq.attribute_context(translator, "It left.", "The nurse came.", **arguments)
    assert isinstance(error.value, TypeError)


@pytest.mark.parametrize(
    ("model", "said"), [(3, r"knows 3 \(int\):"), (None, "knows None"), ([], "knows a list:")]
)
def test_what_is_no_model_is_shown(model, said):
    """With its value, where that is one word."""
    with pytest.raises(errors.ModelLoadError, match=said):
        inseq.load_model(model)


def test_a_record_to_register_has_its_article():
    """The value, its type, and what would be right."""
    with pytest.raises(errors.InvalidArgumentError, match=r"3 \(int\).* or an AggregatorSpec"):
        inseq.register_aggregator(3)


def test_every_precision_that_is_taken_is_named(tmp_path):
    """Also the widest."""
    with pytest.raises(errors.InvalidArgumentError, match=r"'float8' .or 'float64'"):
        output_of(encoder_decoder()).save(tmp_path / "out.json", scores_precision=16)


def test_methods_that_explain_a_function_explain_something(translator):
    """``dummy`` has no scores at all."""
    with pytest.warns(errors.MeaningWarning, match="Methods that explain a function: ") as told:
        translator.attribute(TEXTS[0], method="attention", attributed_fn="logit", **QUIET)
    assert "saliency" in str(told[0].message) and "dummy" not in str(told[0].message)


def test_what_is_no_list_of_outputs_is_not_merged():
    """Not an error about iteration."""
    with pytest.raises(errors.MergeError, match="3 is no list"):
        inseq.merge_attributions(3)
