"""Which target positions are attributed.

Position s is explained by everything before it, so the first that can be attributed is 1. Each text has its
own span, counted in its own ids, or found by a piece of its output. Axes: L target positions.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.data.batch import EncodedText
from inseq_core.data.plain import items_of
from inseq_core.errors import PositionError, invalid
from inseq_core.run.cutting import PlacedTokens

Positions = int | Sequence[int | None] | None
"""One position for all texts, one a text, or None for the default."""


_LETTER = 12
"""Tokens that a letter has at most, and some before it."""


def check_positions(name: str, value: Any, n_texts: int) -> tuple[int | None, ...]:
    """One position a text.

    Raises:
        InvalidArgumentError: something else than integers, or a list of another length.
    """
    expected = f"an integer, or a list of {n_texts} integers: one a text"
    if value is None or _is_integer(value):
        return (None if value is None else operator.index(value),) * n_texts
    items = items_of(value)
    if items is None or len(items) != n_texts or not all(v is None or _is_integer(v) for v in items):
        raise invalid(name, value, expected)
    return tuple(None if v is None else operator.index(v) for v in items)


def check_pieces(value: Any, n_texts: int, *, with_positions: bool) -> tuple[str | None, ...]:
    """One piece of output a text.

    Args:
        with_positions: positions were given too.

    Raises:
        InvalidArgumentError: something else than texts, a list of another length, or positions beside them.
    """
    if value is None:
        return (None,) * n_texts
    if with_positions:
        raise invalid(
            "attribute_span", value, "None, where attr_pos_start or attr_pos_end say which steps are meant"
        )
    pieces = (value,) * n_texts if isinstance(value, str) else items_of(value)
    if pieces is None or len(pieces) != n_texts:
        raise invalid("attribute_span", value, f"a piece of the output, or a list of {n_texts}: one a text")
    for piece in pieces:
        if piece is not None and not (isinstance(piece, str) and piece.strip()):
            raise invalid("attribute_span", piece, "a piece of the output with at least one character")
    return tuple(pieces)


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def attributed_spans(
    adapter: ModelAdapter,
    texts: Sequence[EncodedText],
    starts: Sequence[int | None],
    ends: Sequence[int | None],
    pieces: Sequence[str | None] = (),
) -> tuple[tuple[int, int], ...]:
    """``[start, end)`` of the attributed target positions of each text.

    Args:
        pieces: for each text a piece of its output that stands there once: the tokens that it touches; or
            None.

    The default is everything after what was given: after the prompt, or after the start token and a forced
    prefix. Negative positions count from the end of the text; a start inside the prompt attributes prompt
    tokens.

    Raises:
        PositionError: positions outside of the text, or none between start and end; a piece that the output
            does not have, or has more than once.
    """
    names = [f"text {i}" if len(texts) > 1 else "the text" for i in range(len(texts))]
    return tuple(
        _span(text, start, end, name) if piece is None else _span_of_piece(adapter, text, piece, name)
        for text, start, end, piece, name in zip(
            texts, starts, ends, pieces or (None,) * len(texts), names, strict=True
        )
    )


def _span_of_piece(adapter: ModelAdapter, text: EncodedText, piece: str, name: str) -> tuple[int, int]:
    ids = text.target_ids.tolist()
    first = 1 if text.source_ids is not None else text.prompt_length
    output = adapter.decode(ids[first:], skip_special_tokens=False)
    found = _occurrences(adapter, ids[first:], piece)
    if len(found) == 1:
        start, end = found[0]
        return _span(text, first + start, first + end, name)
    if found:
        where = ", ".join(f"[{first + start}, {first + end})" for start, end in found)
        raise PositionError(
            f"attribute_span = {piece!r} stands {len(found)} times in the output of {name}: "
            f"{_beginning(output)}.\n"
            f"  Give more of its surroundings, or one of the positions {where} as attr_pos_start and "
            f"attr_pos_end."
        )
    given = _occurrences(adapter, ids[:first], piece)
    hint = (
        f"\n  It stands in the prompt: attr_pos_start = {given[0][0]}, attr_pos_end = {given[0][1]}."
        if given
        else ""
    )
    raise PositionError(
        f"attribute_span = {piece!r} is no part of the output of {name}: {_beginning(output)}.{hint}"
    )


def _occurrences(adapter: ModelAdapter, ids: Sequence[int], piece: str) -> list[tuple[int, int]]:
    """``[start, end)`` of the tokens that each occurrence of a piece of text touches.

    The piece may name special tokens, where the text without them does not have it.
    """
    for with_special in (False, True):
        placed = PlacedTokens.of(adapter, ids, with_special=with_special)
        found, at = [], placed.text.find(piece)
        while at >= 0:
            touched = placed.touched(at, at + len(piece))
            if touched:
                start = touched[0]
                # a letter of several tokens is shown by the last of them, and may begin inside another
                while start and adapter.decode(ids[max(start - _LETTER, 0) : start]).endswith("\ufffd"):
                    start -= 1
                found.append((start, touched[-1] + 1))
            at = placed.text.find(piece, at + 1)
        if found:
            return found
    return []


def _beginning(text: str, width: int = 80) -> str:
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def _span(text: EncodedText, start: int | None, end: int | None, name: str) -> tuple[int, int]:
    length = len(text.target_ids)
    if start is None and length <= max(text.prompt_length, 1):
        raise PositionError(
            f"Nothing was generated after the {text.prompt_length} given target tokens of {name}, "
            f"so there is no step to attribute.\n"
            "  Ask for more (generation_args={'max_new_tokens': …}), give generated_texts, "
            "or attribute prompt tokens with attr_pos_start."
        )
    first = max(text.prompt_length, 1) if start is None else _counted("attr_pos_start", start, length, name)
    last = length if end is None else _counted("attr_pos_end", end, length, name)
    if first == 0:
        raise PositionError(
            f"attr_pos_start = {start}: nothing stands before position 0 of {name}, so it cannot be "
            f"attributed.\n"
            f"  The first position that can is 1; by default it is {max(text.prompt_length, 1)}."
        )
    if first >= last:
        raise PositionError(
            f"No position lies in [attr_pos_start, attr_pos_end) = [{first}, {last}) of {name}.\n"
            f"  It has {length} target positions, and attr_pos_end is exclusive."
        )
    if first >= length:
        raise PositionError(f"attr_pos_start = {start}: {name} has {length} target positions.")
    return first, last


def _counted(name: str, position: int, length: int, text: str) -> int:
    """A position counted from the start."""
    if not -length <= position <= length:
        raise PositionError(
            f"{name} = {position}: {text} has {length} target positions.\n"
            f"  Expected {-length} to {length}; give a list for a position of its own for each text."
        )
    return position + length if position < 0 else position
