from __future__ import annotations

import warnings

import attrs
import numpy as np
import pytest
from support.results import decoder_only

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment
from inseq_core.errors import InvalidArgumentError, MeaningWarning, UnknownNameError


def of(tokens, **changes):
    """One step explained by these source tokens, each with a score of one."""
    return FeatureAttributionSequenceOutput(
        source=tokens,
        target=["x"],
        source_attributions=np.ones((len(tokens), 1)),
        meaning=ScoreMeaning(additive=True),
        **changes,
    )


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["▁Hel", "lo", ",", "▁wor", "ld", "!"], ["▁Hello", ",", "▁world", "!"]),
        (["Ġdon", "'t", "Ġwell", "-", "known"], ["Ġdon't", "Ġwell-known"]),
        (["Ġa", "b", ".", "c"], ["Ġab", ".", "c"]),
        (["<s>", "▁ab", "c", "</s>"], ["<s>", "▁abc", "</s>"]),
        (["你", "好", "世界"], ["你", "好", "世界"]),
        (["▁über", "mor", "gen"], ["▁übermorgen"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Subwords cannot be found")
def test_words_keep_punctuation_apart(tokens, words):
    """The same words for every tokenizer, whatever it glues to them."""
    assert of(tokens).aggregate("words").source == words


def test_words_of_a_tokenizer_without_marks_are_those_that_it_says():
    """Word starts stand for the spaces that no token writes."""
    sequence = of(["a", "b", "c"], source_word_starts=[1, 0, 1], source_special=[0, 0, 0])

    assert sequence.aggregate("words").source == ["ab", "c"]


@pytest.mark.parametrize(
    ("tokens", "sentences"),
    [
        (["▁It", "▁rains", ".", "▁We", "▁stay", "."], ["▁It▁rains.", "▁We▁stay."]),
        (["▁Is", "▁3", ".", "5", "▁e", ".", "g", ".", "▁much", "?"], ["▁Is▁3.5▁e.g.▁much?"]),
        (["Ġone", "Ċ", "Ġtwo", "Ġthree"], ["ĠoneĊ", "ĠtwoĠthree"]),
        (["你好", "。", "世界", "！"], ["你好。", "世界！"]),
        (
            ["<s>", "▁He", "▁said", ":", '▁"', "No", "!", '"', "▁Then", "</s>"],
            ["<s>", '▁He▁said:▁"No!"', "▁Then", "</s>"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Subwords cannot be found")
def test_sentences_end_where_readers_end_them(tokens, sentences):
    """Not at a decimal point, not after e.g., but at a line break, in Chinese, and after a closing quote."""
    assert of(tokens).aggregate("sentences").source == sentences


def test_a_sentence_does_not_run_over_the_end_of_the_prompt():
    """The prompt's half explains, the other half is explained."""
    merged = decoder_only().aggregate("sentences")

    assert merged.target == ["ĠabĠc", "Ġdef"]
    assert merged.n_steps == 1


def chat(**changes):
    """Six tokens in three turns, the last one generated."""
    segments = [
        Segment(label="system", start=0, end=1, kind="turn"),
        Segment(label="user", start=1, end=3, kind="turn"),
        Segment(label="assistant", start=3, end=6, kind="turn"),
    ]
    return decoder_only(**{"segments": segments, **changes})


def test_segments_are_merged_under_their_labels_and_steps_stay():
    """Which turn mattered for which token: one row a turn, one column a token."""
    sequence = chat()
    merged = sequence.aggregate("segments", "sum")

    assert merged.target == ["system", "user", "Ġd", "e", "f"]
    assert merged.source == ["Ġa", "bĠc"]
    assert merged.n_steps == 3
    scores = sequence.target_attributions
    np.testing.assert_allclose(merged.target_attributions[1], scores[1] + scores[2], rtol=1e-6)


def test_steps_of_one_segment_can_be_merged_as_well():
    """Turn by turn in both directions, when asked for."""
    merged = chat().aggregate("segments", merge_steps=True)

    assert merged.target == ["system", "user", "assistant"]
    assert (merged.attr_pos_start, merged.attr_pos_end) == (2, 3)
    assert merged.step_scores["probability"].tolist() == [0.5 * 0.5 * 0.25]


def test_overlapping_kinds_have_to_be_told_apart():
    """A document inside a turn: a token cannot be merged into both."""
    segments = [*chat().segments, Segment(label="doc", start=1, end=2, kind="document")]
    sequence = chat(segments=segments)

    with pytest.raises(InvalidArgumentError, match="turn, document"):
        sequence.aggregate("segments")
    assert sequence.aggregate("segments", kind="document").target[1] == "doc"
    with pytest.raises(UnknownNameError, match="document"):
        sequence.aggregate("segments", kind="documents")


def test_overlapping_segments_of_one_kind_leave_no_kind_to_choose():
    """Spans of characters that a user gave may overlap."""
    segments = [attrs.evolve(chat().segments[0], start=start, end=start + 2) for start in (0, 1)]
    with pytest.raises(InvalidArgumentError, match=r"overlap.*\n  Merge 'spans' that do not"):
        chat(segments=segments).aggregate("segments")


def test_segments_that_were_scored_are_the_ones_that_are_merged():
    """The contents of a chat lie within its turns; who removed turns means turns."""
    contents = [attrs.evolve(s, kind="content") for s in chat().segments]
    sequence = chat(segments=[*chat().segments, *contents], feature_kind="turn")

    assert sequence.aggregate("segments") == sequence.aggregate("segments", kind="turn")


def test_scores_of_features_are_not_counted_once_a_token():
    """A turn removed as a whole has one score, written at each of its tokens; their sum is no score."""
    scored = chat(feature_kind="turn")

    with pytest.warns(MeaningWarning, match="turn was scored as one"):
        scored.aggregate("subwords", "sum")
    merged = scored.aggregate("segments")
    assert merged.feature_kind == "token"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merged.aggregate("spans", "sum", target_spans=(0, 2))


def test_a_result_without_segments_says_what_to_use_instead():
    """Nothing merged would look like an answer."""
    with pytest.raises(InvalidArgumentError, match="sentences"):
        decoder_only().aggregate("segments")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("single", ["ab", ".", "cd", ".", "e"]),
        ("start", ["ab", ".cd", ".e"]),
        ("end", ["ab.", "cd.", "e"]),
    ],
)
def test_split_joins_what_lies_between_matches(mode, expected):
    """A separator is on its own, begins what follows, or ends what precedes."""
    sequence = of(["a", "b", ".", "c", "d", ".", "e"])

    assert sequence.aggregate("split", split_pattern=r"\.", split_mode=mode).source == expected


def test_split_takes_separators_of_several_tokens():
    """The pattern is matched over tokens put together: ``--`` is one separator."""
    sequence = of(["a", "-", "-", "b", "c"])

    assert sequence.aggregate("split", split_pattern="--").source == ["a", "--", "bc"]
    assert sequence.aggregate("split", split_pattern="--", split_mode="start").source == ["a", "--bc"]
    assert sequence.aggregate("split", split_pattern="nowhere").source == sequence.source


@pytest.mark.parametrize(
    "parameters", [{}, {"split_pattern": "("}, {"split_pattern": "a", "split_mode": "both"}]
)
def test_split_refuses_what_it_cannot_split_by(parameters):
    """Before anything is computed."""
    with pytest.raises(InvalidArgumentError, match="split_"):
        of(["a"]).aggregate("split", **parameters)
