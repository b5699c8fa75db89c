"""Less at once: logits are asked for a part at a time, and work that ran out of memory is halved and goes on.

The framework says which errors mean that (``ModelAdapter.is_out_of_memory``).
Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np

from inseq_core.data.batch import IntArray, TokenBatch
from inseq_core.data.steps import StepGrid

if TYPE_CHECKING:
    from inseq_core.contracts.adapter import ModelAdapter

LOGIT_BUDGET = 256 * 2**20
"""Bytes of logits (rows, V), and what a step function makes of them, held at once."""

Result = TypeVar("Result")


def middle(items: Any) -> tuple[Any, Any] | None:
    """The two halves of a list or array; None where one item is left."""
    half = len(items) // 2
    return (items[:half], items[half:]) if half else None


def in_parts(
    adapter: ModelAdapter,
    parts: Iterable[Any],
    work: Callable[[Any], Result],
    cut: Callable[[Any], tuple[Any, Any] | None] = middle,
) -> Iterator[Result]:
    """``work`` on each part, or on halves of halves of it where memory ran out, in their order.

    What was too much once is not tried again: later parts are cut to the size that is left.

    Args:
        parts: lists or arrays of items.
        work: called with some of the items of one part.
        cut: a part in two; None where it cannot be cut, so that the error is the caller's.
    """
    waiting = deque(parts)
    most: int | None = None
    while waiting:
        part = waiting.popleft()
        halves = cut(part)
        if most is not None and len(part) > most and halves is not None:
            waiting.extendleft(reversed(halves))
            continue
        done: list[Result] = []
        try:
            done.append(work(part))
        except Exception as error:
            if not adapter.is_out_of_memory(error) or halves is None:
                raise
        if done:
            yield done.pop()  # not kept here while the next part is worked on
            continue
        # Outside of the handler: the traceback of the error holds the very arrays that did not fit.
        adapter.free_memory()
        most = max(len(half) for half in halves or ())
        waiting.extendleft(reversed(halves or ()))


def sequence_parts(batch: TokenBatch, grid: StepGrid, vocabulary: int) -> Iterator[IntArray]:
    """The rows in parts of whole sequences, each part's logits within the budget."""
    most = max(LOGIT_BUDGET // (12 * max(vocabulary, 1)), 1)
    used, count = np.unique(grid.sequence, return_counts=True)
    part: list[int] = []
    held = 0
    for sequence, rows in zip(used.tolist(), count.tolist(), strict=True):
        if part and held + rows > most:
            yield np.asarray(part, dtype=np.int64)
            part, held = [], 0
        part.append(sequence)
        held += rows
    if part:
        yield np.asarray(part, dtype=np.int64)


def rows_of(grid: StepGrid, sequences: Iterable[int] | IntArray) -> IntArray:
    """Rows of the chosen sequences."""
    return np.flatnonzero(np.isin(grid.sequence, np.asarray(sequences, dtype=np.int64)))


def local_grid(grid: StepGrid, rows: IntArray, sequences: IntArray) -> StepGrid:
    """The chosen rows, seen from a batch of the chosen sequences alone (ascending)."""
    chosen = grid.take(rows)
    return attrs.evolve(chosen, sequence=np.searchsorted(sequences, chosen.sequence))
