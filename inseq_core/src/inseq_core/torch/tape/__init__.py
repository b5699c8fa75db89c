"""A forward pass kept on a tape, and the way back for many cotangents at once.

Autograd gives every function that a model calls a backward pass for one cotangent; several are a batch that it knows nothing
about. A few kinds of function make up nearly all of a transformer. While a pass runs inside ``Tape``, the graph is cut at
these: products with weight matrices (``products``), normalisation (``norms``, ``scalings``), attention (``attention``) and residual
sums (``sums``), each a node of the tape that takes many cotangents and only those of their rows that are there (``rows``). What the
model does between two cuts is recorded by autograd as ever, and differentiated by it (``values``, ``elementwise``). So a tape
needs no knowledge of any model, and what it does not know costs time, not correctness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inseq_core.torch.as_found import FunctionMode
from inseq_core.torch.tape import attention, elementwise, norms, products, rotary, scalings, sums
from inseq_core.torch.tape.marks import REPEATING, is_base, repeated
from inseq_core.torch.tape.rows import Cotangent, Reach
from inseq_core.torch.tape.sending import Node, Sending
from inseq_core.torch.tape.values import begin, rows_operand, value_of

_CUTS: Mapping[Any, Callable[..., Tensor | None]] = {
    function: kind.recorded
    for kind in (products, norms, scalings, attention, sums)
    for function in kind.FUNCTIONS
}
"""Functions whose results may be values with a node."""

_NOTED: Mapping[Any, Callable[..., Any]] = {
    **dict.fromkeys(elementwise.FUNCTIONS, elementwise.recorded),
    **dict.fromkeys(REPEATING, repeated),
    **dict.fromkeys(rotary.JOINING, rotary.joined),
    **dict.fromkeys(scalings.REDUCTIONS, scalings.reduced),
}
"""Functions whose results remember what they were made of."""

_IN_PLACE: Mapping[Any, Any] = {
    Tensor.add_: Tensor.add,
    Tensor.sub_: Tensor.sub,
    Tensor.mul_: Tensor.mul,
    Tensor.div_: Tensor.div,
}
"""``x += y``, where x is a value, which cannot be written to: x becomes another tensor. Whoever else held x would see the old
one; that nobody does is part of what is proved on each model before a tape is used.
"""

__all__ = ["Reach", "Tape"]


class Tape(FunctionMode):
    """The functions of one forward pass. Used for gradients of first order: nothing that comes back has a graph."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: list[Node] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """``func``, cut off from what was before it where it is of a kind that has nodes."""
        kwargs = kwargs or {}
        if func in _IN_PLACE and args[0].requires_grad and is_base(args[0]):
            func = _IN_PLACE[func]
        cut = _CUTS.get(func)
        if cut is not None and torch.is_grad_enabled():
            found = cut(self._nodes.append, func, args, kwargs)
            if found is not None:
                return found
        noted = _NOTED.get(func)
        return func(*args, **kwargs) if noted is None else noted(func, args, kwargs)

    def begin(self, leaf: Tensor, side: str | None) -> None:
        """The pass begins at a leaf whose rows are positions of a side."""
        begin(leaf, side)

    def vjps(
        self, output: Tensor, rows: Tensor, reach: Reach | None, count: int, leaves: Sequence[Tensor]
    ) -> list[Tensor]:
        """Products of C cotangents of ``output`` with the pass's Jacobian.

        Args:
            output: (…, D), a result of the pass.
            rows: (N + 1, D), those of ``reach.top`` and a row of zeros; (C·P, D) every row where there is no reach.
            count: C.
            leaves: what the pass began at.

        Returns:
            (C, *leaf.shape) for each leaf.
        """
        to = Sending(count, reach)
        with torch.no_grad():
            operand = rows_operand(output, self._nodes.append)
            operand.send(to, Cotangent(rows, None if reach is None else reach.top, is_own=False))
            to.down(reversed(self._nodes))
            found = [to.take(value_of(leaf)) for leaf in leaves]
        return [
            leaf.new_zeros(count, *leaf.shape) if gradient is None else gradient
            for leaf, gradient in zip(leaves, found, strict=True)
        ]
