from __future__ import annotations

import pytest
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.data.output import MATCHING_FIELDS, merge_attributions
from inseq_core.errors import MergeError


def test_merging_puts_texts_side_by_side():
    """A dataset attributed in pieces is one dataset."""
    a, b = output_of(encoder_decoder(), attr_pos_end=4), output_of(decoder_only(), attr_pos_end=6)
    merged = a + b

    assert list(merged) == [encoder_decoder(), decoder_only()]
    assert merged.info["input_texts"] == ("input 0", "input 0")
    assert merged.info["exec_time"] == 3.0
    assert merged.info["attr_pos_end"] == 6
    assert len(a) == len(b) == 1


def test_sum_of_outputs_is_their_merge():
    """``sum`` begins with 0, which stands for no output."""
    outputs = [output_of(encoder_decoder()) for _ in range(3)]

    assert len(sum(outputs)) == 3
    assert sum(outputs[:1]) == outputs[0]


@pytest.mark.parametrize(
    "field", [f for f in MATCHING_FIELDS if not f.endswith("args") and f != "step_scores"]
)
def test_the_field_that_differs_is_named_with_both_values(field):
    """ "Cannot merge" alone sends people through two dicts by eye."""
    one, other = output_of(decoder_only(), **{field: "left"}), output_of(decoder_only(), **{field: "right"})

    with pytest.raises(MergeError, match=f"{field} differs, 'left' in output 0 and 'right' in output 1"):
        merge_attributions([one, other])


def test_only_outputs_merge_and_at_least_one():
    """Anything else is a slip of the hand."""
    with pytest.raises(MergeError, match="Item 1 is a str"):
        merge_attributions([output_of(decoder_only()), "a"])
    with pytest.raises(MergeError, match="Nothing to merge"):
        merge_attributions([])
    with pytest.raises(TypeError):
        output_of(decoder_only()) + 1
