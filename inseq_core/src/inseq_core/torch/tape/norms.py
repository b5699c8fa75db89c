"""Layer normalisation, as a node of a tape.

Axes: N rows, D normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_core.torch.tape.rows import Cotangent
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Keep, Operand, Value, cut, rows_operand

FUNCTIONS = frozenset({F.layer_norm, torch.layer_norm})
_NAMES = ("input", "normalized_shape", "weight", "bias", "eps")


@attrs.frozen(eq=False)
class Norm:
    """value = layer_norm(inputs) of a frozen weight.

    Attributes:
        x, mean, scale: (P, D), (P, 1) and (P, 1) of the forward pass.
    """

    value: Value
    inputs: Operand
    x: Tensor
    mean: Tensor
    scale: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        rows, which = cotangent.rows, cotangent.which
        at = [self.x, self.mean, self.scale]
        if which is not None:
            at = [which.of(values) for values in at]
        else:
            at = [values.repeat(len(rows) // len(values), 1) for values in at]
        found, _, _ = torch.ops.aten.native_layer_norm_backward(
            rows, at[0], list(rows.shape[1:]), at[1], at[2], self.weight, self.bias, [True, False, False]
        )
        self.inputs.send(to, Cotangent(found, which))


def recorded(
    keep: Keep, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Layer normalisation of rows; None where its weights are not frozen."""
    given = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    inputs, weight, bias = given["input"], given.get("weight"), given.get("bias")
    if not inputs.requires_grad or any(x is not None and x.requires_grad for x in (weight, bias)):
        return None
    if any(x is not None and x.dtype != inputs.dtype for x in (weight, bias)):
        return None
    shape, eps = list(given["normalized_shape"]), given.get("eps", 1e-5)
    if len(shape) != 1 or inputs.dim() < 2:
        return None
    with torch.no_grad():
        found, mean, scale = torch.native_layer_norm(inputs, shape, weight, bias, eps)
    operand = rows_operand(inputs, keep)
    result, made = cut(found, operand.side)
    x = inputs.detach().reshape(-1, shape[0])
    keep(Norm(made, operand, x, mean.reshape(-1, 1), scale.reshape(-1, 1), weight, bias))
    return result
