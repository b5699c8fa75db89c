"""One call of ``scaled_dot_product_attention``, read head by head, and the weights that it computes inside.

Axes: B sequences, H heads, G heads that share keys and values, L queries, K keys, d width of a query, v width of a value.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from inseq_core.errors import SelfCheckError


@attrs.frozen(kw_only=True, eq=False)
class ScaledCall:
    """The arguments of one ``scaled_dot_product_attention``, head by head.

    Attributes:
        queries: (B, H, L, d). keys: (B, H / G, K, d). values: (B, H / G, K, v).
        mask: broadcasts to (B, H, L, K); boolean (True: may look) or added to the scores; None.
        is_causal: no query looks at later keys.
        scale: factor of the scores.
        raw_shape: of the output.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float
    raw_shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        batch: int,
        length: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> ScaledCall:
        """Read the arguments of a call in a pass over ``batch`` sequences of ``length`` queries."""
        raw = (*query.shape[:-1], value.shape[-1])
        queries, keys, values = (by_head(x, batch) for x in (query, key, value))
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask[None] if query.dim() == 4 else by_head(attn_mask, batch)
        if length == 1 and queries.shape[2] > 1:
            # Heads that share keys, laid out as the queries of one head: what is done with a single query.
            if attn_mask is not None and attn_mask.shape[1] * attn_mask.shape[2] > 1:
                attn_mask = attn_mask.reshape(attn_mask.shape[0], -1, 1, attn_mask.shape[-1])
            queries = queries.reshape(queries.shape[0], -1, 1, queries.shape[-1])
        return cls(
            queries=queries,
            keys=keys,
            values=values,
            mask=attn_mask,
            is_causal=bool(is_causal),
            scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
            raw_shape=raw,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, L, K)."""
        b, h, q, _ = self.queries.shape
        return b, h, q, self.keys.shape[2]

    def weights(self, sequences: slice, queries: slice | Tensor, first_keys: int | None) -> Tensor:
        """(B', H, L', K), in float32 or better."""
        chosen = wide(self.queries[sequences][:, :, queries])
        keys = wide(self.keys[sequences][:, :, :first_keys])
        b, h, q, d = chosen.shape
        shared, k = keys.shape[1], keys.shape[2]
        grouped = chosen.reshape(b, shared, (h // shared) * q, d)
        scores = (grouped @ keys.transpose(-1, -2)).reshape(b, h, q, k) * self.scale
        blind = None
        if self.is_causal:
            position = torch.arange(self.shape[2], device=scores.device)[queries]
            later = torch.arange(k, device=scores.device)[None, :] > position[:, None]
            scores = scores.masked_fill(later, float("-inf"))
        if self.mask is not None:
            mask = self.mask.expand(*self.shape)[sequences][:, :, queries][..., :first_keys]
            if mask.dtype == torch.bool:
                blind = ~mask.any(
                    -1, keepdim=True
                )  # a query that may look nowhere (padding on the left) looks nowhere
                scores = scores.masked_fill(~mask & ~blind, float("-inf"))
            else:
                scores = scores + mask
        weights = scores.softmax(-1)
        return weights if blind is None else weights.masked_fill(blind, 0.0)


def by_head(x: Tensor, batch: int) -> Tensor:
    """(B, heads, positions, width) of a tensor with sequences and heads in one axis, or heads in two."""
    if x.dim() == 4 and x.shape[0] in (1, batch):
        return x.expand(batch, *x.shape[1:])
    if x.dim() < 3 or (x.shape[0] % batch if x.dim() == 3 else x.shape[0] != batch):
        raise SelfCheckError(
            f"An attention product has an operand of shape {tuple(x.shape)}, which does not divide into "
            f"{batch} sequences and their heads. Please report the model class."
        )
    return x.reshape(batch, -1, x.shape[-2], x.shape[-1])


def wide(x: Tensor) -> Tensor:
    """In float32 or better."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
