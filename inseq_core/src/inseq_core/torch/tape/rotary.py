"""Rotary positions, as nodes of a tape: x · cos + (−x₂, x₁) · sin, as models write them out.

The two halves of a head's numbers, x₁ and x₂, are turned by an angle that depends on the position alone. So a cotangent is
turned back row by row.
Axes: B sequences, H heads, L positions, d width of a head, N rows, P positions of all sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from inseq_core.torch.tape.marks import TURNED, bases_of, derivatives
from inseq_core.torch.tape.rows import Cotangent
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Direct, Keep, Part, Value, cut, part_of

JOINING = frozenset({torch.cat, torch.concat, torch.concatenate})
"""Functions that may put the two halves together."""


@attrs.frozen(eq=False)
class Rotary:
    """value (B, L, H, d) = x · cos + turned(x) · sin.

    Attributes:
        cos, sin: (P, H·d).
    """

    value: Value
    inputs: Direct | Part
    heads: int
    cos: Tensor
    sin: Tensor

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        by_turned = cotangent.times(self.sin, reuse=False).rows
        first, second = by_turned.view(len(by_turned), self.heads, 2, -1).unbind(2)
        found = cotangent.times(self.cos, reuse=True)
        halves = found.rows.view(len(by_turned), self.heads, 2, -1)
        halves[:, :, 0] += second
        halves[:, :, 1] -= first
        self.inputs.send(to, found)


def joined(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of a concatenation, which remembers of what it is the turned halves."""
    result = func(*args, **kwargs)
    if not (isinstance(result, Tensor) and result.requires_grad and args and isinstance(args[0], Sequence)):
        return result
    parts = args[0]
    if len(parts) == 2 and all(isinstance(p, Tensor) and p.requires_grad for p in parts):
        halves = (*bases_of(parts[0]), parts[1])
        if len(halves) == 2 and _are_halves(result, halves[1], halves[0]):
            (sign,) = derivatives(parts[0], halves[:1])
            if bool((sign == -1).all()):
                setattr(result, TURNED, (halves[1], result._version))
    return result


def _are_halves(whole: Tensor, first: Tensor, second: Tensor) -> bool:
    """Whether two views are of one leaf, and the one begins where the other ends, in a tensor shaped like ``whole``."""
    leaf = first._base
    if leaf is None or leaf is not second._base or leaf.grad_fn is not None:
        return False
    half = first.shape[-1]
    return (
        first.shape == second.shape == (*whole.shape[:-1], half)
        and whole.shape[-1] == 2 * half
        and first.stride() == second.stride()
        and first.stride(-1) == 1
        and second.storage_offset() - first.storage_offset() == half
    )


def recorded(keep: Keep, a: Tensor, b: Tensor) -> Tensor | None:
    """a + b, where one is (B, H, L, d) times cosines and the other its turned halves times sines; None for others."""
    if a.dim() != 4:
        return None
    for plain, other in ((bases_of(a), bases_of(b)), (bases_of(b), bases_of(a))):
        if len(plain) != 1 or len(other) != 1:
            continue
        x, turned = plain[0], other[0]
        first, version = getattr(turned, TURNED, (None, 0))
        if first is None or version != turned._version or not _begins(x, first):
            continue
        batch, heads, length, width = x.shape
        inputs = part_of(x.transpose(1, 2), (batch, length), (heads, width))
        if inputs is None:
            return None
        by_x, by_turned = (a, b) if x is bases_of(a)[0] else (b, a)
        cos, sin = (
            derivatives(y, (base,))[0].transpose(1, 2).reshape(-1, heads * width)
            for y, base in ((by_x, x), (by_turned, turned))
        )
        with torch.no_grad():
            found = (a + b).transpose(1, 2)
        result, made = cut(found, inputs.side, heads * width)
        keep(Rotary(made, inputs, heads, cos, sin))
        return result.transpose(1, 2)
    return None


def _begins(x: Tensor, first: Tensor) -> bool:
    """Whether the first half is that of x."""
    return (
        x._base is first._base
        and x.stride() == first.stride()
        and x.storage_offset() == first.storage_offset()
        and x.shape == (*first.shape[:-1], 2 * first.shape[-1])
    )
