"""Products with weight matrices, and the elementwise functions between two of them, as one node of the graph.

While a forward pass is recorded, ``linear(x)`` with a frozen matrix gets a node whose backward pass multiplies the rows that a
step can see (``Reach``), not those that are zeros. Where x is itself elementwise in the products of another matrix, or the
product of two such (a feed-forward block, gated or not), the node goes back through all of it at once: rows are picked once
before it and put back once behind it.
Axes: C cotangents, P positions of all sequences (B·L), N rows, I, O inputs and outputs of a product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inseq_core.torch.elementwise import bases_of, derivatives
from inseq_core.torch.reach import Route

PRODUCT = "_inseq_product"
VIEWED = "_inseq_viewed"


@attrs.frozen(eq=False)
class Product:
    """What a tensor is the product of.

    Attributes:
        inputs: (…, I).
        matrix: (O, I).
        versions: in-place versions of the result and of the inputs when this was true.
    """

    inputs: Tensor
    matrix: Tensor
    versions: tuple[int, int]


@attrs.frozen(eq=False)
class Made:
    """A tensor handed to a node as its own result, not as an input that it would be a view of."""

    tensor: Tensor


@attrs.frozen(eq=False)
class Branch:
    """One way from a node's inputs to its matrix: a product, then a factor for each entry."""

    factor: Tensor
    matrix: Tensor


class _Node(torch.autograd.Function):
    """A value (…, O) of which ``matrix`` and ``branches`` say how it varies with ``inputs`` (…, I)."""

    @staticmethod
    def forward(
        ctx: Any, value: Made, inputs: Tensor, matrix: Tensor, branches: Sequence[Branch], route: Route
    ) -> Tensor:
        ctx.matrix, ctx.branches, ctx.route, ctx.shape = matrix, branches, route, inputs.shape
        return value.tensor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, None, None]:
        route: Route = ctx.route
        every = route.unpacked(gradients[0])
        flat = every.reshape(-1, every.shape[-1])
        chosen = route.rows(flat, every.shape)
        if chosen is None:
            found = _back(flat, ctx.matrix, ctx.branches, None)
        else:
            rows, which = chosen
            found = which.put_back(_back(rows, ctx.matrix, ctx.branches, which.position))
        return None, route.packed(found.view(every.shape[0], *ctx.shape)), None, None, None


def _back(rows: Tensor, matrix: Tensor, branches: Sequence[Branch], position: Tensor | None) -> Tensor:
    """(N, O) rows of cotangents -> (N + 1, I) with a last row of zeros, (N, I) where all rows are there.

    Args:
        position: (N,) of P positions; None for every position of every cotangent.
    """
    if not branches:
        return _padded(rows, matrix, position is not None)
    inner = rows @ matrix
    found = None
    for k, branch in enumerate(branches):
        part = _scaled(inner, branch.factor, position, reuse=k == len(branches) - 1)
        if found is None:
            found = _padded(part, branch.matrix, position is not None)
        else:
            (found[:-1] if position is not None else found).addmm_(part, branch.matrix)
    return found if found is not None else inner


def _padded(rows: Tensor, matrix: Tensor, pad: bool) -> Tensor:
    if not pad:
        return rows @ matrix
    found = rows.new_empty(len(rows) + 1, matrix.shape[1])
    torch.mm(rows, matrix, out=found[:-1])
    found[-1] = 0
    return found


def _scaled(rows: Tensor, factor: Tensor, position: Tensor | None, reuse: bool) -> Tensor:
    """Rows times what stands at their positions."""
    flat = factor.reshape(-1, factor.shape[-1])
    if position is not None:
        flat = flat.index_select(0, position)
    else:
        rows = rows.view(-1, *flat.shape)
    scaled = rows.mul_(flat) if reuse else rows * flat
    return scaled.view(-1, flat.shape[-1])


def recorded(
    route: Route,
    func: Callable[..., Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Tensor | None:
    """The result of a product with a frozen matrix, with a node of its own; None where it is none."""
    inputs, matrix, bias = _OPERANDS[func](args, kwargs)
    if not (_is_plain(inputs) and inputs.requires_grad and inputs.dim() > 1 and _is_constant(matrix)):
        return None
    if (bias is not None and not _is_constant(bias)) or matrix.dim() != 2 or matrix.dtype != inputs.dtype:
        return None
    with torch.no_grad():
        value = func(*args, **kwargs)
    if value.dtype != inputs.dtype:
        return None
    base, branches = _way_to(inputs)
    result: Tensor = _Node.apply(Made(value), base, matrix, branches, route)
    setattr(result, PRODUCT, Product(inputs, matrix, (result._version, inputs._version)))
    return result


def _way_to(inputs: Tensor) -> tuple[Tensor, tuple[Branch, ...]]:
    """What the inputs of a product are elementwise in: the inputs of products before it, or nothing but themselves."""
    x = _unviewed(inputs)
    bases = bases_of(x)
    found = [_product_of(_unviewed(base)) for base in bases]
    first = found[0]
    if bases[0] is x or first is None:
        return inputs, ()
    if any(product is None or product.inputs is not first.inputs for product in found):
        return inputs, ()
    factors = derivatives(x, bases)
    return first.inputs, tuple(
        Branch(f, product.matrix) for f, product in zip(factors, found, strict=True) if product
    )


def is_product(x: Tensor) -> bool:
    """Whether ``x`` shows the result of a product with a node of its own."""
    return _product_of(_unviewed(x)) is not None


def _product_of(x: Tensor) -> Product | None:
    found: Product | None = getattr(x, PRODUCT, None)
    if found is None or found.versions != (x._version, found.inputs._version):
        return None
    return found


def viewed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of a view; it is remembered what it shows where its rows are the same."""
    result = func(*args, **kwargs)
    x = args[0]
    if isinstance(result, Tensor) and result is not x and x.requires_grad and result.dim() > 1:
        if x.dim() > 1 and result.shape[-1] == x.shape[-1] and result.numel() == x.numel():
            setattr(result, VIEWED, (x, result._version))
    return result


def _unviewed(x: Tensor) -> Tensor:
    """The tensor whose rows ``x`` shows in another shape."""
    shown: tuple[Tensor, int] | None = getattr(x, VIEWED, None)
    return x if shown is None or shown[1] != x._version else _unviewed(shown[0])


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

VIEWS = frozenset({Tensor.view, Tensor.reshape, torch.reshape, Tensor.flatten, torch.flatten})

PRODUCTS = frozenset(_OPERANDS)
"""Functions that may be a product with a weight matrix."""
