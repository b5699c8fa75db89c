from __future__ import annotations

import pytest

from inseq_core.data.batch import EncodedText
from inseq_core.errors import InvalidArgumentError, PositionError
from inseq_core.run.positions import attributed_spans, check_positions
from inseq_core.testing.toys import BagModel

TEXT = EncodedText(target_ids=range(10), prompt_length=4)


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [
        (None, None, (4, 10)),
        (6, None, (6, 10)),
        (None, 7, (4, 7)),
        (2, 5, (2, 5)),
        (-2, None, (8, 10)),
        (-5, -2, (5, 8)),
        (1, 10, (1, 10)),
    ],
)
def test_positions_count_in_ids_from_either_end_with_an_exclusive_end(start, end, span):
    """The convention of the peer for decoder-only models, here for all."""
    assert attributed_spans(BagModel(), [TEXT], [start], [end]) == (span,)


def test_each_text_counts_from_its_own_end():
    """In a padded batch the end of the longest text is not the end of the others."""
    short = EncodedText(target_ids=range(6), prompt_length=3)

    assert attributed_spans(BagModel(), [TEXT, short], [-1, -1], [None, None]) == ((9, 10), (5, 6))


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (0, None, "nothing stands before position 0"),
        (-10, None, "nothing stands before position 0"),
        (11, None, "has 10 target positions"),
        (10, None, "No position lies in"),
        (None, 11, "has 10 target positions"),
        (-11, None, "has 10 target positions"),
        (5, 5, "No position lies in"),
        (6, 5, "No position lies in"),
        (None, 4, "No position lies in"),
    ],
)
def test_positions_out_of_the_text_or_without_a_step_are_refused(start, end, said):
    """A clamped position would explain another token than the one asked for."""
    with pytest.raises(PositionError, match=said):
        attributed_spans(BagModel(), [TEXT], [start], [end])


def test_a_text_to_which_nothing_was_added_says_so():
    """An empty table would be a riddle."""
    with pytest.raises(PositionError, match="Nothing was generated") as error:
        attributed_spans(BagModel(), [EncodedText(target_ids=range(4), prompt_length=4)], [None], [None])

    assert "max_new_tokens" in str(error.value)


def test_a_position_for_each_text_may_be_a_list():
    """None in the list is the default of that text."""
    assert check_positions("attr_pos_start", [3, None], 2) == (3, None)
    assert check_positions("attr_pos_start", -1, 3) == (-1, -1, -1)


@pytest.mark.parametrize("value", ["3", 3.0, [1, 2, 3], [1, "2"], True, {1: 2}])
def test_what_is_no_position_is_refused_with_the_value(value):
    """Also a list of another length, which would explain the wrong texts."""
    with pytest.raises(InvalidArgumentError, match="attr_pos_end"):
        check_positions("attr_pos_end", value, 2)
