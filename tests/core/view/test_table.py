"""An attribution as rows and columns."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from support.view_examples import chat, decoder_only, nothing, translation

from inseq_core.data.token import Segment
from inseq_core.errors import InvalidArgumentError
from inseq_core.view.plan import planned
from inseq_core.view.table import bands, missing, score_table


def test_columns_are_the_attributed_tokens_and_rows_what_came_before():
    """The last generated token comes before no step, so it has a column and no row."""
    table = score_table(translation())

    assert [t.text for t in table.columns] == ["La", "dévelop", "peuse", "s", "'", "est", "</s>"]
    assert [(g.title, len(g.positions)) for g in table.groups] == [("Source", 7), ("Target prefix", 7)]
    assert table.tokens(table.groups[1])[-1].text == "est"


def test_a_prompt_is_set_apart_from_what_was_generated():
    """In decoder-only models both are target tokens, but they answer different questions."""
    assert [(g.title, g.positions) for g in score_table(chat()).groups] == [
        ("Prompt", tuple(range(7))),
        ("Generated before", (7, 8, 9)),
    ]


def test_later_tokens_are_absent_and_unscored_ones_are_missing():
    """NaN meaning two things is what confused users; only a cell before its step can lack a score."""
    scores = np.array(decoder_only("abcd", 2).target_attributions)
    scores[1, 0] = np.nan
    table = score_table(attrs.evolve(decoder_only("abcd", 2), target_attributions=scores))
    prompt, generated = table.groups

    assert missing(prompt).tolist() == [[False, False], [True, False]]
    assert generated.absent.tolist() == [[True, False]]
    assert not missing(generated).any()
    assert table.has_missing_scores


def test_of_too_many_inputs_the_strongest_are_kept_in_their_order():
    """A view of a long prompt should show what mattered, and say how much it leaves out."""
    table = score_table(decoder_only("abcdefgh", 6), max_inputs=3)
    prompt, generated = table.groups

    # Two steps see each prompt token, only one sees the generated one: 0.8, 1.0 and 1.2 against 0.7.
    assert prompt.positions == (3, 4, 5)
    assert generated.positions == ()
    assert (prompt.hidden_before(0), prompt.hidden_before(1), prompt.hidden_at_end) == (3, 0, 0)
    assert generated.hidden_at_end == 1
    assert table.hidden_inputs == 4


def test_of_too_many_steps_the_first_are_kept():
    """And the rows that only later steps could see go with them."""
    table = score_table(decoder_only("abcdef", 2), max_steps=2)

    assert table.steps == (2, 3)
    assert [g.positions for g in table.groups] == [(0, 1), (2,)]
    assert table.hidden_steps == 2


def test_a_limit_below_one_is_refused():
    """Zero rows are no picture."""
    with pytest.raises(InvalidArgumentError, match="max_inputs = 0"):
        score_table(translation(), max_inputs=0)


def test_a_text_without_steps_has_an_empty_table():
    """It happens in batches; it must not break the others' picture."""
    table = score_table(nothing())

    assert table.steps == () and table.groups == ()


def test_segments_become_bands_that_do_not_overlap():
    """Of two that overlap the longer is kept; special tokens and single words are no bands."""
    segments = [
        Segment(label="user", start=0, end=6, kind="turn"),
        Segment(label="user", start=1, end=5, kind="content"),
        Segment(label="quote", start=4, end=8, kind="quote"),
        Segment(label="bot", start=6, end=9, kind="turn"),
        Segment(label="eos", start=9, end=12, kind="special"),
        *(Segment(label=f"word {i}", start=i, end=i + 1, kind="word") for i in range(9)),
        Segment(label="document", start=0, end=3, side="source"),
    ]

    assert [(b.label, b.start, b.end) for b in bands(segments, "target")] == [("user", 0, 6), ("bot", 6, 9)]
    assert [b.label for b in bands(segments, "source")] == ["document"]


def test_what_lies_inside_a_segment_cuts_it():
    """The reasoning before an answer is the part that readers want to skip, or to see."""
    segments = [
        Segment(label="assistant", start=2, end=12, kind="turn"),
        Segment(label="reasoning", start=3, end=8, kind="reasoning"),
    ]

    assert [(b.label, b.start, b.end) for b in bands(segments, "target")] == [
        ("assistant", 2, 3),
        ("assistant: reasoning", 3, 8),
        ("assistant", 8, 12),
    ]


def test_scores_of_features_are_said_to_be():
    """A word's score stands at each of its tokens; a reader who adds them up must be told."""
    text = attrs.evolve(translation(), feature_kind="word")

    assert "Scores are of whole words: each of its tokens shows the score" in " ".join(planned(text).reading)
    complete = attrs.evolve(text, meaning=attrs.evolve(text.meaning, complete=True, normalized=False))
    assert "The scores of a step, each taken once, sum to" in " ".join(planned(complete).reading)
    spread = attrs.evolve(text, is_spread=True)
    assert "each of its tokens shows its share of the score of its word." in " ".join(planned(spread).reading)


def test_a_row_says_which_segment_begins_there():
    """Also the first row of a group whose segment began in the group above."""
    table = score_table(chat())
    prompt, generated = table.groups

    assert [table.band_at(prompt, row) for row in range(7)] == ["user", "", "", "", "", "", "bot"]
    assert [table.band_at(generated, row) for row in range(3)] == ["bot", "", ""]
