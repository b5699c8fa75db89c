from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.results import decoder_only, encoder_decoder

from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment
from inseq_core.errors import InvalidArgumentError, MeaningWarning

nan = np.nan


def test_source_spans_merge_rows():
    """Rows 1 and 2 are (2 2 0) and (3 -3 0): sums 5 -1 0, farthest from zero 3 -3 0."""
    summed = encoder_decoder().aggregate("spans", "sum", source_spans=(1, 3))
    farthest = encoder_decoder().aggregate("spans", source_spans=(1, 3))

    np.testing.assert_array_equal(summed.source_attributions, [[1, -1, 0], [5, -1, 0], [4, 4, 0]])
    np.testing.assert_array_equal(farthest.source_attributions[1], [3, -3, 0])
    assert summed.source == ["▁the", "▁world", "</s>"]
    assert summed.source[1].id == -1
    np.testing.assert_array_equal(summed.target_attributions, encoder_decoder().target_attributions)


def test_target_spans_merge_rows_and_columns():
    """Steps ▁mon and de become one: source columns add up; target rows 2 and 3 become one.

    Target columns after adding steps: (20+0, -20+0, 0, no score): the last two rows make one, 0.
    """
    merged = encoder_decoder().aggregate("spans", "sum", target_spans=[(2, 4)])

    assert merged.target == ["<s>", "▁le", "▁monde"]
    assert (merged.attr_pos_start, merged.attr_pos_end) == (1, 3)
    np.testing.assert_array_equal(merged.source_attributions, [[1, -1], [2, 2], [3, -3], [4, 4]])
    np.testing.assert_array_equal(merged.target_attributions, [[10, 20], [nan, -20], [nan, 0]])


def test_step_scores_follow_their_own_function():
    """Probabilities multiply, entropies add up, and one without a map takes what was asked for, or absmax."""
    default = encoder_decoder().aggregate("spans", target_spans=(2, 4))
    summed = encoder_decoder().aggregate("spans", "sum", target_spans=(2, 4))

    assert default.step_scores["probability"].tolist() == [0.5, 0.125]
    assert default.step_scores["entropy"].tolist() == [1, 5]
    assert default.step_scores["mine"].tolist() == [1, -5]
    assert summed.step_scores["probability"].tolist() == [0.5, 0.125]
    assert summed.step_scores["mine"].tolist() == [1, -3]


def test_a_step_score_may_follow_one_aggregator_in_another_way():
    """The map names aggregators; ``spans`` is the word for all that merge."""
    sequence = encoder_decoder(
        step_aggregation={"mine": {"subwords": "max", "spans": "min"}, "entropy": {"spans": "sum"}}
    )

    assert sequence.aggregate("spans", target_spans=(2, 4)).step_scores["mine"].tolist() == [1, -5]
    assert sequence.aggregate("subwords").step_scores["mine"].tolist() == [1, 2]


def test_a_span_over_the_prompts_end_is_one_step_with_the_generated_scores():
    """Prompt b|Ġc and the first step Ġd merged: the step keeps its scores, and the prompt its part."""
    sequence = decoder_only()
    merged = sequence.aggregate("spans", "sum", target_spans=(1, 4))

    assert merged.target == ["Ġa", "bĠcĠd", "e", "f"]
    assert merged.source == ["Ġa", "bĠc"]
    assert (merged.attr_pos_start, merged.attr_pos_end) == (1, 4)
    scores = sequence.target_attributions
    np.testing.assert_allclose(merged.target_attributions[1, 0], scores[1, 0] + scores[2, 0], rtol=1e-6)
    np.testing.assert_allclose(merged.step_scores["probability"], sequence.step_scores["probability"])


def test_what_comes_after_a_step_has_no_score_after_merging_either():
    """Causality survives: below the diagonal there is nothing."""
    merged = decoder_only().aggregate("spans", target_spans=[(0, 2), (3, 5)])

    assert merged.target == ["Ġab", "Ġc", "Ġde", "f"]
    np.testing.assert_array_equal(
        np.isnan(merged.target_attributions), [[False, False], [False, False], [False, False], [True, True]]
    )


def test_layers_and_heads_go_through_unchanged():
    """Merging positions of (L, T, N, H) is merging them for every layer and head on its own."""
    scores = np.random.default_rng(0).normal(size=(6, 3, 2, 3)).astype(np.float32)
    sequence = decoder_only(target_attributions=scores, axes=("layer", "head"))
    spans = [(0, 2), (3, 5)]
    merged = sequence.aggregate("spans", "sum", target_spans=spans)

    assert merged.axes == ("layer", "head")
    for layer in range(2):
        for head in range(3):
            alone = decoder_only(target_attributions=scores[:, :, layer, head])
            np.testing.assert_array_equal(
                merged.target_attributions[:, :, layer, head],
                alone.aggregate("spans", "sum", target_spans=spans).target_attributions,
            )


def test_sum_over_spans_then_slice_is_slice_then_sum():
    """Merging and choosing touch different things: their order does not matter."""
    summed = (
        encoder_decoder()
        .aggregate("spans", "sum", source_spans=(1, 3))
        .aggregate("slices", source_spans=(1, 3))
    )
    sliced = (
        encoder_decoder()
        .aggregate("slices", source_spans=(1, 4))
        .aggregate("spans", "sum", source_spans=(0, 2))
    )

    np.testing.assert_array_equal(summed.source_attributions, sliced.source_attributions)
    assert summed.source == sliced.source


@st.composite
def partitions(draw, length):
    """Spans of a text: ascending, apart, not empty."""
    cuts = sorted(draw(st.sets(st.integers(0, length), min_size=0, max_size=length)))
    return [(a, b) for a, b in itertools.pairwise(cuts) if draw(st.booleans())]


@given(partitions(4), partitions(4))
@settings(max_examples=40, deadline=None)
def test_sums_over_any_spans_keep_the_total(source_spans, target_spans):
    """Nothing is counted twice and nothing is lost, on either side, wherever spans begin and end."""
    whole = encoder_decoder()
    merged = whole.aggregate("spans", "sum", source_spans=source_spans, target_spans=target_spans)

    for side in ("source_attributions", "target_attributions"):
        assert np.nansum(getattr(merged, side)) == np.nansum(getattr(whole, side))
    assert merged.step_scores["entropy"].sum() == whole.step_scores["entropy"].sum()
    np.testing.assert_allclose(
        merged.step_scores["probability"].prod(), whole.step_scores["probability"].prod()
    )
    assert "".join(map(str, merged.target)) == "".join(map(str, whole.target))


def test_sequence_scores_are_merged_on_the_axes_that_they_have():
    """(S, T) like attributions, (S, S) for the encoder, (L, L) for the decoder, anything else not at all."""
    sequence = encoder_decoder(
        sequence_scores={
            "cross": np.ones((4, 3)),
            "encoder_self": np.ones((4, 4)),
            "decoder_self": np.ones((4, 4)),
            "loose": np.ones(7),
        }
    )
    merged = sequence.aggregate("spans", "sum", source_spans=(1, 3), target_spans=(2, 4))

    np.testing.assert_array_equal(merged.sequence_scores["cross"], [[1, 2], [2, 4], [1, 2]])
    np.testing.assert_array_equal(merged.sequence_scores["encoder_self"], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    np.testing.assert_array_equal(merged.sequence_scores["decoder_self"], [[1, 1, 2], [1, 1, 2], [2, 2, 4]])
    assert merged.sequence_scores["loose"].shape == (7,)


def test_segments_and_flags_follow():
    """A merged position belongs to the segment of its first token, and begins a word if that did."""
    sequence = encoder_decoder(
        segments=[
            Segment(label="first", start=0, end=2, side="source"),
            Segment(label="second", start=2, end=4, side="source"),
            Segment(label="gone", start=2, end=3, side="source"),
        ],
        source_word_starts=[True, True, False, False],
        source_special=[False, False, False, True],
    )
    merged = sequence.aggregate("spans", source_spans=(1, 3))

    assert [(s.label, s.start, s.end) for s in merged.segments] == [("first", 0, 2), ("second", 2, 3)]
    assert merged.source_word_starts == (True, True, False)
    assert merged.source_special == (False, False, True)


@pytest.mark.parametrize(
    "spans", [(0, 9), [(1, 1)], [(2, 3), (0, 1)], [(0, 2), (1, 3)], (-1, 2), "ab", [(0,)], 3]
)
def test_spans_that_are_no_spans_are_refused(spans):
    """Each of these would silently merge something else."""
    with pytest.raises(InvalidArgumentError, match="spans"):
        encoder_decoder().aggregate("spans", source_spans=spans)


def test_a_sum_of_what_is_not_additive_warns_and_says_why():
    """A sum of norms grows with the number of tokens; it is no contribution of a span."""
    norms = decoder_only(hidden=4).aggregate("vnorm")
    with pytest.warns(MeaningWarning, match=r"unsigned scores .* not additive") as caught:
        norms.aggregate("spans", "sum", target_spans=(0, 2))

    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norms.aggregate("spans", target_spans=(0, 2))
        encoder_decoder().aggregate("spans", "sum", source_spans=(0, 2))


def test_shares_of_one_stay_shares_only_under_an_unsigned_sum_over_inputs():
    """Signed shares may cancel, and merged steps are sums of several ones."""
    unsigned = ScoreMeaning(signed=False, additive=True, normalized=True)

    def merged(meaning, **spans):
        return encoder_decoder(meaning=meaning).aggregate("spans", "sum", **spans).meaning.normalized

    assert merged(unsigned, source_spans=(0, 2))
    assert not merged(unsigned, target_spans=(2, 4))
    assert not merged(ScoreMeaning(additive=True, normalized=True), source_spans=(0, 2))


def test_spans_that_merge_nothing_change_nothing():
    """No function is even looked at."""
    assert encoder_decoder().aggregate("spans", source_spans=[(0, 1), (2, 3)]) == encoder_decoder()
    assert encoder_decoder().aggregate("spans") == encoder_decoder()
