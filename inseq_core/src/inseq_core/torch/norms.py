"""Layer normalisation as one node of the graph.

Its kernel takes all cotangents at once; autograd's batching calls it for one after the other.
Axes: C cotangents, B sequences, L positions, D normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_core.torch.reach import Route

FUNCTIONS = frozenset({F.layer_norm, torch.layer_norm})
_NAMES = ("input", "normalized_shape", "weight", "bias", "eps")


class _Node(torch.autograd.Function):
    """layer_norm(inputs) of frozen weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        shape: list[int],
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        route: Route,
    ) -> Tensor:
        output, mean, scale = torch.native_layer_norm(inputs, shape, weight, bias, eps)
        ctx.save_for_backward(inputs, mean, scale)
        ctx.shape, ctx.weight, ctx.bias, ctx.route = shape, weight, bias, route
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, mean, scale = ctx.saved_tensors
        every = ctx.route.unpacked(gradients[0])
        inputs, mean, scale = (x.expand(len(every), *x.shape).contiguous() for x in (inputs, mean, scale))
        found, _, _ = torch.ops.aten.native_layer_norm_backward(
            every.contiguous(), inputs, ctx.shape, mean, scale, ctx.weight, ctx.bias, [True, False, False]
        )
        return ctx.route.packed(found), None, None, None, None, None


def recorded(
    route: Route, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Layer normalisation with a node of its own; None where its weights are not frozen."""
    given = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    inputs, weight, bias = given["input"], given.get("weight"), given.get("bias")
    if not inputs.requires_grad or any(x is not None and x.requires_grad for x in (weight, bias)):
        return None
    if any(x is not None and x.dtype != inputs.dtype for x in (weight, bias)):
        return None
    shape, eps = list(given["normalized_shape"]), given.get("eps", 1e-5)
    result: Tensor = _Node.apply(inputs, shape, weight, bias, eps, route)
    return result
