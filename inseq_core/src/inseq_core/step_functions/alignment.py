"""Which token of a contrast each step is compared with.

A step at target position s is compared with the token at position c of the contrast. Pairs (s, c) are given
by the user, found by an aligner, or, without either, the two texts are laid side by side from the right.
Axes: T steps of one text.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from inseq_core.data.batch import IntArray
from inseq_core.errors import InvalidArgumentError, PositionError, invalid

AUTO = "auto"

Pairs = tuple[tuple[int, int], ...]
"""(target position, position in the contrast)."""

Alignment = Pairs | str | None
"""Of one text: pairs, ``"auto"``, or None for side by side from the right."""

_EXPECTED = "'auto', pairs (position, position in the contrast), or a list of them: one for each text"


def as_alignments(value: Any, n_texts: int) -> tuple[Alignment, ...]:
    """One alignment a text.

    Raises:
        InvalidArgumentError: something else, or another number of texts.
    """
    name = "contrast_targets_alignments"
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or value == AUTO:
        return (value,) * n_texts
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise invalid(name, value, _EXPECTED)
    items = list(value)
    if items and all(_is_pair(item) for item in items):
        if n_texts > 1:
            raise InvalidArgumentError(
                f"{name} is one list of pairs, and there are {n_texts} texts: expected a list of such "
                f"lists, one for each."
            )
        return (_pairs(items),)
    if len(items) != n_texts:
        raise InvalidArgumentError(
            f"{name} has {len(items)} entries for {n_texts} texts: expected {_EXPECTED}."
        )
    return tuple(item if item is None or item == AUTO else _pairs(item) for item in items)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 2
        and all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in value)
    )


def _pairs(value: Any) -> Pairs:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise invalid("contrast_targets_alignments", value, _EXPECTED)
    pairs = [pair.tolist() if hasattr(pair, "tolist") else pair for pair in value]
    for pair in pairs:
        if not _is_pair(pair) or min(pair) < 0:
            raise invalid("contrast_targets_alignments", pair, "a pair of positions, counted from 0")
    return tuple((int(s), int(c)) for s, c in pairs)


def check_range(pairs: Pairs, name: str, contrast_length: int, length: int | None = None) -> None:
    """Pairs name positions that there are.

    Args:
        name: the text's, for the error.
        contrast_length: tokens of the contrast.
        length: target tokens of the text, where they are known.

    Raises:
        PositionError: one is beyond the end, or has nothing before it in the contrast.
    """
    for s, c in pairs:
        if c >= contrast_length:
            raise PositionError(
                f"contrast_targets_alignments: pair ({s}, {c}) of {name}, whose contrast has "
                f"{contrast_length} tokens: "
                f"expected positions from 0 to {contrast_length - 1}."
            )
        if length is not None and s >= length:
            raise PositionError(
                f"contrast_targets_alignments: pair ({s}, {c}) of {name}, which has {length} target tokens: "
                f"expected "
                f"positions from 0 to {length - 1}."
            )
        if s > 0 and c == 0:
            raise PositionError(
                f"contrast_targets_alignments: pair ({s}, 0) of {name}: nothing stands before position 0 of "
                f"the contrast, "
                "so that it has no score."
            )


def from_the_right(span: tuple[int, int], length: int, contrast_length: int, name: str) -> IntArray:
    """(T,) position of each step in the contrast, with the two ends side by side.

    Raises:
        PositionError: the contrast is too short for the first steps.
    """
    positions = np.arange(*span) + contrast_length - length
    if positions[0] < 1:
        missing = int((positions < 1).sum())
        raise PositionError(
            f"The contrast of {name} has {contrast_length} tokens, the text {length}: side by side from the "
            f"right, the first {missing} of {len(positions)} steps have nothing to be compared with.\n"
            "  Say which tokens belong together (contrast_targets_alignments, 'auto' finds out), or explain "
            "later steps only (attr_pos_start)."
        )
    return positions


def along_pairs(pairs: Iterable[tuple[int, int]], span: tuple[int, int], contrast_length: int) -> IntArray:
    """(T,) position of each step in the contrast.

    A step without a pair follows the nearest one before it, one token further for each step, but not beyond
    the next pair's; steps before the first pair are counted back from it. Of several pairs of one step the
    first token counts.
    """
    first: dict[int, int] = {}
    for s, c in pairs:
        first[s] = min(c, first.get(s, c))
    steps = sorted(first)
    positions = []
    for s in range(*span):
        place = bisect.bisect_right(steps, s)
        if not steps:
            c = s
        elif place == 0:
            c = first[steps[0]] - (steps[0] - s)
        else:
            before = steps[place - 1]
            c = first[before] + (s - before)
            following = first[steps[place]] if place < len(steps) else contrast_length - 1
            if s != before and following > first[before]:
                c = min(c, following)
        positions.append(min(max(c, 1), contrast_length - 1))
    return np.asarray(positions, dtype=np.int64)
