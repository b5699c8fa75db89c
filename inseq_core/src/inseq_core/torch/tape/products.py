"""Products with frozen weight matrices, as nodes of a tape.

Axes: N rows, I, O inputs and outputs of a product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inseq_core.torch.tape.rows import Cotangent
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Direct, Keep, Operand, Value, cut, rows_operand


@attrs.frozen(eq=False)
class Product:
    """value = inputs · matrixᵀ + a constant.

    Attributes:
        matrix: (O, I).
    """

    value: Value
    inputs: Operand
    matrix: Tensor

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        if isinstance(self.inputs, Direct):
            to.add_product(self.inputs.value, cotangent, self.matrix)
        else:
            self.inputs.send(to, Cotangent(cotangent.rows @ self.matrix, cotangent.which))


def recorded(
    keep: Keep, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """The result of a product with a frozen matrix; None where it is none."""
    inputs, matrix, bias = _OPERANDS[func](args, kwargs)
    if not (_is_plain(inputs) and inputs.requires_grad and inputs.dim() > 1 and _is_constant(matrix)):
        return None
    if (bias is not None and not _is_constant(bias)) or matrix.dim() != 2 or matrix.dtype != inputs.dtype:
        return None
    with torch.no_grad():
        found = func(*args, **kwargs)
    if found.dtype != inputs.dtype:
        return None
    operand = rows_operand(inputs, keep)
    result, made = cut(found, operand.side)
    keep(Product(made, operand, matrix))
    return result


def _linear(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """``linear(input, weight, bias)``."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | dict(kwargs)
    return given.get("input"), given.get("weight"), given.get("bias")


def _matmul(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """``input @ matrix``."""
    if len(args) != 2 or kwargs or not isinstance(args[1], Tensor) or args[1].dim() != 2:
        return None, None, None
    return args[0], args[1].T, None


def _addmm(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """``addmm(bias, input, matrix)``."""
    if len(args) != 3 or kwargs or not isinstance(args[2], Tensor) or args[2].dim() != 2:
        return None, None, None
    return args[1], args[2].T, args[0]


def _is_plain(x: Any) -> bool:
    return type(x) in (Tensor, nn.Parameter) and x.is_floating_point()


def _is_constant(x: Any) -> bool:
    return _is_plain(x) and not x.requires_grad


_OPERANDS: Mapping[Any, Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[Any, Any, Any]]] = {
    F.linear: _linear,
    torch.addmm: _addmm,
    **dict.fromkeys((torch.mm, torch.matmul, Tensor.mm, Tensor.matmul, Tensor.__matmul__), _matmul),
}

FUNCTIONS = frozenset(_OPERANDS)
"""Functions that may be a product with a weight matrix."""
