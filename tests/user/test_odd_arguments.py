"""What a user mistypes beside ``attribute()``: an error of ours says what was wrong, before anything is lost."""

from __future__ import annotations

import numpy as np
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
