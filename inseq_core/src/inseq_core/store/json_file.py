"""JSON text to documents and back: strict, bounded, and nothing but data.

A document is refused, never guessed at: duplicate keys, NaN literals, nesting without end, text that unpacks
to more than the file may take.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import attrs

from inseq_core.errors import FileFormatError
from inseq_core.store.arrays import Budget

GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_LIST = 64
"""Bytes that Python takes for an empty list or object and its place in another."""


@attrs.frozen
class ParsedText:
    """What JSON text says.

    Attributes:
        value: the data.
        has_literals: there are ``NaN`` or ``Infinity`` in it, which are not JSON.
    """

    value: Any
    has_literals: bool


def dump(document: Any) -> bytes:
    """Compact JSON in UTF-8; what UTF-8 cannot write (lone surrogates) is escaped."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse(data: bytes | str) -> ParsedText:
    """The data of JSON text.

    Raises:
        FileFormatError: it is not JSON, a key occurs twice in an object, or it is nested too deeply.
    """
    literals: list[str] = []

    def constant(literal: str) -> float:
        literals.append(literal)
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[literal]

    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=constant)
    except RecursionError as error:
        raise FileFormatError("Nested too deeply for a saved attribution.") from error
    except FileFormatError:
        raise
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise FileFormatError(f"Not JSON, or cut off: {error}.") from error
    return ParsedText(value, bool(literals))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FileFormatError(f"The key {twice[:60]!r} occurs twice in one object.")
    return values


def decompress(data: bytes, budget: Budget) -> bytes:
    """The content of gzip data, within the budget.

    Raises:
        FileFormatError: damaged, cut off, or larger than the budget.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    parts: list[bytes] = []
    pending = data
    try:
        while not inflater.eof:
            part = inflater.decompress(pending, _CHUNK)
            pending = inflater.unconsumed_tail
            if not part and not pending and not inflater.eof:
                raise FileFormatError("The compressed file is cut off.")
            budget.take(len(part), "The compressed text")
            parts.append(part)
    except zlib.error as error:
        raise FileFormatError(f"The compressed file is damaged: {error}.") from error
    if inflater.unused_data.strip(b"\x00"):
        raise FileFormatError("There is something after the end of the compressed data.")
    return b"".join(parts)


def objects_cost(data: bytes) -> int:
    """Bytes that the lists and objects of JSON text take at least, whatever is in them.

    Text of brackets alone takes thirty times its length once it is read.
    """
    return _LIST * (data.count(b"[") + data.count(b"{"))


def compress(data: bytes) -> bytes:
    """gzip data without a time or a name in it: the same content gives the same file."""
    deflater = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return deflater.compress(data) + deflater.flush()
