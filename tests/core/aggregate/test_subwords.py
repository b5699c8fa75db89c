from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreMeaning
from inseq_core.errors import InvalidArgumentError, MeaningWarning


def of(tokens, **changes):
    """One step explained by these source tokens, each with a score of one."""
    return FeatureAttributionSequenceOutput(
        source=tokens,
        target=["x"],
        source_attributions=np.ones((len(tokens), 1)),
        meaning=ScoreMeaning(additive=True),
        **changes,
    )


CONVENTIONS = {
    "byte-level": (["Hel", "lo", "Ġla", "dies", ",", "ĠX"], ["Hello", "Ġladies,", "ĠX"]),
    "byte-level with line breaks": (["Ġa", "b", "Ċ", "c", "d"], ["Ġab", "Ċ", "cd"]),
    "SentencePiece": (["▁Hel", "lo", "▁wor", "ld", "</s>"], ["▁Hello", "▁world", "</s>"]),
    "SentencePiece, last word": (["▁Hello", "▁wor", "ld"], ["▁Hello", "▁world"]),
    "WordPiece": (["[CLS]", "phen", "##omen", "##al", "!", "[SEP]"], ["[CLS]", "phenomenal", "!", "[SEP]"]),
    "end of word": (["he", "llo</w>", "world</w>"], ["hello</w>", "world</w>"]),
    "plain spaces": (["one", " two", "x"], ["one", " twox"]),
    "special in the middle": (["Ġa", "b", "<|im_end|>", "c", "d"], ["Ġab", "<|im_end|>", "cd"]),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_words_are_found_from_the_marks_in_the_tokens(name):
    """A result read from elsewhere says nothing about words but what its tokens show."""
    tokens, words = CONVENTIONS[name]

    assert of(tokens).aggregate("subwords", aggregate_target=False).source == words


def test_the_tokenizers_own_word_starts_win_over_the_marks():
    """A character-level tokenizer writes no marks, and ``Ġ`` may be a letter of the text."""
    sequence = of(
        ["h", "i", "Ġ", "y", "o", "</s>"], source_word_starts=[1, 0, 1, 1, 0, 0], source_special=[0] * 5 + [1]
    )

    assert sequence.aggregate("subwords").source == ["hi", "Ġ", "yo", "</s>"]


def test_special_tokens_are_never_merged():
    """They are of the model, not of the text, even where no word begins after them."""
    sequence = of(
        ["<s>", "a", "b", "</s>", "</s>"], source_word_starts=[0] * 5, source_special=[1, 0, 0, 1, 1]
    )

    assert sequence.aggregate("subwords").source == ["<s>", "ab", "</s>", "</s>"]


def test_merging_subwords_keeps_totals_and_the_last_word():
    """Each of six unit scores is in exactly one word."""
    merged = of(CONVENTIONS["byte-level"][0]).aggregate("subwords", "sum")

    np.testing.assert_array_equal(merged.source_attributions, [[2], [3], [1]])


def test_both_sides_are_merged_unless_told_otherwise():
    """The target's words are steps as well."""
    both = encoder_decoder().aggregate("subwords")
    source_only = encoder_decoder().aggregate("subwords", aggregate_target=False)

    assert both.source == ["▁the", "▁world", "</s>"]
    assert both.target == ["<s>", "▁le", "▁monde"]
    assert (both.attr_pos_start, both.attr_pos_end) == (1, 3)
    assert source_only.target == encoder_decoder().target


def test_a_decoder_only_source_follows_its_target():
    """``source`` repeats the prompt, also the merged one."""
    merged = decoder_only().aggregate("subwords")

    assert merged.source == ["Ġab", "Ġc"]
    assert merged.target == ["Ġab", "Ġc", "Ġdef"]


def test_symbols_can_be_given():
    """For a tokenizer of one's own: ``_`` begins words, or ``~`` continues them."""
    assert of(["_a", "b", "_c"]).aggregate("subwords", special_chars="_").source == ["_ab", "_c"]
    continued = of(["a", "~b", "c"]).aggregate("subwords", special_chars=("~",), is_suffix_symbol=True)
    assert continued.source == ["a~b", "c"]
    with pytest.raises(InvalidArgumentError, match="special_chars"):
        of(["a"]).aggregate("subwords", special_chars=())


def test_tokens_without_any_mark_are_left_alone_with_a_warning():
    """Merging everything into one word, or nothing in silence, would both look like an answer."""
    with pytest.warns(MeaningWarning, match="special_chars"):
        assert of(["a", "b"]).aggregate("subwords", aggregate_target=False).source == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of(["a"]).aggregate("subwords")


def test_byte_pieces_are_not_special():
    """``<0xE4>`` is a third of a Chinese character, not a marker."""
    assert of(["▁a", "<0xE4>", "<0xBD>"]).aggregate("subwords").source == ["▁a<0xE4><0xBD>"]
