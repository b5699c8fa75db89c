"""Rows times a number of their own, as nodes of a tape: normalisation by the root of the mean square, as models write it out.

What a row is scaled by, s = rsqrt(mean(x²) + ε), is a function of that row, so its derivative with respect to the row is a row:
autograd gives all of them at once.
Axes: N rows, P positions, D a row's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from inseq_core.torch.tape.marks import ROWS, RowsOf, bases_of, derivatives, is_base, rows_of
from inseq_core.torch.tape.rows import Cotangent
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Direct, Keep, Part, Value, cut, part_of

FUNCTIONS = frozenset(
    {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
)
"""Functions that may scale rows."""

REDUCTIONS = frozenset({torch.mean, Tensor.mean, torch.sum, Tensor.sum, torch.var, Tensor.var})
"""Functions that may make one number of each row."""


@attrs.frozen(eq=False)
class Scaling:
    """value = rows · s, where both are functions of the same rows x.

    Attributes:
        inputs: x.
        rows, s: (P, D), (P, 1).
        by_rows: (P, D) derivative of ``rows``, entry by entry; None for one. by_s: (P, D) derivative of s.
    """

    value: Value
    inputs: Direct | Part
    rows: Tensor
    s: Tensor
    by_rows: Tensor | None
    by_s: Tensor

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        along = cotangent.times(self.rows, reuse=False).rows.sum(-1, keepdim=True)
        found = cotangent.times(self.s.expand_as(self.rows), reuse=True)
        if self.by_rows is not None:
            found = found.times(self.by_rows, reuse=True)
        which = cotangent.which
        if which is None:
            by_s = self.by_s.expand(len(along) // len(self.by_s), *self.by_s.shape).reshape(found.rows.shape)
        else:
            by_s = which.of(self.by_s)
        found.rows.addcmul_(along, by_s)
        self.inputs.send(to, found)


def recorded(
    keep: Keep, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Rows times numbers that are functions of the same rows; None for other products."""
    if len(args) != 2 or kwargs or not all(isinstance(x, Tensor) and x.requires_grad for x in args):
        return None
    rows, s = args if args[1].shape[-1:] == (1,) else args[::-1]
    known = rows_of(s)
    if known is None or rows.shape[:-1] != s.shape[:-1] or rows.dtype != s.dtype or rows.shape[-1] == 1:
        return None
    bases = bases_of(rows)
    if len(bases) != 1 or bases[0] is not known.base:
        return None
    inputs = part_of(known.base, known.base.shape[:-1], known.base.shape[-1:])
    if inputs is None:
        return None
    width = rows.shape[-1]
    by_rows = None if rows is known.base else derivatives(rows, bases)[0].reshape(-1, width)
    by_s = derivatives(s, bases)[0].reshape(-1, width)
    with torch.no_grad():
        found = func(*args)
    result, made = cut(found, inputs.side)
    flat = rows.detach().reshape(-1, width)
    keep(Scaling(made, inputs, flat, s.detach().reshape(-1, 1), by_rows, by_s))
    return result


def reduced(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of a reduction, which remembers the rows that it is one number each of."""
    result = func(*args, **kwargs)
    x = args[0] if args else None
    if not (isinstance(x, Tensor) and isinstance(result, Tensor) and result.requires_grad and x.dim() > 1):
        return result
    if result.shape == (*x.shape[:-1], 1) and x.shape[-1] > 1 and result.dtype == x.dtype:
        bases = bases_of(x)
        if len(bases) == 1 and is_base(bases[0]):
            setattr(result, ROWS, RowsOf(bases[0], (result._version, bases[0]._version)))
    return result
