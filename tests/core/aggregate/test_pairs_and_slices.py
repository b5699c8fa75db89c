from __future__ import annotations

import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder

from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment
from inseq_core.errors import InvalidArgumentError, MeaningWarning


def test_a_minus_b_is_a_minus_b():
    """Written so that it can be read: what the first has more."""
    other = encoder_decoder(
        source_attributions=np.ones((4, 3)),
        step_scores=dict.fromkeys(("probability", "entropy", "mine"), np.ones(3)),
    )
    difference = encoder_decoder() - other

    np.testing.assert_array_equal(difference.source_attributions, encoder_decoder().source_attributions - 1)
    assert difference.step_scores["entropy"].tolist() == [0, 1, 2]
    assert difference == encoder_decoder().aggregate("pair", paired_attr=other)
    with pytest.raises(TypeError):
        encoder_decoder() - 1


def test_tokens_that_differ_show_both():
    """A minimal pair is read at the token where it differs."""
    other = encoder_decoder(source=["▁the", "▁wa", "rld", "</s>"])

    assert (encoder_decoder() - other).source == ["▁the", "▁wo → ▁wa", "rld", "</s>"]


def test_a_pair_can_be_compared_by_any_function():
    """Of two values or of an axis of two."""
    ones = encoder_decoder(source_attributions=np.ones((4, 3)))
    larger = encoder_decoder().aggregate("pair", "max", paired_attr=ones)
    product = encoder_decoder().aggregate("pair", lambda a, b: a * b, paired_attr=ones)

    np.testing.assert_array_equal(larger.source_attributions[:, 1], [1, 2, 1, 4])
    np.testing.assert_array_equal(product.source_attributions, encoder_decoder().source_attributions)


def test_pairs_of_different_shape_are_refused_with_both_shapes():
    """Words or spans can be merged first; numpy's broadcasting would not ask."""
    with pytest.raises(InvalidArgumentError, match="source tokens: 4 and 3"):
        encoder_decoder() - encoder_decoder()[0:3]
    with pytest.raises(InvalidArgumentError, match="step scores"):
        encoder_decoder() - encoder_decoder(step_scores={})
    with pytest.raises(InvalidArgumentError, match="paired_attr"):
        encoder_decoder().aggregate("pair")


def test_comparing_what_does_not_mean_the_same_warns():
    """Shares minus raw scores is a number without a meaning."""
    with pytest.warns(MeaningWarning, match="do not mean the same"):
        encoder_decoder().aggregate("scores") - encoder_decoder()
    difference = encoder_decoder(meaning=ScoreMeaning(signed=False)) - encoder_decoder(
        meaning=ScoreMeaning(signed=False)
    )
    assert difference.meaning.signed


def test_slices_keep_several_spans_of_each_side():
    """Rows of the source and of the prompt; every step stays."""
    sliced = encoder_decoder().aggregate("slices", source_spans=[(0, 1), (2, 3)])

    assert sliced.source == ["▁the", "rld"]
    np.testing.assert_array_equal(sliced.source_attributions, [[1, -1, 0], [3, -3, 0]])
    assert sliced.target == encoder_decoder().target


def test_slices_of_a_prompt_move_the_steps():
    """Prompt token b goes; step columns stay the same, two positions earlier or one."""
    whole = decoder_only(segments=[Segment(label="all", start=0, end=3), Segment(label="b", start=1, end=2)])
    sliced = whole.aggregate("slices", target_spans=[(0, 1), (2, 3)])

    assert sliced.target == ["Ġa", "Ġc", "Ġd", "e", "f"]
    assert sliced.source == ["Ġa", "Ġc"]
    assert (sliced.attr_pos_start, sliced.attr_pos_end) == (2, 5)
    np.testing.assert_array_equal(sliced.target_attributions, whole.target_attributions[[0, 2, 3, 4, 5]])
    assert [(s.label, s.start, s.end) for s in sliced.segments] == [("all", 0, 2)]


def test_a_slice_is_no_longer_complete():
    """What was cut away is missing in the sum."""
    complete = decoder_only(meaning=ScoreMeaning(additive=True, complete=True))

    assert not complete[0:1].meaning.complete
    assert complete[0:3].meaning.complete


def test_sequence_scores_are_sliced_with_their_rows():
    """Rows of the source, both axes of the encoder's and decoder's own."""
    sequence = encoder_decoder(
        sequence_scores={"cross": np.arange(12).reshape(4, 3), "encoder": np.arange(16).reshape(4, 4)}
    )
    sliced = sequence[1:3]

    np.testing.assert_array_equal(sliced.sequence_scores["cross"], [[3, 4, 5], [6, 7, 8]])
    np.testing.assert_array_equal(sliced.sequence_scores["encoder"], [[5, 6], [9, 10]])
