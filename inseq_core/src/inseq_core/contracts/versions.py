"""Versions of a text, and which of them answers for which version and row.

Different texts stand in a table once, and a row whose prefix a version leaves as it was is answered by the
unchanged text. Axes: P versions, U different texts, R rows, L target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.data.batch import EncodedText, IntArray
from inseq_core.data.steps import StepGrid

if TYPE_CHECKING:
    from inseq_core.contracts.context import AttributionContext

RowFunction = Callable[[StepFunctionArgs], Any]
"""Step function arguments of some rows -> (rows,) values."""


@attrs.frozen(kw_only=True, eq=False)
class VersionTable:
    """Which text answers for which version and row.

    Attributes:
        texts: the U different texts, the unchanged one first.
        text: (P, R) the text that answers.
        position: (U, R) where the row's token stands in each text.
    """

    texts: tuple[EncodedText, ...] = attrs.field(converter=tuple[EncodedText, ...])
    text: IntArray
    position: IntArray


def score_table(
    ctx: AttributionContext, table: VersionTable, function: RowFunction | None = None
) -> np.ndarray:
    """(P, R) values of ``function`` (the attributed function by default) in every cell of a table, in
    float64.
    """
    rows = np.arange(ctx.n_rows)
    is_used = np.zeros((len(table.texts), ctx.n_rows), dtype=np.bool_)
    is_used[table.text, rows] = True
    text, row = np.nonzero(is_used)
    batch = attrs.evolve(ctx.batch, texts=table.texts, origin=ctx.batch.origin * len(table.texts))
    grid = StepGrid(
        sequence=text,
        position=table.position[text, row],
        target_ids=ctx.grid.target_ids[row],
        step=ctx.grid.step[row],
    )
    evaluate = function or ctx.request.attributed
    values = np.empty(is_used.shape)
    for chosen, output in ctx.adapter.forward_versions(batch, grid):
        found = evaluate(ctx.args(output, batch, grid.take(chosen)))
        values[text[chosen], row[chosen]] = ctx.adapter.to_numpy(found)
    return values[table.text, rows]


def aligned_table(
    ctx: AttributionContext, texts: Sequence[EncodedText], of: IntArray | None = None
) -> VersionTable:
    """A table of versions in which every token stands where it stood.

    Args:
        texts: versions of the text of the context.
        of: (P, R) which of them answers; each for all rows by default.
    """
    original = ctx.batch.texts[0]
    known: dict[tuple[bytes, ...], int] = {content_of(original): 0}
    different = [original]
    place = np.empty(len(texts), dtype=np.int64)
    change = np.empty(len(texts), dtype=np.int64)
    for i, text in enumerate(texts):
        content = content_of(text)
        if content not in known:
            known[content] = len(different)
            different.append(text)
        place[i], change[i] = known[content], first_change(original, text)
    position = ctx.grid.position
    of = np.repeat(np.arange(len(texts))[:, None], ctx.n_rows, axis=1) if of is None else of
    table = np.where(change[of] >= position[None, :], 0, place[of])
    return VersionTable(texts=different, text=table, position=np.tile(position, (len(different), 1)))


def first_change(original: EncodedText, version: EncodedText) -> int:
    """First target position at which a version differs: -1 where its source does, beyond its end where
    nothing does.
    """
    pairs = [
        (original.source_ids, version.source_ids, None),
        (original.source_kept, version.source_kept, True),
        (original.source_blank, version.source_blank, False),
    ]
    if any(not _same(a, b, default) for a, b, default in pairs):
        return -1
    length = min(len(original.target_ids), len(version.target_ids))
    differs = original.target_ids[:length] != version.target_ids[:length]
    for a, b, default in (
        (original.target_kept, version.target_kept, True),
        (original.target_blank, version.target_blank, False),
    ):
        if a is not None or b is not None:
            differs = differs | (_filled(a, default, length) != _filled(b, default, length))
    where = np.flatnonzero(differs)
    return int(where[0]) if len(where) else length


def _same(a: np.ndarray | None, b: np.ndarray | None, default: bool | None) -> bool:
    if a is None or b is None:
        present = a if b is None else b
        return present is None or (default is not None and bool((present == default).all()))
    return np.array_equal(a, b)


def _filled(values: np.ndarray | None, default: bool, length: int) -> np.ndarray:
    return np.full(length, default) if values is None else values[:length]


def content_of(text: EncodedText) -> tuple[bytes, ...]:
    """What makes two texts equal; every other entry is of the source, from the second on."""
    arrays = (
        text.target_ids,
        text.source_ids,
        text.target_kept,
        text.source_kept,
        text.target_blank,
        text.source_blank,
    )
    return tuple(b"" if a is None else a.tobytes() for a in arrays)
