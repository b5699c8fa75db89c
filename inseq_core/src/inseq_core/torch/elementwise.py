"""Which tensors are elementwise functions of which.

Activations written out in Python (GPT-2's GELU is eight functions) and gated products of two of them stand between two products
with weight matrices. While a forward pass is recorded, every result of an elementwise function remembers the tensors that it is
entry by entry a function of, so that whoever needs its derivative with respect to them asks autograd once, for all cotangents.
Nothing about the graph changes.
Axes: any; all tensors of a chain have one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

CHAIN = "_inseq_chain"
MOST_BASES = 2

UNARY_NAMES = (
    "tanh", "sigmoid", "exp", "exp2", "expm1", "erf", "rsqrt", "sqrt", "reciprocal", "square", "log",
    "log1p", "log2", "abs", "relu", "cos", "sin", "neg", "negative", "clamp", "clamp_min", "clamp_max", "clip", "pow",
)  # fmt: skip
ACTIVATION_NAMES = (
    "gelu", "silu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "mish", "hardswish",
    "hardtanh", "hardsigmoid", "logsigmoid", "softsign", "tanh", "sigmoid",
)  # fmt: skip
BINARY_NAMES = (
    "mul", "multiply", "add", "sub", "subtract", "div", "true_divide", "__mul__", "__rmul__", "__add__", "__radd__",
    "__sub__", "__rsub__", "__truediv__", "__pow__", "__neg__",
)  # fmt: skip


def elementwise_functions() -> frozenset[Any]:
    """Functions whose every entry depends on the same entry of tensors of one shape."""
    names = (*UNARY_NAMES, *BINARY_NAMES)
    found = [getattr(owner, n) for n in names for owner in (torch, Tensor) if hasattr(owner, n)]
    return frozenset([*found, *(getattr(F, n) for n in ACTIVATION_NAMES)])


FUNCTIONS = elementwise_functions()


@attrs.frozen(eq=False)
class Chain:
    """What a tensor is an elementwise function of.

    Attributes:
        bases: the tensors, all of its shape.
        versions: in-place versions of the result and of each base when this was true.
    """

    bases: tuple[Tensor, ...]
    versions: tuple[int, ...]


def recorded(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_base: Callable[[Tensor], bool]
) -> Any:
    """The result of an elementwise function, which remembers its bases: tensors that ``is_base`` takes."""
    result = func(*args, **kwargs)
    if not isinstance(result, Tensor) or not result.requires_grad or not result.is_floating_point():
        return result
    bases: dict[int, Tensor] = {}
    for x in (*args, *kwargs.values()):
        if not isinstance(x, Tensor):
            continue
        if x is result:
            return result  # in place
        if x.requires_grad:
            if x.shape != result.shape or x.dtype != result.dtype:
                return result
            bases.update((id(base), base) for base in bases_of(x))
    found = tuple(bases.values())
    if len(found) <= MOST_BASES and all(map(is_base, found)):
        setattr(result, CHAIN, Chain(found, _versions(result, found)))
    return result


def bases_of(x: Tensor) -> tuple[Tensor, ...]:
    """What ``x`` is an elementwise function of; itself, where nothing else is known or something changed in place since."""
    found: Chain | None = getattr(x, CHAIN, None)
    return (x,) if found is None or found.versions != _versions(x, found.bases) else found.bases


def derivatives(x: Tensor, bases: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Derivative of every entry of ``x`` with respect to the same entry of each base."""
    return torch.autograd.grad(x, bases, torch.ones_like(x), retain_graph=True)


def _versions(x: Tensor, bases: tuple[Tensor, ...]) -> tuple[int, ...]:
    return (x._version, *(base._version for base in bases))
