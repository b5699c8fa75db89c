"""One batch of cotangents on its way back along a tape.

Axes: C cotangents, P positions, F a row's width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import attrs
from torch import Tensor

from inseq_core.torch.tape.rows import Cotangent, Reach, is_zero
from inseq_core.torch.tape.values import Value


class Node(Protocol):
    """How a value was made."""

    @property
    def value(self) -> Value: ...

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        """Add the value's cotangents, carried through the node, to those of what it was made from."""
        ...


@attrs.define(eq=False)
class Sending:
    """The cotangents that have arrived at values so far.

    Attributes:
        count: C.
        reach: how far those of target positions reach; None where every row is sent.
    """

    count: int
    reach: Reach | None = None
    _arrived: dict[Value, Cotangent] = attrs.field(factory=dict, init=False)
    _is_above: bool = attrs.field(default=True, init=False)
    """No more than where the cotangents begin has been met yet: attention takes them further."""

    def down(self, nodes: Iterable[Node]) -> None:
        """Through nodes in the reverse of the order in which they were made."""
        for node in nodes:
            cotangent = self._arrived.pop(node.value, None)
            if cotangent is not None:
                node.send(self, cotangent)

    def take(self, value: Value) -> Tensor | None:
        """(C, *shape) cotangents of a value; None where none arrived."""
        found = self._arrived.pop(value, None)
        return None if found is None else found.all_rows().view(self.count, *value.shape)

    def add(self, value: Value, cotangent: Cotangent) -> None:
        """Cotangents of a value's rows, added to those that arrived before."""
        before = self._arrived.get(value)
        if before is None:
            self._arrived[value] = cotangent
            return
        more, less = self._by_size(before, cotangent)
        if more.which is less.which:
            if not more.is_own and less.is_own:
                more, less = less, more
            rows = more.rows.add_(less.rows) if more.is_own else more.rows + less.rows
            self._arrived[value] = Cotangent(rows, more.which)
            return
        more.own().index_add_(0, self._places(less, more), _present(less))
        self._arrived[value] = more

    def add_product(self, value: Value, cotangent: Cotangent, matrix: Tensor) -> None:
        """``rows @ matrix``, added to what arrived before at a value."""
        before = self._arrived.get(value)
        if before is not None and before.is_own and before.which is cotangent.which:
            before.rows.addmm_(cotangent.rows, matrix)
        else:
            self.add(value, Cotangent(cotangent.rows @ matrix, cotangent.which))

    def room(self, value: Value, cotangent: Cotangent) -> tuple[Tensor, Cotangent]:
        """Where to add cotangents of a part of each of a value's rows, and these as the same rows."""
        before = self._arrived.get(value)
        if before is None:
            before = Cotangent(cotangent.rows.new_zeros(len(cotangent.rows), value.width), cotangent.which)
            self._arrived[value] = before
        if before.which is not cotangent.which:
            more, less = self._by_size(before, cotangent)
            lifted = more.rows.new_zeros(len(more.rows), less.rows.shape[1])
            lifted.index_copy_(0, self._places(less, more), _present(less))
            less.rows, less.which, less.is_own = lifted, more.which, True
        return before.own(), cotangent

    def shortened(self, every: Tensor, side: str | None) -> Cotangent:
        """(C·P, F) as those of its rows that can be other than zero, where the others are looked at and are zeros indeed.

        These may be numbers that others hold as well.
        """
        # to look makes a GPU wait, which has little use for fewer rows
        if self.reach is None or side != "target" or len(every) != math.prod(self.reach.shape):
            return Cotangent(every, None, is_own=False)
        if every.device.type == "cpu":
            if self._is_above and is_zero(every.index_select(0, self.reach.top.others)):
                return Cotangent(self.reach.top.pick(every), self.reach.top)
            self._is_above = False
            seen = self.reach.seen
            if seen is not None and is_zero(every.index_select(0, seen.others)):
                return Cotangent(seen.pick(every), seen)
        return Cotangent(every, None, is_own=False)

    def _by_size(self, a: Cotangent, b: Cotangent) -> tuple[Cotangent, Cotangent]:
        """The one with more rows first."""
        if a.which is b.which or a.which is None:
            return a, b
        if b.which is None:
            return b, a
        return (a, b) if self.reach is not None and a.which is self.reach.seen else (b, a)

    def _places(self, less: Cotangent, more: Cotangent) -> Tensor:
        """Where the rows of one are among those of the other."""
        if less.which is None or self.reach is None:
            raise ValueError("all rows are no part of fewer")
        return less.which.places if more.which is None else self.reach.top_in_seen


def _present(cotangent: Cotangent) -> Tensor:
    """The rows without the last one."""
    return cotangent.rows[:-1]
