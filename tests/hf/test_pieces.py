"""How ids are shown, and where words begin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import TOKENIZERS, tiny_tokenizer

from inseq_core.text.pieces import Marks, byte_alphabet, readable, unreadable
from inseq_hf.pieces import Pieces

TEXT = "Hello ladies,\n\nyou 你好世界 café"


def pieces_of(kind: str) -> Pieces:
    """Of a kind of tokenizer."""
    return Pieces(tiny_tokenizer(kind))


def shown(kind: str, text: str, **options) -> list[str]:
    """A text's tokens."""
    return list(pieces_of(kind).texts(tiny_tokenizer(kind)(text, **options).input_ids).tokens)


def words(kind: str, text: str) -> list[str]:
    """Pieces joined where no word begins."""
    texts = pieces_of(kind).texts(tiny_tokenizer(kind)(text, add_special_tokens=False).input_ids)
    joined: list[str] = []
    for token, starts in zip(texts.tokens, texts.word_starts, strict=True):
        if starts:
            joined.append(token)
        else:
            joined[-1] += token
    return joined


@pytest.mark.parametrize(
    ("kind", "marks"),
    [
        ("byte_bpe", Marks.BYTES),
        ("byte_bpe_bos_eos", Marks.BYTES),
        ("unigram", Marks.METASPACE),
        ("unigram_bos", Marks.METASPACE),
        ("wordpiece", Marks.CONTINUATION),
        ("marian", Marks.METASPACE),
        ("m2m100", Marks.METASPACE),
        ("mbart", Marks.METASPACE),
        ("nllb", Marks.METASPACE),
    ],
)
def test_marks_are_found_from_the_tokenizer(kind, marks):
    """Nobody should have to say what their tokenizer's pieces look like."""
    assert pieces_of(kind).marks is marks


def test_byte_level_pieces_of_ascii_are_as_the_tokenizer_writes_them():
    """Users know ``Ġladies`` from everywhere."""
    assert shown("byte_bpe", "Hello ladies\n and") == tiny_tokenizer("byte_bpe").tokenize(
        "Hello ladies\n and"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("世界", "世界"),
        ("日本", "日本"),
        ("مرحبا", "مرحبا"),
        ("café", "café"),
        (" café", "Ġcafé"),
        ("🙂", "🙂"),
        ("č", "č"),
    ],
)
def test_byte_level_pieces_beyond_ascii_can_be_read(text, expected):
    """Nobody reads ``ä¸ĸçķĮ``; pieces that are parts of a letter are joined here as bytes."""
    alphabet = byte_alphabet()
    whole = "".join(alphabet[byte] for byte in text.encode())

    assert readable(whole) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"\xe4\xbd", "<0xE4><0xBD>"), (b" \xe4", "Ġ<0xE4>"), (b"a\xe4", "a<0xE4>"), (b"\r", "<0x0D>")],
)
def test_parts_of_letters_are_shown_as_bytes(raw, expected):
    """A replacement character for every one of them would make different tokens look the same."""
    assert readable(raw) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=8))
def test_every_byte_level_piece_can_be_read_back(raw):
    """Tokens that were shown can be given again, as baselines or contrasts. (Ġ, Ċ and ĉ are marks.)"""
    piece = "".join(byte_alphabet()[byte] for byte in raw)
    text = readable(piece)
    if any(mark in raw.decode(errors="ignore") for mark in "ĠĊĉ") or "<0x" in raw.decode(errors="ignore"):
        return

    assert unreadable(text) == piece


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_tokens_that_were_shown_have_their_ids_again(kind):
    """``token_ids`` is the inverse of ``token_texts``."""
    pieces, ids = pieces_of(kind), tiny_tokenizer(kind)(TEXT).input_ids

    assert [pieces.id_of(token) for token in pieces.texts(ids).tokens] == list(ids)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("byte_bpe", ["Hello", "Ġladies,", "Ċ", "Ċ", "you"]),
        ("unigram_bos", ["▁Hello", "▁ladies,", "▁you"]),
        ("wordpiece", ["he##llo", "lad##ies", ",", "y##ou"]),
        ("marian", ["▁Hello", "▁ladies,", "▁you"]),
    ],
)
def test_words_begin_where_the_tokenizer_marks_them(kind, expected):
    """Word-wise removal and word-wise views stand on this."""
    text = "Hello ladies,\n\nyou" if kind in ("byte_bpe", "wordpiece") else "Hello ladies, you"
    found = words(kind, text)

    plain = [word.replace("##", "") for word in found]
    assert plain == [word.replace("##", "") for word in expected]


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "unigram_bos", "wordpiece", "marian"])
def test_letters_of_scripts_without_spaces_begin_words(kind):
    """A Chinese sentence is not one word; the bytes of one letter are not several."""
    found = words(kind, "世界好")

    assert 2 <= len(found) <= 4


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_first_token_and_what_follows_a_special_one_begin_words(kind):
    """Whatever its mark says."""
    texts = pieces_of(kind).texts(tiny_tokenizer(kind)("ing ladies").input_ids)

    assert texts.word_starts[0]
    assert all(start for start, special in zip(texts.word_starts[1:], texts.special, strict=False) if special)


@pytest.mark.parametrize(
    ("kind", "special"),
    [
        ("byte_bpe", []),
        ("byte_bpe_bos_eos", ["<s>", "</s>"]),
        ("unigram_bos", ["<s>"]),
        ("unigram_eos", ["</s>"]),
        ("wordpiece_cls", ["[CLS]", "[SEP]"]),
        ("mbart", ["</s>", "en_XX"]),
        ("m2m100", ["__en__", "</s>"]),
        ("nllb", ["eng_Latn", "</s>"]),
        ("marian", ["</s>"]),
    ],
)
def test_special_tokens_are_marked(kind, special):
    """Language codes and ends are no content; an unknown word is."""
    texts = pieces_of(kind).texts(tiny_tokenizer(kind)("a x Ω").input_ids)

    assert [
        token for token, is_special in zip(texts.tokens, texts.special, strict=True) if is_special
    ] == special


def test_an_added_token_is_shown_as_it_was_added():
    """Tokens added to a byte-level vocabulary are plain text, not its alphabet."""
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer("byte_bpe"))
    tokenizer.add_tokens(["é à"])

    assert list(Pieces(tokenizer).texts(tokenizer("a é à").input_ids).tokens)[-1] == "é à"


def test_every_piece_of_a_vocabulary_of_words_begins_one():
    """Home-made tokenizers cut at spaces and mark nothing: all of a text would be one word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "dog": 2, "sleeps": 3}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")

    texts = Pieces(tokenizer).texts(tokenizer("the dog sleeps").input_ids)

    assert texts.word_starts == (True, True, True)
