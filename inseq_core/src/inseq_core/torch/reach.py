"""How far cotangents reach, for the nodes that a forward pass was recorded with.

The cotangent of step t is zero behind position t of its sequence, and stays so on its way down a causal decoder. Of the steps
that are sent down together, each is as long as the longest: of the rows that a weight matrix would be multiplied with, up to
half are zeros. A ``Route`` tells the nodes of a pass which rows those are. No node takes it on trust: it looks whether the rows
that it would leave out are zeros, and works on all where they are not.
Axes: C cotangents, B sequences, L positions, D a row's width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.data.batch import BoolArray, IntArray

CAN_UNPACK = hasattr(torch, "_remove_batch_dim") and hasattr(torch, "_add_batch_dim")
"""Whether this torch lets a node see the batch behind its gradient."""

_LEVEL = 1
"""Nesting of ``is_grads_batched``, the only batching that the engine uses."""


@attrs.frozen(eq=False)
class Rows:
    """Some of the C·B·L rows of cotangents: those that can be other than zero.

    Attributes:
        order: (C·B·L,) places of all rows, these first.
        count: N, how many these are.
        back: (C·B·L,) where each row is among these; N for one that is not.
        position: (N,) place of each of these rows' positions among B·L.
    """

    order: Tensor
    count: int
    back: Tensor
    position: Tensor

    @classmethod
    def where(cls, chosen: BoolArray) -> Rows:
        """The rows for which ``chosen`` (C, B·L) is true."""
        flat = chosen.reshape(-1)
        seen = np.flatnonzero(flat)
        order = np.concatenate([seen, np.flatnonzero(~flat)])
        back = np.where(flat, np.cumsum(flat) - 1, len(seen))
        arrays = (torch.from_numpy(a) for a in (order, back, seen % chosen.shape[1]))
        order_, back_, position = arrays
        return cls(order_, len(seen), back_, position)

    def of(self, flat: Tensor) -> Tensor | None:
        """(C·B·L, D) -> (N, D); None where a row that should be zero is not."""
        ordered = flat.index_select(0, self.order)
        return ordered[: self.count] if is_zero(ordered[self.count :]) else None

    def put_back(self, rows: Tensor) -> Tensor:
        """(N + 1, D), the last one zeros -> (C·B·L, D)."""
        return rows.index_select(0, self.back)


@attrs.frozen(eq=False)
class Reach:
    """Which rows of C cotangents over (B, L) positions can be other than zero.

    Attributes:
        shape: C, B, L.
        longest: positions that the longest of them reaches.
        ends: the last position of each: all there is above the last attention.
        seen: every position that each reaches; None where that is all there are.
    """

    shape: tuple[int, int, int]
    longest: int
    ends: Rows
    seen: Rows | None

    @classmethod
    def of(cls, lengths: IntArray, width: int) -> Reach:
        """Cotangent c of sequence b is zero from position ``lengths[c, b]`` on."""
        c, b = lengths.shape
        places = np.arange(width)
        ends = (places == lengths[:, :, None] - 1).reshape(c, b * width)
        seen = (places < lengths[:, :, None]).reshape(c, b * width)
        return cls(
            (c, b, width), int(lengths.max()), Rows.where(ends), None if seen.all() else Rows.where(seen)
        )

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether ``shape`` (C, B, L, D) or (C, B·L, D) can be that of these cotangents."""
        c, b, width = self.shape
        return tuple(shape[:-1]) in ((c, b, width), (c, b * width))


@attrs.frozen(eq=False)
class Lengths:
    """How many positions cotangents see.

    Attributes:
        values: (C, B): cotangent c of sequence b is zero from this position on.
        width: L.
    """

    values: IntArray
    width: int

    def __getitem__(self, chosen: slice) -> Lengths:
        """Those of some cotangents."""
        return Lengths(self.values[chosen], self.width)

    @property
    def reach(self) -> Reach:
        """The rows that they can be other than zero in."""
        return Reach.of(self.values, self.width)


def is_zero(x: Tensor) -> bool:
    """Whether all entries are zeros; NaN is none."""
    if x.numel() == 0:
        return True
    least, most = torch.aminmax(x)
    return bool(least == 0) and bool(most == 0)


@attrs.define(eq=False)
class Route:
    """Shared by the nodes of one pass: what is sent down it just now.

    Attributes:
        count: C, None where cotangents come one at a time.
        reach: how far they reach, where that is worth knowing.
        is_above: no node yet has seen more than each cotangent's last position.
    """

    count: int | None = None
    reach: Reach | None = None
    is_above: bool = False

    @contextmanager
    def sending(self, count: int | None, reach: Reach | None = None) -> Iterator[None]:
        """What is sent down inside the block."""
        self.count, self.reach, self.is_above = count, reach, True
        try:
            yield
        finally:
            self.count = self.reach = None

    def rows(self, flat: Tensor, shape: Sequence[int]) -> tuple[Tensor, Rows] | None:
        """The rows of cotangents of ``shape``, flat (C·B·L, D), that are worth working on, and which they are; None: all."""
        if self.reach is None or not self.reach.fits(shape):
            return None
        if self.is_above:
            found = self.reach.ends.of(flat)
            if found is not None:
                return found, self.reach.ends
            self.is_above = False
        found = None if self.reach.seen is None else self.reach.seen.of(flat)
        return None if found is None or self.reach.seen is None else (found, self.reach.seen)

    def unpacked(self, gradient: Tensor) -> Tensor:
        """(C, …) cotangents behind one gradient that a node is given."""
        if self.count is None:
            return gradient[None]
        every: Tensor = torch._remove_batch_dim(gradient, _LEVEL, self.count, 0)
        return every

    def packed(self, every: Tensor) -> Tensor:
        """What a node gives back for (C, …)."""
        if self.count is None:
            return every[0]
        gradient: Tensor = torch._add_batch_dim(every, 0, _LEVEL)
        return gradient
