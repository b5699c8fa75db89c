"""Which torch function falls under which rule.

The table maps the functions that modelling files call to a reading of their arguments; the rule set decides
what happens. A reading returns None where the rule does not apply (a product with a constant is linear).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_propagation.rules import RuleSet

Varies = Callable[[Any], bool]
ELEMENTWISE_PRODUCTS = frozenset(
    {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
)
Reading = Callable[[RuleSet, Any, tuple[Any, ...], Mapping[str, Any], Varies], Tensor | None]


def _elementwise(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    """A function of one varying tensor, entry by entry; everything else it takes is constant."""
    if sum(map(varies, args)) != 1 or any(map(varies, kwargs.values())) or not varies(args[0]):
        return None
    own = {k: v for k, v in kwargs.items() if k not in ("inplace", "out")}
    return rules.elementwise(lambda x: func(x, *args[1:], **own), args[0])


def _extreme(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    """max or min of a varying and a constant tensor: elementwise in the first. (Along an axis there is no
    rule.)
    """
    if len(args) != 2 or kwargs or not isinstance(args[1], Tensor) or varies(args[0]) == varies(args[1]):
        return None
    moving, fixed = (args[0], args[1]) if varies(args[0]) else (args[1], args[0])
    return rules.elementwise(lambda x: func(x, fixed.expand_as(moving)), moving)


def _power(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    return (
        None
        if kwargs.get("exponent", args[1] if len(args) > 1 else 1) == 1
        else _elementwise(rules, func, args, kwargs, varies)
    )


def _product(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    if len(args) < 2 or not (varies(args[0]) and varies(args[1])):
        return None
    if func in ELEMENTWISE_PRODUCTS and len(args) == 2 and not kwargs:
        return _times(rules, args[0], args[1])
    return rules.product(lambda a, b: func(a, b, *args[2:], **kwargs), args[0], args[1])


def _times(rules: RuleSet, a: Tensor, b: Tensor) -> Tensor:
    """An elementwise product: of a vector and one number for it, or of two factors alike."""
    if a.dim() == b.dim() and a.shape[-1] != b.shape[-1] and 1 in (a.shape[-1], b.shape[-1]):
        return rules.scaled(a, b) if b.shape[-1] == 1 else rules.scaled(b, a)
    return rules.product(operator.mul, a, b)


def _einsum(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    operands = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    if len(operands) != 2 or not all(map(varies, operands)):
        return None
    return rules.product(lambda a, b: torch.einsum(args[0], a, b), operands[0], operands[1])


def _quotient(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    """a / b: the product of a with b's reciprocal, where b varies."""
    if kwargs.get("rounding_mode") is not None or len(args) < 2 or not varies(args[1]):
        return None
    inverse = rules.elementwise(torch.reciprocal, args[1])
    return _times(rules, args[0], inverse) if varies(args[0]) else args[0] * inverse


def _reversed_quotient(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    return _quotient(rules, func, (args[1], args[0]), kwargs, varies)


def _fused_product(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    """beta · c + alpha · a @ b, as one function (BLOOM's scores)."""
    given = {**dict(zip(("input", "batch1", "batch2"), args, strict=False)), **kwargs}
    a, b = given["batch1"], given["batch2"]
    if not (varies(a) and varies(b)):
        return None
    product = rules.product(torch.matmul, a, b) * kwargs.get("alpha", 1)
    return product + given["input"] * kwargs.get("beta", 1)


def _softmax(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    x, dim = _float(args, kwargs)
    return rules.softmax(x, dim)


def _log_softmax(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    x, dim = _float(args, kwargs)
    return x - rules.logsumexp(x, dim)


def _logsumexp(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
    if not isinstance(dim, int):
        if len(dim) != 1:
            return None
        dim = dim[0]
    kept = rules.logsumexp(args[0], dim)
    return kept if kwargs.get("keepdim", args[2] if len(args) > 2 else False) else kept.squeeze(dim)


def _float(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, int]:
    x = args[0]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
    if kwargs.get("dtype") is not None:
        x = x.to(kwargs["dtype"])
    return x, dim


def _layer_norm(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    eps = given.get("eps", 1e-5)
    return _affine(rules, given, eps, centre=True)


def _rms_norm(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    names = ("input", "normalized_shape", "weight", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    eps = given.get("eps")
    eps = torch.finfo(given["input"].dtype).eps if eps is None else eps
    return _affine(rules, given, eps, centre=False)


def _affine(rules: RuleSet, given: Mapping[str, Any], eps: float, centre: bool) -> Tensor:
    x, shape = given["input"], given["normalized_shape"]
    dims = tuple(range(-(len(shape) if hasattr(shape, "__len__") else 1), 0))
    normal = rules.normalise(x, dims, eps, centre)
    if given.get("weight") is not None:
        normal = normal * given["weight"]
    return normal if given.get("bias") is None else normal + given["bias"]


def _attention(
    rules: RuleSet, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varies: Varies
) -> Any:
    """Scaled dot-product attention taken apart: scores, mask, softmax, values."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    query, key, value = given["query"], given["key"], given["value"]
    if given.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = given.get("scale") or 1 / math.sqrt(query.shape[-1])
    scores = _pair_product(
        rules,
        torch.matmul,
        query * scale,
        key.transpose(-2, -1),
        varies(given["query"]),
        varies(given["key"]),
    )
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    from_scores = varies(given["query"]) or varies(given["key"])
    weights = rules.softmax(scores, -1) if from_scores else scores.softmax(-1)
    return _pair_product(rules, torch.matmul, weights, value, from_scores, varies(given["value"]))


def _pair_product(rules: RuleSet, fn: Any, a: Tensor, b: Tensor, a_varies: bool, b_varies: bool) -> Tensor:
    result: Tensor = rules.product(fn, a, b) if a_varies and b_varies else fn(a, b)
    return result


def _table() -> dict[Any, Reading]:
    table: dict[Any, Reading] = {}
    function: Any
    for name in (
        "tanh", "sigmoid", "exp", "erf", "rsqrt", "sqrt", "reciprocal", "square", "log", "log1p", "expm1",
        "abs", "clamp", "clamp_min", "clamp_max", "clip", "relu", "cos", "sin", "exp2", "log2", "pow",
    ):  # fmt: skip
        for owner in (torch, Tensor):
            if hasattr(owner, name):
                table[getattr(owner, name)] = _power if name == "pow" else _elementwise
    for name in (
        "gelu", "silu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "mish",
        "hardswish", "hardtanh", "hardsigmoid", "logsigmoid", "softsign", "tanh", "sigmoid",
    ):  # fmt: skip
        table[getattr(F, name)] = _elementwise
    table[Tensor.__pow__] = _power
    for function in (
        *ELEMENTWISE_PRODUCTS,
        torch.matmul,
        Tensor.matmul,
        Tensor.__matmul__,
        torch.bmm,
        Tensor.bmm,
    ):
        table[function] = _product
    for function in (torch.div, torch.true_divide, Tensor.div, Tensor.true_divide, Tensor.__truediv__):
        table[function] = _quotient
    table[Tensor.__rtruediv__] = _reversed_quotient
    for function in (torch.max, torch.min, torch.maximum, torch.minimum, Tensor.max, Tensor.min,
                     Tensor.maximum, Tensor.minimum):  # fmt: skip
        table[function] = _extreme
    table[torch.einsum] = _einsum
    table[torch.baddbmm] = table[Tensor.baddbmm] = _fused_product
    for function in (F.softmax, torch.softmax, Tensor.softmax):
        table[function] = _softmax
    for function in (F.log_softmax, torch.log_softmax, Tensor.log_softmax):
        table[function] = _log_softmax
    table[torch.logsumexp] = table[Tensor.logsumexp] = _logsumexp
    table[F.layer_norm] = _layer_norm
    if hasattr(F, "rms_norm"):
        table[F.rms_norm] = _rms_norm
    table[F.scaled_dot_product_attention] = _attention
    return table


RULES: Mapping[Any, Reading] = _table()
"""torch function -> how its arguments are read for a rule."""
