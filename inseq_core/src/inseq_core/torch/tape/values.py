"""Values at which the graph of a forward pass is cut, and what the tensors between them are in terms of them.

A ``Value`` is a leaf: autograd records what the model does with it up to the next cut, and no further. An ``Operand`` is what
a node of the tape consumes: a value itself, a slice of its rows, an elementwise function of values, or whatever
autograd recorded.
Axes: C cotangents, P positions of all sequences, F a row's width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import torch
from torch import Tensor

from inseq_core.torch.tape.marks import bases_of, derivatives
from inseq_core.torch.tape.rows import Cotangent

if TYPE_CHECKING:
    from inseq_core.torch.tape.sending import Node, Sending

VALUE = "_inseq_value"
OPERAND = "_inseq_operand"


@attrs.frozen(eq=False)
class Value:
    """A leaf of the graph between two cuts.

    Attributes:
        shape: of its tensor, which lies in memory row by row.
        width: F; all axes but the last few, which make up a row, count positions.
        side: "target" or "source", whose positions its rows are; None where that is not known.
        version: in-place version of its tensor.
    """

    shape: tuple[int, ...]
    width: int
    side: str | None
    version: int

    @property
    def positions(self) -> int:
        """P."""
        return math.prod(self.shape) // self.width


def cut(tensor: Tensor, side: str | None, width: int | None = None) -> tuple[Tensor, Value]:
    """The tensor (without a graph) as a leaf, and the value that it is."""
    # detached: it may be a view of something without a graph, whose views would not be known as its own
    leaf = tensor.contiguous().detach().requires_grad_()
    return leaf, begin(leaf, side, width)


def begin(leaf: Tensor, side: str | None, width: int | None = None) -> Value:
    """A leaf becomes a value."""
    row = width or (leaf.shape[-1] if leaf.dim() else 1)
    value = Value(tuple(leaf.shape), row, side, leaf._version)
    setattr(leaf, VALUE, value)
    return value


def value_of(leaf: Tensor) -> Value:
    """The value that a leaf is; one that came from outside becomes one, of positions that are not known."""
    found: Value | None = getattr(leaf, VALUE, None)
    return begin(leaf, None) if found is None else found


class Operand(Protocol):
    """What a node consumes."""

    @property
    def side(self) -> str | None: ...

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        """Add cotangents of the operand's rows to those of the values behind it."""
        ...


@attrs.frozen(eq=False)
class Direct:
    """A value itself, in whatever shape its rows are shown."""

    value: Value

    @property
    def side(self) -> str | None:
        return self.value.side

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        to.add(self.value, cotangent)


@attrs.frozen(eq=False)
class Part:
    """A slice of each row of a value: queries, keys and values out of one product, one half of a gated product.

    Attributes:
        sizes, strides, offset: where in a row its numbers are.
    """

    value: Value
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def side(self) -> str | None:
        return self.value.side

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        room, cotangent = to.room(self.value, cotangent)
        rows = cotangent.rows
        place = room.as_strided(
            (len(rows), *self.sizes), (self.value.width, *self.strides), room.storage_offset() + self.offset
        )
        place.add_(rows.view(len(rows), *self.sizes))


@attrs.frozen(eq=False)
class Elementwise:
    """A function, entry by entry, of one or two operands of the same shape.

    Attributes:
        bases: each with the derivative (P, F) with respect to it; None for one.
    """

    bases: tuple[tuple[Direct | Part, Tensor | None], ...]

    @property
    def side(self) -> str | None:
        return self.bases[0][0].side

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        last = len(self.bases) - 1
        for k, (base, factor) in enumerate(self.bases):
            if factor is not None:
                base.send(to, cotangent.times(factor, reuse=k == last))
            else:
                cotangent.is_own = cotangent.is_own and last == 0
                base.send(to, Cotangent(cotangent.rows, cotangent.which, cotangent.is_own))


@attrs.frozen(eq=False)
class Recorded:
    """Whatever autograd recorded between some values and a tensor.

    Attributes:
        tensor: on the graph of ``leaves``.
        heads: its axes are (B, H, L, d), its rows (B·L, H·d); else rows are along its last axis.
    """

    tensor: Tensor
    leaves: tuple[Tensor, ...]
    heads: bool = False

    @property
    def side(self) -> str | None:
        sides = {value_of(leaf).side for leaf in self.leaves}
        return sides.pop() if len(sides) == 1 else None

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        shape = self.tensor.shape
        every = cotangent.all_rows()
        if self.heads:
            b, h, length, d = shape
            self.send_whole(to, every.view(-1, b, length, h, d).transpose(2, 3))
        else:
            self.send_whole(to, every.view(-1, *shape))

    def send_whole(self, to: Sending, every: Tensor) -> None:
        """The same for cotangents (C, *shape)."""
        found = torch.autograd.grad(
            self.tensor, self.leaves, every, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
        for leaf, gradient in zip(self.leaves, found, strict=True):
            if gradient is not None:
                value = value_of(leaf)
                rows = gradient.reshape(-1, value.width).contiguous()
                to.add(value, to.shortened(rows, value.side))


def leaves_of(x: Tensor) -> tuple[Tensor, ...]:
    """The leaves of a tensor's graph."""
    if x.grad_fn is None:
        return (x,)
    found: dict[int, Tensor] = {}
    waiting: list[Any] = [x.grad_fn]
    met = set(waiting)
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        for parent, _ in node.next_functions:
            if parent is not None and parent not in met:
                met.add(parent)
                waiting.append(parent)
    return tuple(found.values())


@attrs.frozen(eq=False)
class Segment:
    """A node: the value is an operand, for several nodes to consume."""

    value: Value
    operand: Operand

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        self.operand.send(to, cotangent)


Keep = Callable[["Node"], None]
"""Takes a node into the tape."""


def rows_operand(x: Tensor, keep: Keep) -> Operand:
    """What a tensor (…, F) is whose last axis makes up a row; remembered, because several nodes may consume it."""
    known: tuple[int, Operand] | None = getattr(x, OPERAND, None)
    if known is not None and known[0] == x._version:
        return known[1]
    found = _rows_operand(x)
    if isinstance(found, (Elementwise, Recorded)):  # its cotangents are added up, and sent on once
        value = Value(tuple(x.shape), x.shape[-1], found.side, x._version)
        keep(Segment(value, found))
        found = Direct(value)
    setattr(x, OPERAND, (x._version, found))
    return found


def _rows_operand(x: Tensor) -> Operand:
    part = part_of(x, x.shape[:-1], x.shape[-1:])
    if part is not None:
        return part
    shown = _unviewed(x)
    bases = bases_of(shown)
    if bases[0] is not shown:
        found = [part_of(base, base.shape[:-1], base.shape[-1:]) for base in bases]
        parts = [part for part in found if part is not None]
        if len(parts) == len(bases):
            width = x.shape[-1]
            factors = [None if (f == 1).all() else f.reshape(-1, width) for f in derivatives(shown, bases)]
            return Elementwise(tuple(zip(parts, factors, strict=True)))
    return Recorded(x, leaves_of(x))


def heads_operand(x: Tensor, keep: Keep) -> Operand:
    """What a tensor (B, H, L, d) is whose rows are (H, d)."""
    b, h, length, d = x.shape
    turned = x.transpose(1, 2)
    part = part_of(turned, (b, length), (h, d))
    root = x._base
    if part is None and root is not None and root.is_contiguous() and bases_of(root)[0] is not root:
        operand = rows_operand(root, keep)  # a function of a value, such as queries that are scaled
        if isinstance(operand, Direct):
            part = _part(turned, root, operand.value, (b, length), (h, d))
    return part if part is not None else Recorded(x, leaves_of(x), heads=True)


def part_of(x: Tensor, lead: tuple[int, ...], row: tuple[int, ...]) -> Direct | Part | None:
    """The value, or part of it, that x shows: a view of a leaf whose axes ``lead`` count the leaf's rows."""
    if x.grad_fn is None:  # a leaf as it is, the most frequent case
        known: Value | None = getattr(x, VALUE, None)
        if known is not None and known.version == x._version and math.prod(row) == known.width:
            return Direct(known)
    leaf = x if x.grad_fn is None else x._base
    if leaf is None or leaf.grad_fn is not None or not leaf.requires_grad or not leaf.is_contiguous():
        return None
    return _part(x, leaf, value_of(leaf), lead, row)


def _part(
    x: Tensor, root: Tensor, value: Value, lead: tuple[int, ...], row: tuple[int, ...]
) -> Direct | Part | None:
    """The part that x shows of ``root``, which is the value."""
    if root._version != value.version or math.prod(lead) != value.positions or x.numel() == 0:
        return None
    n, strides = len(lead), x.stride()
    step = value.width
    for size, stride in zip(reversed(lead), reversed(strides[:n]), strict=True):
        if size != 1 and stride != step:
            return None
        step *= size
    offset = int(x.storage_offset() - root.storage_offset())
    if offset == 0 and math.prod(row) == value.width and _is_dense(row, strides[n:]):
        return Direct(value)
    end = offset + sum((size - 1) * stride for size, stride in zip(row, strides[n:], strict=True))
    if (
        offset < 0
        or end >= value.width
        or any(s == 0 and m > 1 for s, m in zip(strides[n:], row, strict=True))
    ):
        return None
    return Part(value, tuple(row), tuple(strides[n:]), offset)


def _is_dense(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _unviewed(x: Tensor) -> Tensor:
    """The tensor whose rows x shows in another shape."""
    base = x._base
    if base is None or base.numel() != x.numel() or base.dim() == 0 or base.shape[-1] != x.shape[-1]:
        return x
    return base if x.is_contiguous() and base.is_contiguous() else x
