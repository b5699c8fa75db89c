"""Tokens as people read them.

Tokenizers write a space as ``Ġ`` or ``▁``, spell the bytes of Chinese as ``ä½ł``, and cut characters in the
middle; texts hold line breaks, terminal escapes and invisible characters. Here every token of one text
becomes a label that shows all of that and does none of it: nothing in a label can move the cursor, change a
colour, or turn the line around.

The marks: ``·`` a space, ``↵`` a line break, ``⇥`` a tab, ``⟨E4 BD⟩`` bytes of an unfinished character,
``⟨U+202E⟩`` an invisible character, ``␛`` a control character, ``◌`` under an accent that stands alone.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence

import attrs

SPACE = "·"
LINE_BREAK = "↵"
TAB = "⇥"
EMPTY = "⟨⟩"

_SPACE_MARKS = ("▁", "Ġ")
_SHOWN_BYTES = re.compile(r"(?:⟨[0-9A-F]{2}(?: [0-9A-F]{2})*⟩)+")
_SPELLED_BYTES = re.compile(r"(?:<0x[0-9A-Fa-f]{2}>)+")
_BLANKS = str.maketrans({"Ġ": " ", "Ċ": "\n", "ĉ": "\t", "č": "\r"})
_WORD_END = "</w>"
_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z_0-9]{2,20}\]")
_LINE_ENDS = "\n\u2028\u2029\x85"
_JOINERS = "\u200c\u200d"


@attrs.frozen(kw_only=True)
class ShownToken:
    """One token as it is shown.

    Attributes:
        label: the token on its own, its spaces and line breaks made visible; never empty.
        text: the token inside running text: without the mark of the space before it.
        space_before: running text has a space before it.
        line_break: running text goes on in a new line after it.
        special: a token of the tokenizer's, not of the text (``</s>``).
    """

    label: str
    text: str
    space_before: bool = False
    line_break: bool = False
    special: bool = False


def shown_tokens(
    tokens: Sequence[object],
    *,
    special: Sequence[bool] | None = None,
    word_starts: Sequence[bool] | None = None,
    replace: Mapping[str, str] | None = None,
) -> tuple[ShownToken, ...]:
    """The tokens of one text, readable.

    Which convention the tokenizer follows is seen from all of them together: one token ``é`` may be a
    letter or a byte.

    Args:
        tokens: tokens or strings, in the order of the text.
        special: which are special tokens; None looks for ``<…>`` and ``[…]``.
        word_starts: which begin a word, for tokens without any mark of it.
        replace: strings to replace in every token first.
    """
    raw = [str(token) for token in tokens]
    flags = [_looks_special(token) for token in raw] if special is None else list(special)
    for old, new in (replace or {}).items():
        raw = [token.replace(old, new) if old else token for token in raw]
    raw = _spaced_by_word_ends(raw)
    mark = _space_mark(raw)
    ordinary = [token for token, is_special in zip(raw, flags, strict=True) if not is_special]
    spelled_in_bytes = mark != "▁" and _are_bytes(ordinary)
    plain = [
        token if is_special else _decoded(token, mark, spelled_in_bytes)
        for token, is_special in zip(raw, flags, strict=True)
    ]
    marked = mark is not None or spelled_in_bytes or any(map(_SPELLED_BYTES.search, ordinary))
    spaced = _spaces(plain, flags, word_starts, marked=marked)
    return tuple(
        ShownToken(
            label=visible(text, mark_spaces=True) or EMPTY,
            text=_running(text, space),
            space_before=space,
            line_break=text.endswith(tuple(_LINE_ENDS)),
            special=is_special,
        )
        for text, space, is_special in zip(plain, spaced, flags, strict=True)
    )


def _looks_special(token: str) -> bool:
    return bool(_SPECIAL.fullmatch(token)) and not _SPELLED_BYTES.fullmatch(token)


def _running(text: str, space_before: bool) -> str:
    inner = text[1:] if space_before and text.startswith(" ") else text.removeprefix("##")
    return visible(inner) if inner.strip(" ") else visible(text, mark_spaces=True) or EMPTY


def running_text(tokens: Sequence[ShownToken]) -> str:
    """The tokens as one text: special ones left out, characters that were cut whole again."""
    words = ((" " if t.space_before else "") + t.text for t in tokens if not t.special)
    joined = "".join(words).strip()
    return _SHOWN_BYTES.sub(lambda run: visible(_text_of_bytes(bytes.fromhex(_hex(run[0])))), joined)


def _hex(shown: str) -> str:
    return shown.replace("⟨", " ").replace("⟩", " ")


def visible(text: str, *, mark_spaces: bool = False) -> str:
    """``text`` with everything shown that would act or hide instead.

    Args:
        mark_spaces: also mark spaces at the ends, and where several follow each other.
    """
    if mark_spaces:
        text = re.sub(r"^ +| +$| {2,}", lambda m: SPACE * len(m[0]), text)
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    for character in text:
        shown.append(_visible_character(character, shown[-1] if shown else ""))
    return "".join(shown)


def _visible_character(character: str, before: str) -> str:
    if character in _LINE_ENDS:
        return LINE_BREAK
    if character == "\t":
        return TAB
    code, category = ord(character), unicodedata.category(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if character == " ":
        return character
    if category in ("Cc", "Cs", "Cn", "Zs"):
        return f"⟨U+{code:04X}⟩"
    if category == "Cf" and not (character in _JOINERS and before):
        return f"⟨U+{code:04X}⟩"
    if category in ("Mn", "Me", "Mc") and not before:
        return "◌" + character
    return character


def is_right_to_left(text: str) -> bool:
    """Whether some character of ``text`` is written from right to left."""
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)


@functools.cache
def byte_of_character() -> dict[str, int]:
    """The alphabet of byte-level tokenizers: a printable character for each of the 256 bytes (Radford et
    al. 2019).

    Printable Latin-1 characters stand for their own byte; the others follow from U+0100 on, in the order
    of the bytes.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


def _space_mark(tokens: Sequence[str]) -> str | None:
    """The character that this text's tokenizer writes for a space, if it writes one."""
    counts = {mark: sum(token.startswith(mark) for token in tokens) for mark in _SPACE_MARKS}
    mark = max(_SPACE_MARKS, key=counts.__getitem__)
    return mark if counts[mark] else None


def _are_bytes(tokens: Sequence[str]) -> bool:
    """Whether the tokens spell bytes: read so, more of their characters outside ASCII are whole than
    broken."""
    alphabet = byte_of_character()
    joined = "".join(tokens)
    if any(character not in alphabet for character in joined):
        return False
    decoded = bytes(alphabet[c] for c in joined).decode("utf-8", errors="replace")
    broken = decoded.count("\ufffd")
    whole = sum(character > "\x7f" and character != "\ufffd" for character in decoded)
    blanks = any(character in joined for character in ("Ċ", "ĉ", "č")) and broken == 0
    return whole > broken or blanks


def _decoded(token: str, mark: str | None, spelled_in_bytes: bool) -> str:
    """The text of one piece: a space for each mark, characters for bytes."""
    if spelled_in_bytes:
        alphabet = byte_of_character()
        return _text_of_bytes(bytes(alphabet[character] for character in token))
    token = _SPELLED_BYTES.sub(
        lambda run: _text_of_bytes(bytes.fromhex(run[0][3:-1].replace("><0x", ""))), token
    )
    if mark != "▁" and token and not token.strip("ĠĊĉč"):
        return token.translate(_BLANKS)
    if mark is not None:
        # Merged pieces hold marks inside: "▁The▁house", "▁la → ▁le".
        token = token.replace(" " + mark, " ").replace(mark, " ")
    return token.replace("Ċ", "\n").replace("ĉ", "\t") if mark == "Ġ" else token


def _spaced_by_word_ends(tokens: Sequence[str]) -> list[str]:
    """Pieces that mark where words end (``low er</w> est``) as pieces that begin with a space."""
    if not any(token.endswith(_WORD_END) for token in tokens):
        return list(tokens)
    ends = [False, *(token.endswith(_WORD_END) for token in tokens)]
    return [" " * end + token.removesuffix(_WORD_END) for end, token in zip(ends, tokens, strict=False)]


def _text_of_bytes(data: bytes) -> str:
    """UTF-8, with the bytes of unfinished characters spelled out."""
    parts: list[str] = []
    while data:
        try:
            parts.append(data.decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            # A cut may fall anywhere: what no character claims is one run of bytes.
            parts.append(data[: error.start].decode("utf-8"))
            parts.append("⟨" + " ".join(f"{byte:02X}" for byte in data[error.start : error.end]) + "⟩")
            data = data[error.end :]
    return "".join(parts).replace("⟩⟨", " ")


def _spaces(
    texts: Sequence[str], special: Sequence[bool], word_starts: Sequence[bool] | None, marked: bool
) -> list[bool]:
    """Before which tokens running text has a space."""
    ordinary = [text for text, is_special in zip(texts, special, strict=True) if not is_special]
    if marked or any(text.startswith(" ") for text in ordinary):
        return [text.startswith(" ") for text in texts]
    if any(text.startswith("##") for text in ordinary):
        return [i > 0 and not text.startswith("##") for i, text in enumerate(texts)]
    if word_starts is not None and any(word_starts) and not all(word_starts):
        return [i > 0 and bool(start) for i, start in enumerate(word_starts)]
    glued = all(len(text) <= 1 for text in ordinary) or any(_is_unspaced(text) for text in ordinary)
    return [i > 0 and not glued for i in range(len(texts))]


def _is_unspaced(text: str) -> bool:
    """Whether the script of ``text`` writes no spaces (Chinese, Japanese, Thai …)."""
    return any(
        "\u3040" <= c <= "\u30ff"
        or "\u3400" <= c <= "\u9fff"
        or "\u0e00" <= c <= "\u0eff"
        or "\u1780" <= c <= "\u17ff"
        for c in text
    )
