"""Which rows of several cotangents are there at all.

The cotangent of step t begins at one position and is zero behind it on its way down a causal decoder. Of C cotangents over P
positions only the rows that can be other than zero are kept, and a last row of zeros, so that putting rows back is one
selection. Further down there are more of them: first the rows that scores were read from, then all that a step sees, then
all there are.
Axes: C cotangents, B sequences, L positions of each, P = B·L, N rows, D a row's width.
"""

from __future__ import annotations

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.data.batch import BoolArray, IntArray

Runs = tuple[tuple[int, int], ...]


@attrs.frozen(eq=False)
class RowSet:
    """Some of the C·P rows, cotangent by cotangent.

    Attributes:
        places: (N,) which of C·P they are. others: (C·P - N,) those that they are not.
        position: (N + 1,) which of P each belongs to; 0 for the row of zeros.
        back: (C·P,) where each place is among the rows; N for one that is not.
        runs: where they are runs of neighbours, the first position of each and its length; else None.
    """

    places: Tensor
    others: Tensor
    position: Tensor
    back: Tensor
    runs: Runs | None = None

    @classmethod
    def where(cls, chosen: BoolArray, device: torch.device, runs: Runs | None = None) -> RowSet:
        """The rows for which ``chosen`` (C, P) is true."""
        flat = chosen.reshape(-1)
        places = np.flatnonzero(flat)
        back = np.where(flat, np.cumsum(flat) - 1, len(places))
        return cls(
            places=torch.from_numpy(places).to(device),
            others=torch.from_numpy(np.flatnonzero(~flat)).to(device),
            position=torch.from_numpy(np.append(places % chosen.shape[1], 0)).to(device),
            back=torch.from_numpy(back).to(device),
            runs=runs,
        )

    def __len__(self) -> int:
        return len(self.places)

    def of(self, values: Tensor) -> Tensor:
        """(P, D) values of positions -> (N + 1, D), one for each row."""
        return values.index_select(0, self.position)

    def pick(self, every: Tensor) -> Tensor:
        """(C·P, D) -> (N + 1, D)."""
        found = every.new_empty(len(self) + 1, every.shape[1])
        torch.index_select(every, 0, self.places, out=found[:-1])
        found[-1] = 0
        return found


@attrs.frozen(eq=False)
class Reach:
    """How far C cotangents over (B, L) positions reach.

    Attributes:
        shape: C, B, L.
        longest: positions that the longest of them reaches.
        top: the rows that they begin at.
        seen: every position that each of them can reach; None where that is all there are.
        top_in_seen: (N,) where the rows of ``top`` are among those.
        is_one_each: every cotangent begins at one position of every sequence.
    """

    shape: tuple[int, int, int]
    longest: int
    top: RowSet
    seen: RowSet | None
    top_in_seen: Tensor
    is_one_each: bool

    @classmethod
    def of(
        cls,
        step: IntArray,
        sequence: IntArray,
        position: IntArray,
        shape: tuple[int, int, int],
        device: torch.device,
    ) -> Reach:
        """Cotangent ``step`` begins at ``position`` of ``sequence``, for each of some rows; it sees what stands before."""
        c, b, length = shape
        begins = np.zeros(shape, dtype=np.bool_)
        begins[step, sequence, position] = True
        lengths = np.zeros((c, b), dtype=np.int64)
        np.maximum.at(lengths, (step, sequence), position + 1)
        sees = np.arange(length) < lengths[:, :, None]
        top = RowSet.where(begins.reshape(c, b * length), device)
        one_each = bool((begins.sum(-1) == 1).all())
        if sees.all():
            return cls(shape, length, top, None, top.places, one_each)
        runs = tuple((i % b * length, int(n)) for i, n in enumerate(lengths.reshape(-1)))
        seen = RowSet.where(sees.reshape(c, b * length), device, runs)
        return cls(shape, int(lengths.max()), top, seen, seen.back[top.places], one_each)


@attrs.define(eq=False)
class Cotangent:
    """C cotangents of one value.

    Attributes:
        rows: (N + 1, D) of some rows, (C·P, D) of all.
        which: which they are; None for all.
        is_own: nobody else holds these numbers; they may be overwritten.
    """

    rows: Tensor
    which: RowSet | None
    is_own: bool = True

    def own(self) -> Tensor:
        """The rows, to be written to."""
        if not self.is_own:
            self.rows, self.is_own = self.rows.clone(), True
        return self.rows

    def all_rows(self) -> Tensor:
        """(C·P, D)."""
        return self.rows if self.which is None else self.rows.index_select(0, self.which.back)

    def times(self, factor: Tensor, *, reuse: bool) -> Cotangent:
        """Each row times what ``factor`` (P, D) has at its position.

        Args:
            reuse: these rows are not needed any more.
        """
        which, reuse = self.which, reuse and self.is_own
        if which is None:
            rows = self.rows.view(-1, *factor.shape)
            found = rows.mul_(factor) if reuse else rows * factor
            return Cotangent(found.view(self.rows.shape), None)
        if which.runs is None:
            factors = which.of(factor)
            return Cotangent(self.rows.mul_(factors) if reuse else factors.mul_(self.rows), which)
        found = self.rows if reuse else self.rows.clone()
        parts = found.split([n for _, n in which.runs] + [1])[:-1]
        torch._foreach_mul_(parts, [factor[first : first + n] for first, n in which.runs])
        return Cotangent(found, which)


def is_zero(x: Tensor) -> bool:
    """Whether all entries are zeros; NaN is none."""
    if x.numel() == 0:
        return True
    least, most = torch.aminmax(x)
    return bool(least == 0) and bool(most == 0)
