"""Which target positions are attributed.

Position s is explained by everything before it, so the first that can be attributed is 1. Each text has its
own span, counted in its own ids. Axes: L target positions.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from inseq_core.data.batch import EncodedText
from inseq_core.errors import PositionError, invalid

Positions = int | Sequence[int | None] | None
"""One position for all texts, one a text, or None for the default."""


def check_positions(name: str, value: Any, n_texts: int) -> tuple[int | None, ...]:
    """One position a text.

    Raises:
        InvalidArgumentError: something else than integers, or a list of another length.
    """
    expected = f"an integer, or a list of {n_texts} integers: one a text"
    if value is None or _is_integer(value):
        return (None if value is None else operator.index(value),) * n_texts
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise invalid(name, value, expected)
    if len(value) != n_texts or not all(v is None or _is_integer(v) for v in value):
        raise invalid(name, value, expected)
    return tuple(None if v is None else operator.index(v) for v in value)


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def attributed_spans(
    texts: Sequence[EncodedText], starts: Sequence[int | None], ends: Sequence[int | None]
) -> tuple[tuple[int, int], ...]:
    """``[start, end)`` of the attributed target positions of each text.

    The default is everything after what was given: after the prompt, or after the start token and a forced
    prefix. Negative positions count from the end of the text; a start inside the prompt attributes prompt
    tokens.

    Raises:
        PositionError: positions outside of the text, or none between start and end.
    """
    return tuple(
        _span(text, start, end, f"text {i}" if len(texts) > 1 else "the text")
        for i, (text, start, end) in enumerate(zip(texts, starts, ends, strict=True))
    )


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
