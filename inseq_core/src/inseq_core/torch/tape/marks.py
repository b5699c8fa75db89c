"""What tensors remember of the functions that made them, while a pass is on a tape.

An elementwise function of values, one number for each row of a value, the turned halves of a value, its heads repeated:
whoever consumes such a tensor can look past autograd's graph. A note holds only as long as nothing it is about is changed in
place.
Axes: any; D a row's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

CHAIN = "_inseq_chain"
ROWS = "_inseq_rows"
TURNED = "_inseq_turned"
REPEATED = "_inseq_repeated"

REPEATING = frozenset({Tensor.expand, Tensor.reshape, torch.reshape})
"""Functions that may repeat heads."""


@attrs.frozen(eq=False)
class Chain:
    """What a tensor is an elementwise function of.

    Attributes:
        bases: the tensors, all of its shape.
        versions: in-place versions of the result and of each base when this was true.
    """

    bases: tuple[Tensor, ...]
    versions: tuple[int, ...]


def bases_of(x: Tensor) -> tuple[Tensor, ...]:
    """What x is an elementwise function of; itself, where nothing else is known or something changed in place since."""
    found: Chain | None = getattr(x, CHAIN, None)
    return (x,) if found is None or found.versions != versions(x, found.bases) else found.bases


def versions(x: Tensor, bases: tuple[Tensor, ...]) -> tuple[int, ...]:
    """In-place versions."""
    return (x._version, *(base._version for base in bases))


@attrs.frozen(eq=False)
class RowsOf:
    """A tensor (…, 1) of one number for each row of another, a function of that row alone.

    Attributes:
        base: the other tensor (…, D).
        versions: in-place versions of both when this was true.
    """

    base: Tensor
    versions: tuple[int, int]


def rows_of(x: Tensor) -> RowsOf | None:
    """What x has one number for each row of, where that is known and nothing changed in place since."""
    found: RowsOf | None = getattr(x, ROWS, None)
    return None if found is None or found.versions != (x._version, found.base._version) else found


def repeated(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of an expansion or a change of shape, which remembers whose heads it repeats.

    (B, G, K, d) becomes (B, G, 1, K, d), then (B, G, n, K, d), then (B, G · n, K, d): what models do with keys and values that n
    queries share.
    """
    result = func(*args, **kwargs)
    x = args[0] if args else None
    if not (isinstance(x, Tensor) and x.requires_grad and x.dim() == 5):
        return result
    if result.dim() == 5:
        b, g, one, k, d = x.shape
        if one == 1 and result.shape == (b, g, result.shape[2], k, d):
            setattr(result, REPEATED, (x.squeeze(2), result._version))
        return result
    shared, version = getattr(x, REPEATED, (None, 0))
    if shared is not None and version == x._version and result.shape == _merged(x.shape):
        setattr(result, REPEATED, (shared, result._version))
    return result


def _merged(shape: Sequence[int]) -> tuple[int, ...]:
    b, g, n, k, d = shape
    return b, g * n, k, d


def shared_heads(x: Tensor) -> Tensor:
    """(B, G, K, d) whose heads x (B, H, K, d) repeats, each for as many neighbours; x itself where that is not known."""
    shared, version = getattr(x, REPEATED, (None, 0))
    return x if shared is None or version != x._version else shared


def is_base(x: Tensor) -> bool:
    """Whether x is a value or a view of one, or the turned halves of one."""
    if hasattr(x, TURNED):
        return True
    leaf = x if x.grad_fn is None else x._base
    return leaf is not None and leaf.grad_fn is None and leaf.requires_grad


def derivatives(x: Tensor, bases: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Derivative of every entry of x with respect to the same entry of each base."""
    return torch.autograd.grad(x, bases, torch.ones_like(x), retain_graph=True)
