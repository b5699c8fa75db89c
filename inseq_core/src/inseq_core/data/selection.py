"""Which positions a user means: numbers, slices, or the tokens themselves."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from inseq_core.data.token import TokenWithId
from inseq_core.errors import InvalidArgumentError, invalid, listed

_WORD_MARKS = "Ġ▁Ċ# "


def find_span(tokens: Sequence[TokenWithId], positions: Any) -> tuple[int, int]:
    """``[start, end)`` of a slice, a position, a token, or a pair of tokens (both included).

    A token is found by its exact string, else without the tokenizer's mark of a word start (``"a"`` finds
    ``"Ġa"``).

    Raises:
        InvalidArgumentError: nothing there, or a step other than 1.
    """
    length = len(tokens)
    if isinstance(positions, str):
        start = _find(tokens, positions, 0)
        return start, start + 1
    if isinstance(positions, tuple) and len(positions) == 2 and all(isinstance(p, str) for p in positions):
        positions = slice(*positions)
    if isinstance(positions, slice):
        return _slice_span(tokens, positions)
    try:
        position = operator.index(positions)
    except TypeError:
        raise invalid("positions", positions, "a slice, a position, a token, or a pair of tokens") from None
    if not -length <= position < length:
        raise InvalidArgumentError(
            f"Position {position} of {length} tokens: expected {-length} to {length - 1}."
        )
    return position % length, position % length + 1


def _slice_span(tokens: Sequence[TokenWithId], positions: slice) -> tuple[int, int]:
    if positions.step not in (None, 1):
        raise invalid("the step of a slice", positions.step, "1: spans are contiguous")
    first, last = positions.start, positions.stop
    start = _find(tokens, first, 0) if isinstance(first, str) else slice(first, None).indices(len(tokens))[0]
    if isinstance(last, str):
        end = _find(tokens, last, start) + 1
    else:
        end = slice(None, last).indices(len(tokens))[1]
    if end <= start:
        raise InvalidArgumentError(f"[{first!r}:{last!r}] of {len(tokens)} tokens holds none.")
    return start, end


def _find(tokens: Sequence[TokenWithId], wanted: str, begin: int) -> int:
    for text in (str, lambda token: str(token).strip(_WORD_MARKS)):
        for position in range(begin, len(tokens)):
            if text(tokens[position]) == wanted:
                return position
    raise InvalidArgumentError(
        f"No token {wanted!r} at or after position {begin}.\n"
        f"  Tokens: {listed((repr(str(t)) for t in tokens[begin:]), 20)}."
    )
