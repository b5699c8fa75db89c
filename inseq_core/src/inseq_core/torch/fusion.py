"""Elementwise chains as one node of the graph.

Activations written out in Python (GPT-2's GELU is eight functions) would send every cotangent through each of
those functions: half of the backward time of a small model. While a forward pass is recorded under this mode,
    a chain of elementwise functions
of one tensor is collapsed: each result is attached to the chain's first tensor by its derivative with respect
    to it, computed
once, so that a backward pass multiplies once. Values do not change, and every result always has its graph:
what nobody uses further is never visited.
Axes: any; all tensors of a chain have one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_core.torch.as_found import FunctionMode

CHAIN = "_inseq_chain"

UNARY_NAMES = (
    "tanh", "sigmoid", "exp", "exp2", "expm1", "erf", "rsqrt", "sqrt", "reciprocal", "square", "log",
    "log1p", "log2", "abs", "relu", "cos", "sin", "neg", "negative",
)  # fmt: skip
ACTIVATION_NAMES = (
    "gelu", "silu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "mish", "hardswish",
    "hardtanh", "hardsigmoid", "logsigmoid", "softsign", "tanh", "sigmoid",
)  # fmt: skip
CLAMP_NAMES = ("clamp", "clamp_min", "clamp_max", "clip")


def elementwise_functions() -> frozenset[Any]:
    """Functions of one tensor and constants, entry by entry."""
    found = [
        getattr(owner, n)
        for n in (*UNARY_NAMES, *CLAMP_NAMES)
        for owner in (torch, Tensor)
        if hasattr(owner, n)
    ]
    found += [getattr(F, n) for n in ACTIVATION_NAMES]
    return frozenset([*found, torch.pow, Tensor.pow, Tensor.__pow__, Tensor.__neg__])


ELEMENTWISE = elementwise_functions()

PRODUCTS = frozenset(
    {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
)
SUMS = frozenset({torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__})
DIFFERENCES = frozenset({torch.sub, torch.subtract, Tensor.sub, Tensor.subtract, Tensor.__sub__})
QUOTIENTS = frozenset({torch.div, torch.true_divide, Tensor.div, Tensor.true_divide, Tensor.__truediv__})
REVERSED = frozenset({Tensor.__rsub__})
BINARY = PRODUCTS | SUMS | DIFFERENCES | QUOTIENTS | REVERSED


@attrs.frozen(eq=False)
class Chain:
    """What a tensor is an elementwise function of, and its derivative with respect to it.

    Attributes:
        base: the tensor that the chain starts at.
        slope: derivative, one number an entry, or one for all.
        versions: in-place versions of the result and of the base when this was true.
    """

    base: Tensor
    slope: Tensor | float
    versions: tuple[int, int] = (0, 0)


class _Attached(torch.autograd.Function):
    """A value whose derivative with respect to ``base`` is a given factor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, base: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (slope,) = ctx.saved_tensors
        return None, gradients[0] * slope, None


class FusedElementwise(FunctionMode):
    """Collapses elementwise chains while a forward pass is recorded."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """``func``, as part of a chain where it is one."""
        kwargs = dict(kwargs or {})
        if torch.is_grad_enabled():
            fused = None
            if func in ELEMENTWISE and _is_unary(args, kwargs):
                fused = _unary(func, args, kwargs)
            elif func in BINARY and len(args) == 2 and not kwargs:
                fused = (
                    _with_number(func, *args)
                    if _is_number(args[0]) or _is_number(args[1])
                    else _binary(func, *args)
                )
            if fused is not None:
                return fused
        return func(*args, **kwargs)


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad and x.is_floating_point() and x.dim() > 0


def _is_unary(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """One differentiable tensor first, constants after it, nothing written to a given place."""
    if not args or not _differentiable(args[0]) or kwargs.get("out") is not None:
        return False
    return not any(isinstance(x, Tensor) for x in (*args[1:], *kwargs.values()))


def _chain_of(x: Tensor) -> Chain:
    """The chain that ``x`` is the end of; a chain of its own where it is none, or has been changed in place
    since.
    """
    found: Chain | None = getattr(x, CHAIN, None)
    if found is None or found.versions != (x._version, found.base._version):
        return Chain(x, 1.0)
    return found


def _unary(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    x = args[0]
    own = {k: v for k, v in kwargs.items() if k != "inplace"}
    rest = (False, *args[2:]) if func in _INPLACE_SECOND and len(args) > 1 else args[1:]
    at = x.detach().requires_grad_()
    value = func(at, *rest, **own)
    if value.shape != x.shape or value.dtype != x.dtype:
        return None
    (slope,) = torch.autograd.grad(value.sum(), at)
    chain = _chain_of(x)
    return _attached(value.detach(), chain.base, slope * chain.slope)


_INPLACE_SECOND = frozenset({F.relu, F.silu, F.relu6, F.mish, F.hardswish, F.hardsigmoid})
"""Functions whose second argument says whether they write in place."""


def _with_number(func: Any, a: Any, b: Any) -> Tensor | None:
    """A sum, difference, product or quotient of a tensor and a number keeps its own node; the chain goes on
    through it.
    """
    x = a if isinstance(a, Tensor) else b
    if not _differentiable(x) or (func in QUOTIENTS and x is b):
        return None
    result: Tensor = func(a, b)
    factor: float = 1.0
    if func in PRODUCTS:
        factor = a if x is b else b
    elif func in QUOTIENTS:
        factor = 1.0 / b if b else float("nan")
    elif func in DIFFERENCES and x is b:
        factor = -1.0
    elif func in REVERSED:
        factor = -1.0
    if result.dtype == x.dtype:
        chain = _chain_of(x)
        _record(result, chain.base, chain.slope * factor)
    return result


def _binary(func: Any, a: Any, b: Any) -> Tensor | None:
    """A sum, difference or product of two results of one chain."""
    if not (_differentiable(a) and _differentiable(b)) or a.shape != b.shape or a.dtype != b.dtype:
        return None
    one, two = _chain_of(a), _chain_of(b)
    if one.base is not two.base or func in QUOTIENTS or func in REVERSED:
        return None
    with torch.no_grad():
        if func in PRODUCTS:
            slope = one.slope * b + two.slope * a
        else:
            slope = one.slope - two.slope if func in DIFFERENCES else one.slope + two.slope
        if not isinstance(slope, Tensor):
            return None
        return _attached(func(a, b), one.base, slope)


def _attached(value: Tensor, base: Tensor, slope: Tensor) -> Tensor:
    with torch.enable_grad():
        result: Tensor = _Attached.apply(value, base, slope)
    _record(result, base, slope)
    return result


def _record(result: Tensor, base: Tensor, slope: Tensor | float) -> None:
    setattr(result, CHAIN, Chain(base, slope, (result._version, base._version)))
