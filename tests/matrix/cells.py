"""What a cell of the matrix is: one method on one architecture, as a distance from its oracle.

The distance is the largest difference of a score, relative to the largest score that the oracle gives, over two
texts, once each alone and once together in a padded batch. Beyond its cell's bound it is a bug.
Axes: R rows, S source positions, L target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from support.contexts import PAIR, of_row

from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError
from inseq_core.torch import TorchContext

Expected = Callable[[TorchContext, int], Sequence[Any]]
"""A context and a row -> what an oracle says of the row: source first, in torch or numpy."""

BATCHES = (PAIR, PAIR[:1], PAIR[1:])
"""A padded batch, and each of its texts alone."""

REFUSED = "refused"


@attrs.frozen(kw_only=True)
class Cell:
    """One column of a table.

    Attributes:
        method: the registered name.
        detail: what of it is measured, where there are several columns of one method.
        measure: architecture -> distance from the oracle.
        bound: largest distance that rounding explains.
        applies: the architectures that have what is measured; all if empty.
        refused: architectures that the method must refuse.
        excused: architecture -> why its distance may be beyond the bound.
    """

    method: str
    detail: str = ""
    measure: Callable[[str], float]
    bound: float = 5e-6
    applies: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    excused: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def label(self) -> str:
        """Heading of the column."""
        return f"{self.method} ({self.detail})" if self.detail else self.method

    def on(self, name: str) -> Finding:
        """Measure it on one architecture."""
        if self.applies and name not in self.applies:
            return Finding(shown="–", is_right=True)
        try:
            distance = self.measure(name)
        except CapabilityError as error:
            return Finding(shown=REFUSED, is_right=name in self.refused, said=str(error))
        except Exception as error:  # one cell's crash must not hide the others
            return Finding(shown="error", is_right=False, said=repr(error))
        shown = "0" if distance == 0 else f"{distance:.0e}"
        if name in self.excused:
            return Finding(shown=f"{shown} ({self.excused[name]})", is_right=bool(np.isfinite(distance)))
        is_right = distance <= self.bound and name not in self.refused
        return Finding(shown=shown, is_right=is_right, said=f"beyond {self.bound:g}")


@attrs.frozen(kw_only=True)
class Finding:
    """What a cell shows.

    Attributes:
        shown: the cell's text.
        is_right: whether that is what the cell promises.
        said: what to say where it is not.
    """

    shown: str
    is_right: bool
    said: str = ""


def distance_of_rows(
    ctx: TorchContext, found: MethodOutput, expected: Expected, rows: Iterable[int]
) -> float:
    """Largest difference from an oracle over some rows, relative to the largest score that it gives there."""
    gap = top = 0.0
    for row in rows:
        for a, e in zip(of_row(ctx, found.source, found.target, row), expected(ctx, row), strict=True):
            e = e.detach().double().numpy() if isinstance(e, torch.Tensor) else np.asarray(e, dtype=float)
            gap = max(gap, float(np.abs(a - e).max(initial=0.0)))
            top = max(top, float(np.abs(e).max(initial=0.0)))
            if not np.isfinite(a).all():
                return float("inf")
    return gap / max(top, 1e-30)


def some_rows(ctx: TorchContext) -> list[int]:
    """The first and the last row of each text."""
    of_text = [ctx.grid.rows_of(b) for b in range(len(ctx.batch))]
    return sorted({int(rows[i]) for rows in of_text for i in (0, -1)})


def against_rows(
    method: Any,
    expected: Expected,
    context: Callable[..., TorchContext],
    rows: Callable[[TorchContext], Iterable[int]] = some_rows,
) -> Callable[[str], float]:
    """A cell's measure: a method on ``context(name, pairs)`` against an oracle of single rows."""

    def measure(name: str) -> float:
        worst = 0.0
        for pairs in BATCHES:
            ctx = context(name, pairs)
            worst = max(worst, distance_of_rows(ctx, method.attribute(ctx), expected, rows(ctx)))
        return worst

    return measure


def alone_and_padded(
    found: Callable[[TorchContext], MethodOutput], context: Callable[..., TorchContext]
) -> Callable[[str], float]:
    """A measure: what a padded batch gives each text against what it gives alone, for methods without a slow loop."""

    def measure(name: str) -> float:
        together = context(name, PAIR)
        output = found(together)
        worst = 0.0
        for b in range(len(PAIR)):
            alone = context(name, PAIR[b : b + 1])
            single, rows = found(alone), together.grid.rows_of(b)
            expected = [of_row(alone, single.source, single.target, row) for row in range(len(rows))]
            gap = distance_of_rows(together, output, lambda _, row, e=expected, r=rows: e[row - r[0]], rows)
            worst = max(worst, gap)
        return worst

    return measure
