from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder

from inseq_core.aggregate.scores import SequenceAttributionAggregator
from inseq_core.data.scores import ScoreMeaning
from inseq_core.errors import InvalidArgumentError, MeaningWarning, UnknownNameError

nan = np.nan


def heads():
    """(6, 3, 2 layers, 3 heads) of random scores."""
    scores = np.random.default_rng(3).random(size=(6, 3, 2, 3)).astype(np.float32)
    for k in range(3):
        scores[3 + k :, k] = nan
    return decoder_only(
        target_attributions=scores,
        axes=("layer", "head"),
        default_aggregation=("mean", "mean"),
        normalize=True,
        meaning=ScoreMeaning(signed=False),
    )


def test_a_step_is_normalised_over_source_and_target_jointly():
    """Columns: |1|+..+|4| + |10| = 20; 10 + 20 + 20 = 50; all zero stays zero."""
    normalized = encoder_decoder().aggregate("scores")

    np.testing.assert_allclose(
        normalized.source_attributions,
        [[1 / 20, -1 / 50, 0], [2 / 20, 2 / 50, 0], [3 / 20, -3 / 50, 0], [4 / 20, 4 / 50, 0]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        normalized.target_attributions,
        [[10 / 20, 20 / 50, 0], [nan, -20 / 50, 0], [nan, nan, 0], [nan, nan, nan]],
        rtol=1e-6,
    )
    assert normalized.meaning.normalized
    assert not normalized.meaning.complete


def test_rescaling_divides_everything_by_the_largest_absolute_score():
    """Comparing steps is what it is for, so there is one divisor for all of them: 20."""
    rescaled = encoder_decoder().aggregate(rescale=True)

    np.testing.assert_allclose(rescaled.source_attributions[:, 0], [1 / 20, 2 / 20, 3 / 20, 4 / 20])
    assert rescaled == encoder_decoder().rescale()
    assert rescaled.minimum == -1


def test_one_cannot_normalise_and_rescale():
    """Both at once have no meaning, and one silently winning would be worse."""
    with pytest.raises(InvalidArgumentError, match=r"normalize=True and rescale=True"):
        encoder_decoder().aggregate("scores", normalize=True, rescale=True)


def test_the_default_is_the_methods_own():
    """Euclidean length over hidden dimensions, then L1 per step, computed with plain numpy."""
    granular = decoder_only(hidden=5)
    aggregated = granular.aggregate()

    norms = np.sqrt(np.square(granular.target_attributions.astype(float)).sum(axis=-1))
    # float32 result of a float64 computation
    np.testing.assert_allclose(aggregated.target_attributions, norms / np.nansum(norms, axis=0), rtol=1e-6)
    assert aggregated.axes == ()
    assert not aggregated.meaning.signed
    assert aggregated.step_scores.keys() == granular.step_scores.keys()


def test_aggregating_twice_is_aggregating_once():
    """``show`` aggregates what may be aggregated already."""
    once = decoder_only(hidden=5).aggregate()

    assert once.aggregate() == once
    assert heads().aggregate().aggregate() == heads().aggregate()


def test_the_default_of_a_method_without_trailing_axes_leaves_its_scores_alone():
    """Occlusion's signed differences are what its users want to read."""
    assert encoder_decoder().aggregate() == encoder_decoder()


def test_layers_and_heads_are_reduced_last_axis_first():
    """(layer, head) with ("max", "mean"): the largest head of each layer, then the mean of layers."""
    attribution = heads()
    by_hand = attribution.target_attributions.max(axis=3).mean(axis=2)

    both = attribution.aggregate(["max", "mean"], normalize=False)
    named = attribution.aggregate(
        [SequenceAttributionAggregator(axis="head", aggregate_fn="max", normalize=False)]
    ).aggregate("mean", axis="layer", normalize=False)

    np.testing.assert_allclose(both.target_attributions, by_hand, rtol=1e-6)
    np.testing.assert_allclose(named.target_attributions, by_hand, rtol=1e-6)
    assert attribution.aggregate("max").axes == ("layer",)


def test_naming_the_default_functions_is_the_default():
    """Steps are made comparable once, in the end: each layer normalised before would weigh layers anew."""
    attribution = heads()

    assert attribution.aggregate(["mean", "mean"]) == attribution.aggregate()
    assert attribution.aggregate("mean").aggregate("mean") == attribution.aggregate()
    assert attribution.aggregate("mean").aggregate() == attribution.aggregate()
    assert not attribution.aggregate("mean").meaning.normalized


def test_layers_can_be_normalised_one_by_one():
    """Asked for, also where an axis is left."""
    by_layer = heads().aggregate("mean", normalize=True)

    # float32 sums of 3 to 5 entries
    np.testing.assert_allclose(np.nansum(by_layer.target_attributions, axis=0), 1, rtol=1e-6)


def test_of_several_scores_the_first_picks_and_the_last_rescales():
    """A head of every layer, then the mean of layers, whichever way it is said."""
    attribution = heads()
    by_hand = attribution.target_attributions[..., 2].mean(axis=2)

    for picked in (
        attribution.aggregate(select_idx=2, rescale=True),
        attribution.aggregate(["mean", "mean"], select_idx=2, rescale=True),
        attribution.aggregate(["mean", "mean"], axis="head", select_idx=2, rescale=True),
    ):
        np.testing.assert_allclose(picked.target_attributions, by_hand / np.nanmax(by_hand), rtol=1e-6)
    with pytest.raises(InvalidArgumentError, match="within the axis 'head' of size 3"):
        attribution.aggregate(["mean", "mean"], select_idx=3)


def test_one_axis_can_be_reduced_before_the_last():
    """Layers first, heads kept: which axis is meant is said by its name."""
    reduced = heads().aggregate("scores", axis="layer", aggregate_fn="sum", normalize=False)

    assert reduced.axes == ("head",)
    np.testing.assert_allclose(
        reduced.target_attributions, heads().target_attributions.sum(axis=2), rtol=1e-6
    )
    with pytest.raises(UnknownNameError, match="layer"):
        heads().aggregate("scores", axis="layers")


@pytest.mark.parametrize(
    ("selection", "expected"), [(1, [1]), (-1, [2]), ((0, 2), [0, 1]), ([0, 2], [0, 2]), ([2], [2])]
)
def test_heads_are_picked_by_index_range_or_list(selection, expected):
    """One index is taken as it is; several are reduced."""
    attribution = heads()
    picked = attribution.aggregate("mean", select_idx=selection, normalize=False)

    np.testing.assert_allclose(
        picked.target_attributions, attribution.target_attributions[..., expected].mean(axis=-1), rtol=1e-6
    )


@pytest.mark.parametrize("selection", [7, -4, (0, 9), [], [0, 5]])
def test_heads_that_do_not_exist_are_refused(selection):
    """A wrong index would be a wrong head, or none."""
    with pytest.raises(InvalidArgumentError, match="select_idx"):
        heads().aggregate("mean", select_idx=selection)


def test_functions_of_scores_without_axes_see_one_entry():
    """A norm of one number is its size; the mean of one number is itself."""
    norms = encoder_decoder().aggregate("vnorm", normalize=False)

    np.testing.assert_array_equal(norms.source_attributions, np.abs(encoder_decoder().source_attributions))
    assert not norms.meaning.signed
    mean = encoder_decoder().aggregate("mean", normalize=False)
    np.testing.assert_array_equal(mean.source_attributions, encoder_decoder().source_attributions)


def test_weighting_multiplies_each_step_by_its_score():
    """Weights 0.5, 0.5, 0.25 for the columns."""
    weighted = encoder_decoder().weight_attributions("probability")

    np.testing.assert_allclose(weighted.source_attributions[:, 1], [-0.5, 1, -1.5, 2])
    np.testing.assert_allclose(weighted.target_attributions[0], [5, 10, 0])
    assert weighted.aggregate() == weighted
    with pytest.raises(UnknownNameError, match="probability"):
        encoder_decoder().weight_attributions("probabilty")


def test_completeness_survives_a_sum_and_nothing_else():
    """Scores that sum to a difference of the model's do so only as long as they are only summed."""
    complete = decoder_only(hidden=3, meaning=ScoreMeaning(additive=True, complete=True))

    assert complete.aggregate("sum", normalize=False).meaning.complete
    assert not complete.aggregate("mean", normalize=False).meaning.complete
    assert not complete.aggregate("sum").meaning.complete
    assert not complete.aggregate("vnorm", normalize=False).meaning.additive


def test_a_product_of_attributions_warns():
    """``prod`` is for probabilities."""
    with pytest.warns(MeaningWarning, match="product"):
        decoder_only(hidden=3).aggregate("prod")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder_only(hidden=3).aggregate()


def test_a_function_of_the_wrong_shape_is_named():
    """A function that forgets the axis returns one number for everything."""
    with pytest.raises(InvalidArgumentError, match="'everything' returned shape"):

        def everything(scores, axis):
            return scores.sum()

        decoder_only(hidden=3).aggregate(everything)


def test_an_infinite_score_leaves_no_share_to_others():
    """inf / inf is no number; the others are 0, as they are beside something infinite."""
    scores = np.array([[np.inf], [1.0], [2.0]])
    one = encoder_decoder(
        source=["a", "b", "c"],
        target=["d"],
        source_attributions=scores,
        target_attributions=None,
        attr_pos_start=0,
        step_scores={},
    )

    np.testing.assert_array_equal(one.aggregate("scores").source_attributions, [[nan], [0], [0]])
