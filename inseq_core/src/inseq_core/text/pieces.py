"""Pieces: how single token ids are shown, and where words begin.

Pieces are shown as the tokenizer writes them (``Ġladies``, ``▁ladies``, ``##ies``); only byte-level pieces
beyond ASCII are decoded, since nobody reads ``å¥½``. Bytes that are no whole letter are shown one by one:
``<0xE4>``.
"""

from __future__ import annotations

import abc
import collections
import enum
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from inseq_core.contracts.adapter import TokenTexts


class Marks(enum.Enum):
    """How a tokenizer marks the borders of words in its pieces."""

    BYTES = "byte-level letters, Ġ for a space before the piece"
    METASPACE = "▁ for a space before the piece"
    CONTINUATION = "## on pieces that continue a word"
    SUFFIX = "</w> on pieces that end a word"
    WORDS = "none: every piece is a word"
    PLAIN = "none but spaces"


@functools.cache
def byte_alphabet() -> tuple[str, ...]:
    """The letter that stands for each of the 256 bytes in byte-level vocabularies (Radford et al. 2019).

    Visible Latin-1 letters stand for themselves, the others take the code points from 256 on, in order.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, further = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in visible else further))
        further += byte not in visible
    return tuple(letters)


@functools.cache
def _byte_of() -> Mapping[str, int]:
    return {letter: byte for byte, letter in enumerate(byte_alphabet())}


_SHOWN_AS_MARK = {" ": "Ġ", "\n": "Ċ", "\t": "ĉ"}
"""White space keeps the letter that byte-level vocabularies have for it."""
_MARKED = {mark: space for space, mark in _SHOWN_AS_MARK.items()}
_HEX_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def readable(piece: str | bytes) -> str:
    """A byte-level piece as text: marks for white space, hexadecimal for what is no whole letter.

    ``"Ġladies"`` stays, ``"å¥½"`` becomes ``"好"``, ``"ä½"`` (two thirds of a letter) becomes
    ``"<0xE4><0xBD>"``.
    """
    raw = piece if isinstance(piece, bytes) else _bytes(piece)
    if raw is None:
        return str(piece)
    shown = []
    for part in _decoded(raw):
        if isinstance(part, int):
            shown.append(f"<0x{part:02X}>")
        elif part in _SHOWN_AS_MARK:
            shown.append(_SHOWN_AS_MARK[part])
        elif part.isprintable():
            shown.append(part)
        else:
            shown.extend(f"<0x{byte:02X}>" for byte in part.encode())
    return "".join(shown)


def unreadable(text: str) -> str:
    """The byte-level piece that ``readable`` shows as ``text``."""
    raw, position = bytearray(), 0
    while position < len(text):
        byte = _HEX_BYTE.match(text, position)
        if byte:
            raw.append(int(byte[1], 16))
            position = byte.end()
            continue
        letter = text[position]
        raw.extend(_MARKED.get(letter, letter).encode())
        position += 1
    return "".join(byte_alphabet()[byte] for byte in raw)


def _bytes(piece: str) -> bytes | None:
    """The bytes of a byte-level piece, None for a piece outside the byte alphabet (an added token)."""
    known = _byte_of()
    return bytes(known[letter] for letter in piece) if all(letter in known for letter in piece) else None


def _decoded(raw: bytes) -> list[str | int]:
    """Letters of a UTF-8 text, and as numbers the bytes that belong to none."""
    parts: list[str | int] = []
    while raw:
        try:
            parts.extend(raw.decode())
            break
        except UnicodeDecodeError as error:
            parts.extend(raw[: error.start].decode())
            parts.extend(raw[error.start : error.end])
            raw = raw[error.end :]
    return parts


def _is_unspaced(letter: str) -> bool:
    """Whether a letter belongs to a script without spaces between words, whose pieces are its words."""
    return bool(letter) and any(
        a <= ord(letter) <= b
        for a, b in ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x323AF))
    )


def decoder_kinds(decoder: Mapping[str, Any] | None) -> frozenset[str]:
    """Kinds of the decoder in a ``tokenizer.json``, and of those inside it."""
    if not isinstance(decoder, Mapping):
        return frozenset()
    inside = decoder.get("decoders") or ()
    return frozenset({str(decoder.get("type", "")), *(str(part.get("type", "")) for part in inside)})


def marks_of(decoders: AbstractSet[str], vocabulary: Iterable[str | bytes], model: str = "") -> Marks:
    """Which marks a tokenizer writes: from its decoder where that tells, from its vocabulary otherwise.

    Args:
        decoders: kinds of its decoder, as ``tokenizer.json`` names them ("ByteLevel", "Metaspace" …).
        vocabulary: its pieces.
        model: what cuts texts into pieces, likewise ("BPE", "WordLevel" …).
    """
    for kind, marks in (
        ("ByteLevel", Marks.BYTES),
        ("WordPiece", Marks.CONTINUATION),
        ("Metaspace", Marks.METASPACE),
    ):
        if kind in decoders:
            return marks
    seen: collections.Counter[Marks] = collections.Counter()
    for piece in vocabulary:
        if isinstance(piece, bytes):
            return Marks.BYTES
        for marks, has in (
            (Marks.METASPACE, piece.startswith("▁")),
            (Marks.CONTINUATION, piece.startswith("##")),
            (Marks.SUFFIX, piece.endswith("</w>")),
            (Marks.BYTES, piece.startswith("Ġ")),
        ):
            seen[marks] += has
    marks, count = max(seen.items(), key=lambda item: item[1], default=(Marks.PLAIN, 0))
    return marks if count else Marks.WORDS if model == "WordLevel" else Marks.PLAIN


class Pieces(abc.ABC):
    """Ids of one tokenizer as pieces, and back.

    Attributes:
        marks: how it marks words.
    """

    marks: Marks

    @property
    @abc.abstractmethod
    def special_ids(self) -> frozenset[int]:
        """Ids that are no text: start, end, padding, language codes, chat markers.

        The unknown token stands for a word, so it is not among them unless it is also something else.
        """

    @property
    @abc.abstractmethod
    def verbatim_ids(self) -> frozenset[int]:
        """Ids whose pieces are plain text whatever the vocabulary's alphabet: special and added tokens."""

    @abc.abstractmethod
    def written(self, ids: Sequence[int], side: str = "target") -> list[str | bytes]:
        """Pieces as the vocabulary has them; a number in angle brackets for ids that it does not have."""

    @abc.abstractmethod
    def lookup(self, piece: str, side: str = "target") -> int | None:
        """The id of a piece written as the vocabulary has it, None where there is none."""

    def texts(self, ids: Sequence[int], side: str = "target") -> TokenTexts:
        """How ids are shown, where words begin, which are special."""
        pieces = self.written(ids, side)
        special = [int(i) in self.special_ids for i in ids]
        shown = [self._shown(piece, int(i)) for piece, i in zip(pieces, ids, strict=True)]
        starts = []
        for k, text in enumerate(shown):
            is_first = k == 0 or special[k] or special[k - 1]
            starts.append(is_first or self._begins_word(shown[k - 1], text))
        return TokenTexts(tokens=tuple(shown), word_starts=tuple(starts), special=tuple(special))

    def _shown(self, piece: str | bytes, i: int) -> str:
        if isinstance(piece, bytes) or (self.marks is Marks.BYTES and i not in self.verbatim_ids):
            return readable(piece)
        return piece

    def _begins_word(self, before: str, piece: str) -> bool:
        """Whether ``piece`` begins a word after ``before``, by the marks in them."""
        if self.marks is Marks.WORDS:
            return True
        if self.marks is Marks.SUFFIX:
            return before.endswith("</w>")
        if self.marks is Marks.CONTINUATION:
            return not piece.startswith("##")
        first = piece[:1]
        if first in ("Ġ", "Ċ", "ĉ") if self.marks is Marks.BYTES else first == "▁" or first.isspace():
            return True
        if before[-1:] in ("Ċ", "ĉ", "\n", "\t") or before.endswith(("<0x0A>", "<0x0D>", "<0x09>")):
            return True
        if before[-1:] in ("Ġ", "▁", " "):
            return False  # the mark is a piece of its own, and began the word
        if _HEX_BYTE.match(piece):
            return self._begins_letter(before, piece)
        return _is_unspaced(first) or _is_unspaced(before[-1:])

    def _begins_letter(self, before: str, piece: str) -> bool:
        """Whether a piece of bytes begins a letter of a script without spaces, instead of continuing one."""
        byte = int(piece[3:5], 16)
        is_continuation = 0x80 <= byte < 0xC0
        # lead bytes E3 … E9 begin the letters from U+3000 to U+9FFF
        return not is_continuation and (0xE3 <= byte <= 0xE9 or _is_unspaced(before[-1:]))

    def id_of(self, token: str, side: str = "target") -> int | None:
        """The id of a piece written as the vocabulary or ``texts`` writes it, None where there is none."""
        for written in (token, unreadable(token)) if self.marks is Marks.BYTES else (token,):
            found = self.lookup(written, side)
            if found is not None:
                return found
        return None
