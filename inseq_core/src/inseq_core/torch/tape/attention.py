"""Scaled dot-product attention, as a node of a tape.

The fused kernels have no batching rule, and plain products copy keys, values and weights for every cotangent. Here the
cotangents of a chunk stand side by side in the queries' place of one product a head, and positions behind the longest step are
left out. Cotangents of one row each, as they are above the last attention, need no product over queries at all.
Axes: C cotangents, B sequences, H heads, L queries, K keys, d width of keys, v width of values, N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from inseq_core.torch.tape.marks import shared_heads
from inseq_core.torch.tape.rows import Cotangent, Reach, RowSet, is_zero
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Keep, Operand, Recorded, Value, cut, heads_operand

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
FUNCTIONS = frozenset({F.scaled_dot_product_attention})


@attrs.frozen(eq=False)
class Attention:
    """value (B, L, H, v) = softmax(query · keyᵀ · scale + mask) · values.

    Attributes:
        operands: query, key and value, those that vary. heads: how many each of them has.
        query, key, values: (B, H, L, d), (B, H, K, d), (B, H, K, v).
        weights: (B, H, L, K). output: (B, H, L, v).
        looks_back: no query sees a key behind it.
    """

    value: Value
    operands: tuple[Operand | None, Operand | None, Operand | None]
    heads: tuple[int, int, int]
    query: Tensor
    key: Tensor
    values: Tensor
    weights: Tensor
    output: Tensor
    scale: float
    looks_back: bool

    def send(self, to: Sending, cotangent: Cotangent) -> None:
        b, _, length, keys = self.weights.shape
        is_known = cotangent.which is not None and to.reach is not None and to.reach.shape[1:] == (b, length)
        reach = to.reach if is_known else None
        if reach is not None and cotangent.which is reach.top and reach.is_one_each:
            found = self._of_rows(cotangent.rows[:-1], reach.top)
        else:
            found = self._of_all(cotangent, reach)
        # behind what a step sees there are zeros, if no query of it looks there
        seen = reach.seen if reach is not None and self.looks_back else None
        for operand, by, heads in zip(self.operands, found, self.heads, strict=True):
            if operand is None or by is None:
                continue
            if isinstance(by, Cotangent):
                operand.send(to, by)
                continue
            if by.shape[3] != heads:  # what several heads share gets the sum of theirs
                by = by.unflatten(3, (heads, -1)).sum(4)
            if isinstance(operand, Recorded):  # autograd wants all there are
                operand.send_whole(to, _lengthened(by, operand.tensor.shape[2]).transpose(2, 3))
                continue
            every = _lengthened(by, keys).reshape(-1, by.shape[-2] * by.shape[-1])
            if seen is not None and operand.side == "target":
                operand.send(to, Cotangent(seen.pick(every), seen))
            else:
                operand.send(to, Cotangent(every, None))

    def _of_rows(self, rows: Tensor, which: RowSet) -> tuple[Any, Any, Any]:
        """One row (H·v) for each cotangent and sequence."""
        b, h, length, keys = self.weights.shape
        n, v = len(rows), self.values.shape[-1]
        place = which.position[:-1]
        text, at = place // length, place % length
        every = rows.view(n, h, v)
        weights = self.weights[text, :, at]  # (N, H, K)
        by_value = None
        if self.operands[2] is not None:
            by_value = (weights.transpose(1, 2)[..., None] * every[:, None]).view(n // b, b, keys, h, v)
        if self.operands[0] is None and self.operands[1] is None:
            return None, None, by_value
        along = (every * self.output[text, :, at]).sum(-1)  # (N, H)
        by_weights = self._per_text(every, self.values.transpose(-1, -2))  # (N, H, K)
        by_scores = (by_weights - along[..., None]).mul_(weights).mul_(self.scale)
        by_query = by_key = None
        if self.operands[0] is not None:
            moved = rows.new_zeros(n + 1, h * self.key.shape[-1])
            moved[:-1] = self._per_text(by_scores, self.key).reshape(n, -1)
            by_query = Cotangent(moved, which)
        if self.operands[1] is not None:
            query = self.query[text, :, at]  # (N, H, d)
            by_key = by_scores.transpose(1, 2)[..., None] * query[:, None]
            by_key = by_key.view(n // b, b, keys, h, -1)
        return by_query, by_key, by_value

    def _per_text(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """(N, H, x) rows, sequence by sequence within each cotangent, times (B, H, x, y): (N, H, y)."""
        b, h = matrices.shape[:2]
        n = len(rows)
        found = torch.matmul(rows.view(n // b, b, h, -1).permute(1, 2, 0, 3), matrices)  # (B, H, C, y)
        return found.permute(2, 0, 1, 3).reshape(n, h, -1)

    def _of_all(self, cotangent: Cotangent, reach: Reach | None) -> tuple[Any, Any, Any]:
        """Every query of every cotangent, up to the longest."""
        b, h, length, keys = self.weights.shape
        every = cotangent.all_rows().view(-1, b, length, h, self.values.shape[-1])
        c = len(every)
        end, last = length, keys
        if reach is not None:
            end = reach.longest
            last = end if self.looks_back else keys
        every = every[:, :, :end]
        query, key, values = self.query[:, :, :end], self.key[:, :, :last], self.values[:, :, :last]
        weights, output = self.weights[:, :, :end, :last], self.output[:, :, :end]
        v = values.shape[-1]
        side_by_side = every.permute(1, 3, 0, 2, 4).reshape(b, h, c * end, v)
        by_value: Tensor | None = None
        by_query: Cotangent | Tensor | None = None
        by_key: Tensor | None = None
        if self.operands[2] is not None:
            each = side_by_side.view(b, h, c, end, v)
            by_value = torch.matmul(weights.transpose(-1, -2)[:, :, None], each).permute(2, 0, 3, 1, 4)
        if self.operands[0] is None and self.operands[1] is None:
            return None, None, by_value
        by_scores = torch.matmul(side_by_side, values.transpose(-1, -2)).view(b, h, c, end, last)
        along = (side_by_side.view(b, h, c, end, v) * output[:, :, None]).sum(dim=-1, keepdim=True)
        by_scores.sub_(along).mul_((weights * self.scale)[:, :, None])
        if self.operands[0] is not None:
            found = torch.matmul(by_scores.view(b, h, c * end, last), key)
            by_query = moved = found.view(b, h, c, end, -1).permute(2, 0, 3, 1, 4)
            if not isinstance(self.operands[0], Recorded):
                every = _lengthened(moved, length).reshape(c * b * length, -1)
                which = cotangent.which
                by_query = Cotangent(every if which is None else which.pick(every), which)
        if self.operands[1] is not None:
            by_key = torch.matmul(by_scores.transpose(-1, -2), query[:, :, None]).permute(2, 0, 3, 1, 4)
        return by_query, by_key, by_value


def _lengthened(part: Tensor, length: int) -> Tensor:
    """(C, B, k, H, d) with zeros behind what was left out."""
    missing = length - part.shape[2]
    return F.pad(part, (0, 0, 0, 0, 0, missing)) if missing else part


def recorded(
    keep: Keep, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Attention (B, H, L, v); None where it is of a kind that the node does not know."""
    given = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    query, key, value = given["query"], given["key"], given["value"]
    mask, scale = given.get("attn_mask"), given.get("scale")
    if given.get("dropout_p") or query.dtype not in (torch.float32, torch.float64):
        return None
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4 or (mask is not None and mask.requires_grad):
        return None
    if not any(x.requires_grad for x in (query, key, value)):
        return None
    shared_key, shared_value = shared_heads(key), shared_heads(value)
    if given.get("enable_gqa") and key.shape[1] != query.shape[1]:
        with torch.no_grad():
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    if query.shape[:2] != key.shape[:2] or key.shape[:3] != value.shape[:3]:
        return None
    operands = (_operand(query, keep), _operand(shared_key, keep), _operand(shared_value, keep))
    scale = float(query.shape[-1] ** -0.5 if scale is None else scale)
    with torch.no_grad():
        weights = _weights(query, key, mask, scale, bool(given.get("is_causal")))
        output = torch.matmul(weights, value).transpose(1, 2).contiguous()
        looks_back = weights.shape[-2] == weights.shape[-1] and is_zero(weights.triu(1))
    queries = operands[0]
    width = output.shape[2] * output.shape[3]
    result, made = cut(output, None if queries is None else queries.side, width)
    held = (query.detach(), key.detach(), value.detach(), weights, output.detach().transpose(1, 2))
    heads = (query.shape[1], shared_key.shape[1], shared_value.shape[1])
    keep(Attention(made, operands, heads, *held, scale, looks_back))
    return result.transpose(1, 2)


def _operand(x: Tensor, keep: Keep) -> Operand | None:
    return heads_operand(x, keep) if x.requires_grad else None


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float, is_causal: bool) -> Tensor:
    """softmax(query · keyᵀ · scale + mask); zeros where a query sees nothing, as torch has it."""
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores.softmax(dim=-1)
    if mask.dtype == torch.bool:
        scores.masked_fill_(~mask, float("-inf"))
    else:
        scores = scores + mask
    weights = scores.softmax(dim=-1)
    nothing = scores.amax(dim=-1, keepdim=True) == float("-inf")
    return weights.masked_fill_(nothing, 0.0) if bool(nothing.any()) else weights
