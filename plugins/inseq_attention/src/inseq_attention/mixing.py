"""Mixing matrices along the layers: how much of each input token is in each position.

Each attention layer mixes positions; its rows (attention, and the residual) sum to one. The product of the
layers' matrices says how much of each input token a position is made of (Abnar and Zuidema 2020, eq. 1).
In encoder–decoder models the rows run over source and target prefix together (Ferrando et al. 2022b, section
3.2): self-attention of the decoder mixes the prefix, cross-attention adds what the encoder's positions are
made of. Only the running product is held, so a pass of N layers needs L² numbers, not N·L².
Axes: B sequences, S source positions, L target positions, K keys, R rows.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from inseq_attention.choice import Choice, indices
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError
from inseq_core.torch import TorchContext
from inseq_core.torch.attention_seam import AttentionProduct
from inseq_core.torch.internals import context_map

PORTION = 1 << 24
"""Attention weights (H, L, K) that are held at once."""

CAUSAL_STRIP = 512
"""Rows of a causal product that are taken together."""


@attrs.define(eq=False)
class Mixture:
    """What the positions are made of after the layers so far.

    Attributes:
        source: (B, S, S) source tokens in the encoder's positions; None before its first layer.
        in_target: (B, L, L) target tokens in the decoder's positions; None before its first layer.
        from_source: (B, L, S) source tokens in the decoder's positions.
    """

    source: Tensor | None = None
    in_target: Tensor | None = None
    from_source: Tensor | None = None

    def mix_self(self, kind: str, matrix: Tensor) -> None:
        """A layer of self-attention with its residual: rows (B, L, L) that sum to one."""
        if kind == "encoder":
            self.source = matrix if self.source is None else matrix @ self.source
            return
        self.in_target = matrix if self.in_target is None else causal_product(matrix, self.in_target)
        self.from_source = None if self.from_source is None else matrix @ self.from_source

    def mix_cross(self, matrix: Tensor, residual: Tensor) -> None:
        """A layer of cross-attention: rows (B, L, S) that sum to one with the residual's share (B, L, 1)."""
        fresh = matrix if self.source is None else matrix @ self.source
        self.from_source = fresh if self.from_source is None else fresh + residual * self.from_source
        if self.in_target is None:
            length = matrix.shape[1]
            self.in_target = torch.eye(length, dtype=matrix.dtype, device=matrix.device).expand(
                matrix.shape[0], length, length
            )
        self.in_target = residual * self.in_target

    def output(self, ctx: TorchContext) -> MethodOutput:
        """Source (R, S) and target (R, L) of the positions that the rows are predicted from."""
        rows, queries = ctx.rows, ctx.row_queries
        return ctx.output(
            None if self.from_source is None else self.from_source[rows, queries],
            None if self.in_target is None else self.in_target[rows, queries],
        )


def refuse_other_mixers(ctx: TorchContext) -> None:
    """Refuse a model in which not only attention mixes positions: a product of attention alone would mislead.

    Raises:
        CapabilityError: some layers have no attention.
    """
    if not context_map(ctx).attends_everywhere:
        raise CapabilityError(
            f"{ctx.adapter.profile.name} has layers without attention, which may mix positions in ways that "
            "attention does not show.\n  Use attention, value_zeroing, a gradient or a removal method."
        )


def causal_product(a: Tensor, b: Tensor) -> Tensor:
    """(B, L, L) product of two matrices whose rows have nothing behind the diagonal."""
    length = a.shape[-1]
    product = torch.zeros_like(b)
    for start in range(0, length, CAUSAL_STRIP):
        end = min(start + CAUSAL_STRIP, length)
        product[:, start:end, :end] = a[:, start:end, :end] @ b[:, :end, :end]
    return product


def head_mean(product: AttentionProduct, heads: Choice) -> Tensor:
    """(B, L, K) weights, averaged over the chosen heads; a few queries at a time."""
    b, n_heads, length, n_keys = product.shape
    chosen = indices("heads", heads, n_heads, "attention heads in each layer")
    size = max(PORTION // max(n_heads * n_keys, 1), 1)
    mean: Tensor | None = None
    for sequence in range(b):
        for start in range(0, length, size):
            end = min(start + size, length)
            seen = end if product.slot.is_causal else n_keys
            weights = product.weights(slice(sequence, sequence + 1), slice(start, end), seen)
            mean = weights.new_zeros(b, length, n_keys) if mean is None else mean
            mean[sequence, start:end, :seen] = weights[0, chosen].mean(0)
    return torch.zeros(product.shape[0], length, n_keys) if mean is None else mean


def with_residual(weights: Tensor, residual: float) -> Tensor:
    """(B, L, L) rows of attention and residual that sum to one.

    A sink that took a share of the attention leaves the rest, and the residual, to be scaled up.
    """
    length = weights.shape[-1]
    identity = torch.eye(length, dtype=weights.dtype, device=weights.device)
    mixed = (1 - residual) * weights + residual * identity
    return mixed / mixed.sum(-1, keepdim=True)


def cross_with_residual(weights: Tensor, residual: float) -> tuple[Tensor, Tensor]:
    """(B, L, S) rows of cross-attention, and the residual's share (B, L, 1); together they sum to one."""
    mixed = (1 - residual) * weights
    total = mixed.sum(-1, keepdim=True) + residual
    return mixed / total, residual / total
