"""Scaled dot-product attention as one node of the graph.

The fused kernels have no batching rule, and the plain products copy keys, values and weights for every cotangent. Here the
cotangents of a chunk stand side by side in the queries' place of one product a head, and positions behind the longest step are
left out.
Axes: C cotangents, B sequences, H heads, L queries, K keys, d width of keys, v width of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_core.torch.reach import Route, is_zero

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class _Node(torch.autograd.Function):
    """softmax(query · key^T · scale + mask) · value."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, route: Route
    ) -> Tensor:
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if mask is not None:
            scores = scores + mask
        weights = scores.softmax(dim=-1)
        if mask is not None:  # what a query sees is nothing: zeros, as torch has it
            weights = weights.masked_fill(scores.amax(dim=-1, keepdim=True) == float("-inf"), 0.0)
        output = torch.matmul(weights, value)
        ctx.save_for_backward(query, key, value, weights, output)
        ctx.scale, ctx.route = scale, route
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, output = ctx.saved_tensors
        route: Route = ctx.route
        every = route.unpacked(gradients[0])  # (C, B, H, L, v)
        length, keys = weights.shape[-2:]
        to, to_keys = length, keys
        if route.reach is not None and route.reach.shape == (every.shape[0], every.shape[1], length):
            to = route.reach.longest
            if to == length or not is_zero(every[..., to:, :]):
                to = length
            elif keys == length and is_zero(weights[..., :to, to:]):
                to_keys = to
        parts = _back(
            every[..., :to, :],
            query[..., :to, :],
            key[..., :to_keys, :],
            value[..., :to_keys, :],
            weights[..., :to, :to_keys],
            output[..., :to, :],
            ctx.scale,
            ctx.needs_input_grad[:3],
        )
        whole = (length, keys, keys)
        found = [
            None if part is None else route.packed(_lengthened(part, n))
            for part, n in zip(parts, whole, strict=True)
        ]
        return (*found, None, None, None)


def _back(
    every: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Tensor,
    output: Tensor,
    scale: float,
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """(C, B, H, L, v) cotangents of the output -> those of query, key and value, (C, B, H, …)."""
    c, b, h, length, width = every.shape
    keys = key.shape[-2]
    by_value = None
    if needed[2]:
        by_value = torch.matmul(weights.transpose(-1, -2), every)
    if not (needed[0] or needed[1]):
        return [None, None, by_value]
    side_by_side = every.permute(1, 2, 0, 3, 4).reshape(b, h, c * length, width)
    by_scores = torch.matmul(side_by_side, value.transpose(-1, -2)).view(b, h, c, length, keys)
    along = (side_by_side.view(b, h, c, length, width) * output[:, :, None]).sum(dim=-1, keepdim=True)
    by_scores.sub_(along).mul_((weights * scale)[:, :, None])
    by_query = by_key = None
    if needed[0]:
        by_query = torch.matmul(by_scores.view(b, h, c * length, keys), key)
        by_query = by_query.view(b, h, c, length, -1).permute(2, 0, 1, 3, 4)
    if needed[1]:
        by_key = torch.matmul(by_scores.transpose(-1, -2), query[:, :, None]).permute(2, 0, 1, 3, 4)
    return [by_query, by_key, by_value]


def _lengthened(part: Tensor, length: int) -> Tensor:
    """Zeros behind what was left out."""
    return part if part.shape[-2] == length else F.pad(part, (0, 0, 0, length - part.shape[-2]))


def recorded(
    route: Route, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Attention with a node of its own; None where it is of a kind that the node does not know."""
    given = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    query, key, value = given["query"], given["key"], given["value"]
    mask, scale = given.get("attn_mask"), given.get("scale")
    if given.get("dropout_p") or query.dtype not in (torch.float32, torch.float64):
        return None
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4 or (mask is not None and mask.requires_grad):
        return None
    if not any(x.requires_grad for x in (query, key, value)):
        return None
    if given.get("enable_gqa") and key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    if query.shape[:2] != key.shape[:2] or key.shape[:3] != value.shape[:3]:
        return None
    with torch.no_grad():
        if given.get("is_causal"):
            unseen = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).triu(1)
            mask = query.new_zeros(unseen.shape).masked_fill(unseen, float("-inf"))
        elif mask is not None and mask.dtype == torch.bool:
            mask = query.new_zeros(mask.shape).masked_fill(~mask, float("-inf"))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    result: Tensor = _Node.apply(query, key, value, mask, float(scale), route)
    return result
