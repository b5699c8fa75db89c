"""Tokens as people read them."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from inseq_core.view.readable import byte_of_character, running_text, shown_tokens, visible

_CHARACTER_OF = {byte: character for character, byte in byte_of_character().items()}


def spelled(*pieces: bytes | str) -> list[str]:
    """Pieces as a byte-level tokenizer writes them."""
    raw = (p.encode() if isinstance(p, str) else p for p in pieces)
    return ["".join(_CHARACTER_OF[byte] for byte in piece) for piece in raw]


def labels(tokens: list[str], **options: object) -> list[str]:
    """How tokens are shown on their own."""
    return [token.label for token in shown_tokens(tokens, **options)]  # type: ignore[arg-type]


def running(tokens: list[str]) -> str:
    """How tokens are shown as a text."""
    shown = shown_tokens(tokens)
    return "".join((" " if t.space_before else "") + t.text for t in shown)


def test_the_byte_alphabet_has_a_visible_character_for_each_byte():
    """It is rebuilt here from its rule; a wrong entry would garble one letter of one language."""
    alphabet = byte_of_character()

    assert sorted(alphabet.values()) == list(range(256))
    assert all(character.isprintable() and character != " " for character in alphabet)
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["a"], alphabet["é"]) == (0x20, 0x0A, 0x61, 0xE9)


def test_byte_level_chinese_is_shown_as_chinese():
    """``ä½łå¥½`` is the complaint that users of byte-level models have made for years."""
    assert labels(spelled("你", "好", " world", "\n")) == ["你", "好", "·world", "↵"]


def test_a_character_that_was_cut_is_shown_as_its_bytes():
    """Its pieces are no text; a replacement character would make different pieces look the same."""
    first, rest = "好".encode()[:2], "好".encode()[2:]

    assert labels(spelled("你", first, rest)) == ["你", "⟨E5 A5⟩", "⟨BD⟩"]


def test_running_text_has_whole_characters_again():
    """A title reads as the text does, however its characters were cut."""
    tokens = [*spelled("你", "好".encode()[:2], "好".encode()[2:], " x"), "</s>"]

    assert running_text(shown_tokens(tokens)) == "你好 x"
    assert running_text(shown_tokens(["<0xE5>", "<0xA5>", "a"])) == "⟨E5 A5⟩a"


def test_letters_that_are_letters_are_not_taken_for_bytes():
    """é is both a letter and the character of byte E9; read as bytes, these words would be broken."""
    assert labels(["Ġcafé", "Ġest"]) == ["·café", "·est"]
    assert labels(["Ġmiałem", "Ġć"]) == ["·miałem", "·ć"]


def test_byte_fallback_pieces_are_bytes_and_not_special_tokens():
    """``<0x0A>`` is how SentencePiece and our own adapters write what no piece has."""
    shown = shown_tokens(["▁a", "<0x0A>", "<0xE5><0xA5>", "<0xE5><0xA5><0xBD>", "</s>"])

    assert [t.label for t in shown] == ["·a", "↵", "⟨E5 A5⟩", "好", "</s>"]
    assert [t.special for t in shown] == [False, False, False, False, True]


def test_running_text_has_spaces_where_the_tokenizer_marked_them():
    """Four conventions, one text."""
    assert running(["▁The", "▁cat", "s", "."]).strip() == "The cats."
    assert running(["The", "Ġcat", "s", "."]) == "The cats."
    assert running(["the", "cat", "##s", "."]) == "the cats ."
    assert running(["the</w>", "cat", "s</w>", "sit</w>"]) == "the cats sit"
    assert running(["the", "cat", "sits"]) == "the cat sits"
    assert running(["我", "喜欢", "猫"]) == "我喜欢猫"


def test_merged_pieces_keep_their_inner_spaces():
    """Spans and contrast labels are pieces with marks inside."""
    assert labels(["▁The▁big", "▁la → ▁le"]) == ["·The big", "·la → le"]


def test_word_starts_are_used_where_tokens_have_no_mark():
    """Merged or decoded tokens carry no mark, but the result may know where words begin."""
    shown = shown_tokens(["de", "velop", "er", "argued"], word_starts=[True, False, False, True])

    assert [t.space_before for t in shown] == [False, False, False, True]


def test_replaced_strings_are_replaced_before_anything_else():
    """``replace_char`` is how users clean marks that we do not know."""
    assert labels(["_The", "_cat"], replace={"_": "▁"}) == ["·The", "·cat"]


def test_what_would_act_or_hide_is_shown_instead():
    """A terminal escape, a line break, a change of direction, a lone accent, half a surrogate, nothing."""
    tokens = ["\x1b[31m", "a\r\n", "\u202ex", "\u0301", "\ud800", "", "a\u200bb", "\x9b", "\xa0", "\ufeff"]

    assert labels(tokens) == [
        "␛[31m",
        "a␍↵",
        "⟨U+202E⟩x",
        "◌\u0301",
        "⟨U+D800⟩",
        "⟨⟩",
        "a⟨U+200B⟩b",
        "⟨U+009B⟩",
        "⟨U+00A0⟩",
        "⟨U+FEFF⟩",
    ]


def test_joined_emoji_stay_joined():
    """The joiner is invisible, but it is what makes one picture of three people."""
    assert visible("👩\u200d👩\u200d👧") == "👩\u200d👩\u200d👧"


@settings(deadline=None)
@given(st.lists(st.text(), max_size=6))
def test_no_token_is_empty_or_can_move_the_cursor(tokens: list[str]):
    """Whatever a vocabulary holds, a label is visible, of one line, and can be encoded."""
    for token in shown_tokens(tokens):
        for text in (token.label, token.text):
            assert text
            text.encode("utf-8")
            assert len(text.splitlines()) == 1
            assert not {unicodedata.category(c) for c in text} & {"Cc", "Cs", "Zl", "Zp"}
