"""Less at once: work that ran out of memory is halved and goes on.

The framework says which errors mean that (``ModelAdapter.is_out_of_memory``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from inseq_core.contracts.adapter import ModelAdapter

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
