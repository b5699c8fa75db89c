"""Sums of two values, as nodes of a tape: residual connections.

A sum is cut off from what made its terms, so that what stands behind it does not depend on everything before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from inseq_core.torch.tape import rotary
from inseq_core.torch.tape.marks import bases_of, is_base
from inseq_core.torch.tape.rows import Cotangent
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Keep, Operand, Value, cut, part_of, rows_operand

FUNCTIONS = frozenset({torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__})


@attrs.frozen(eq=False)
class Sum:
    """value = one term + the other."""

    value: Value
    terms: tuple[Operand, Operand]

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        for term in self.terms:
            term.send(to, Cotangent(cotangent.rows, cotangent.which, is_own=False))


def recorded(
    keep: Keep, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """The sum of two tensors that both vary, each in its own way, and its node; None for other sums."""
    if len(args) != 2 or kwargs:
        return None
    a, b = args
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.requires_grad and b.requires_grad):
        return None
    if a.shape != b.shape or a.dtype != b.dtype or a.dim() < 2 or a is b:
        return None
    first, second = bases_of(a), bases_of(b)
    if all(any(x is y for y in first) for x in second):
        return None  # one function of what is in both, such as an activation
    turned = rotary.recorded(keep, a, b)
    if turned is not None:
        return turned
    if not (_is_value(a) or _is_value(b) or (_is_function(first) and _is_function(second))):
        return None  # in the middle of what autograd records as a whole
    with torch.no_grad():
        found = func(a, b)
    terms = rows_operand(a, keep), rows_operand(b, keep)
    sides = {term.side for term in terms}
    result, made = cut(found, sides.pop() if len(sides) == 1 else None)
    keep(Sum(made, terms))
    return result


def _is_value(x: Tensor) -> bool:
    return part_of(x, x.shape[:-1], x.shape[-1:]) is not None


def _is_function(bases: tuple[Tensor, ...]) -> bool:
    return all(map(is_base, bases))
