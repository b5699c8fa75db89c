"""Embeddings of both sides, with arithmetic.

``InputTensors`` holds source (B, S, D) and target (B, L, D) embeddings of a batch, or, for gradients and
attributions, one entry a row: (R, S, D) and (R, L, D). Mixing the two gathers the batch's entry for each row,
    so that a method reads like its
formula: ``ctx.step_gradients(x) * (ctx.inputs - baseline)``.
Axes: B sequences, R rows, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor


@attrs.frozen(kw_only=True, eq=False)
class InputTensors:
    """A pair of tensors, either of which may be absent (a side that is not attributed).

    Attributes:
        source, target: tensors with the leading axis B or R.
        rows: (R,) sequence of each row of the context, for gathering; set by the context.
        by_row: whether the leading axis is R.
    """

    source: Tensor | None = None
    target: Tensor | None = None
    rows: Tensor | None = None
    by_row: bool = False

    def map(self, fn: Callable[[Tensor], Tensor]) -> InputTensors:
        """``fn`` on each side that is there."""
        return attrs.evolve(
            self,
            source=None if self.source is None else fn(self.source),
            target=None if self.target is None else fn(self.target),
        )

    def of_rows(self) -> InputTensors:
        """One entry a row: (B, …) gathered to (R, …)."""
        if self.by_row or self.rows is None:
            return self
        return attrs.evolve(self.map(lambda x: x[self.rows]), by_row=True)

    def of(self, *, by_row: bool) -> InputTensors:
        """The same tensors, read as one entry a row (or a sequence)."""
        return attrs.evolve(self, by_row=by_row)

    def sides(self) -> tuple[Tensor, ...]:
        """The tensors that are there, source first."""
        return tuple(x for x in (self.source, self.target) if x is not None)

    def with_sides(self, sides: tuple[Tensor, ...]) -> InputTensors:
        """The inverse of ``sides``: the same presence, other tensors."""
        remaining = iter(sides)
        return self.map(lambda _: next(remaining))

    def sum_hidden(self) -> InputTensors:
        """Summed over the last axis."""
        return self.map(lambda x: x.sum(-1))

    def _with(self, other: Any, op: Callable[[Any, Any], Any], swap: bool = False) -> InputTensors:
        if not isinstance(other, InputTensors):
            return self.map(lambda x: op(other, x) if swap else op(x, other))
        left, right = (self.of_rows(), other.of_rows()) if self.by_row != other.by_row else (self, other)
        return attrs.evolve(
            left,
            source=None if left.source is None or right.source is None else op(left.source, right.source),
            target=None if left.target is None or right.target is None else op(left.target, right.target),
        )

    def __add__(self, other: Any) -> InputTensors:
        return self._with(other, operator.add)

    def __radd__(self, other: Any) -> InputTensors:
        return self._with(other, operator.add, swap=True)

    def __sub__(self, other: Any) -> InputTensors:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> InputTensors:
        return self._with(other, operator.sub, swap=True)

    def __mul__(self, other: Any) -> InputTensors:
        return self._with(other, operator.mul)

    def __rmul__(self, other: Any) -> InputTensors:
        return self._with(other, operator.mul, swap=True)

    def __truediv__(self, other: Any) -> InputTensors:
        return self._with(other, operator.truediv)

    def __neg__(self) -> InputTensors:
        return self.map(operator.neg)

    def __abs__(self) -> InputTensors:
        return self.map(torch.abs)
