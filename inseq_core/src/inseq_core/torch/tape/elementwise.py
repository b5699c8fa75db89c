"""Which tensors are elementwise functions of which.

Activations written out in Python (GPT-2's GELU is eight functions) and gated products of two of them stand between two products
with weight matrices. While a pass is on the tape, every result of an elementwise function remembers the tensors that it is
entry by entry a function of, so that whoever needs its derivative with respect to them asks autograd once, for all cotangents.
Axes: any; all tensors of a chain have one shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_core.torch.tape.marks import CHAIN, ROWS, Chain, RowsOf, bases_of, is_base, rows_of, versions

MOST_BASES = 2

UNARY_NAMES = (
    "tanh", "sigmoid", "exp", "exp2", "expm1", "erf", "rsqrt", "sqrt", "reciprocal", "square", "log", "clone",
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


def recorded(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of an elementwise function, which remembers its bases: values and parts of them."""
    result = func(*args, **kwargs)
    if not isinstance(result, Tensor) or not result.requires_grad or not result.is_floating_point():
        return result
    bases: dict[int, Tensor] = {}
    shape, dtype = result.shape, result.dtype
    for x in (*args, *kwargs.values()):
        if not isinstance(x, Tensor):
            continue
        if x is result:
            return result  # in place
        if x.requires_grad:
            if x.shape != shape or x.dtype != dtype:
                return result
            for base in bases_of(x):
                bases[id(base)] = base
    found = tuple(bases.values())
    if len(found) == 1 and shape[-1:] == (1,):
        known = rows_of(found[0])
        if known is not None:
            setattr(result, ROWS, RowsOf(known.base, (result._version, known.base._version)))
            return result
    if len(found) <= MOST_BASES and all(map(is_base, found)):
        setattr(result, CHAIN, Chain(found, versions(result, found)))
    return result
