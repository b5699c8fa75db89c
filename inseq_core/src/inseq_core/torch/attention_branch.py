"""Attention branches: the way from an attention product to the residual stream, as a linear map.

What token j gives position i through attention is Σ_h α_ij^h v_j^h, sent through the output projection and
whatever else stands before the sum with the residual (Kobayashi et al. 2020, section 2). Projections and
biases are what they are; gates and norms are taken at the values that the real input gave them, which makes
them linear (Kobayashi et al. 2021, section 3). Where the sum is normalised before it goes on (post-norm
models), that norm belongs to the branch too.
Axes: B sequences, L queries, K keys, H heads, D hidden, C channels, Q chosen queries, v width of a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor

from inseq_core.torch.attention_seam import AttentionProduct

PORTION = 1 << 24
"""Numbers of one portion of contribution vectors (Q, K, D)."""


class Step(Protocol):
    """One function on the way, linear once norms and gates are taken at their values."""

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C) -> (Q, K, C'), without any offset."""
        ...

    def offset(self, channels: int) -> Tensor | float:
        """What it adds, at zero: broadcasts to (C',)."""
        ...


@attrs.frozen(eq=False)
class Projection:
    """x W + b, with ``weight`` (C, C') and ``bias`` (C',)."""

    weight: Tensor
    bias: Tensor | None = None

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C')."""
        return x @ self.weight.to(x.dtype)

    def offset(self, channels: int) -> Tensor | float:
        """The bias."""
        return 0.0 if self.bias is None else self.bias


@attrs.frozen(eq=False)
class Shift:
    """x + b."""

    bias: Tensor | float

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """The same."""
        return x

    def offset(self, channels: int) -> Tensor | float:
        """The bias."""
        return self.bias


@attrs.frozen(eq=False)
class Gate:
    """x times a number, a number for each channel (C,), or one for each position (B, L, C or 1)."""

    factor: Tensor | float

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C)."""
        if not isinstance(self.factor, Tensor) or self.factor.dim() < 2:
            return x * self.factor
        return x * self.factor[b, positions][:, None].to(x.dtype)

    def offset(self, channels: int) -> Tensor | float:
        """None."""
        return 0.0


@attrs.frozen(kw_only=True, eq=False)
class Norm:
    """(x − mean) · scale · weight + bias, with the ``scale`` (B, L, 1) that the real input had."""

    scale: Tensor
    weight: Tensor | None
    bias: Tensor | None
    is_centred: bool

    @classmethod
    def of(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Norm:
        """From a call of ``layer_norm`` or ``rms_norm``."""
        is_centred = name == "layer_norm"
        names = ("input", "normalized_shape", "weight", *(("bias",) if is_centred else ()), "eps")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        x = given["input"].detach().double()
        eps = given.get("eps")
        if eps is None:
            eps = 1e-5 if is_centred else torch.finfo(given["input"].dtype).eps
        x = x - x.mean(-1, keepdim=True) if is_centred else x
        scale = (x.square().mean(-1, keepdim=True) + eps).rsqrt().to(given["input"].dtype)
        return cls(scale=scale, weight=given.get("weight"), bias=given.get("bias"), is_centred=is_centred)

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C)."""
        x = x - x.mean(-1, keepdim=True) if self.is_centred else x
        x = x * self.scale[b, positions][:, None].to(x.dtype)
        return x if self.weight is None else x * self.weight.to(x.dtype)

    def offset(self, channels: int) -> Tensor | float:
        """The bias."""
        return 0.0 if self.bias is None else self.bias


@attrs.frozen(kw_only=True, eq=False)
class AttentionBranch:
    """What one attention product does to the residual stream.

    Attributes:
        product: the attention.
        steps: the way from the product (heads side by side) to the stream.
        norm: of the sum, in post-norm models.
        residual: (B, L, D) the stream before the branch.
        value: (B, L, D) what the branch adds.
        total: (B, L, D) their sum.
    """

    product: AttentionProduct
    steps: tuple[Step, ...]
    norm: Norm | None
    residual: Tensor
    value: Tensor
    total: Tensor

    def stream(self, b: int, positions: Tensor) -> Tensor:
        """(Q, D) the stream behind the branch (and its norm), in float32 or better."""
        total = wide(self.total[b, positions])
        if self.norm is None:
            return total
        return self.norm.linear(total[:, None], b, positions)[:, 0] + self.norm.offset(total.shape[-1])

    def residual_share(self, b: int, positions: Tensor) -> Tensor:
        """(Q, D) the residual's part of the stream."""
        residual = wide(self.residual[b, positions])
        return residual if self.norm is None else self.norm.linear(residual[:, None], b, positions)[:, 0]

    def shares(self, b: int, positions: Tensor) -> Iterator[tuple[Tensor, slice, Tensor]]:
        """What every key gives the chosen queries, in portions.

        Yields:
            indices into ``positions`` (Q,), keys, and vectors (Q, K, D); self-attention looks no further than
            the last of the positions.
        """
        _, heads, _, n_keys = self.product.shape
        values = wide(self.product.values[b])  # (H, K, v)
        first = self.steps[0] if self.steps and isinstance(self.steps[0], Projection) else None
        width = self.residual.shape[-1]
        if self.product.slot.is_causal and len(positions):
            n_keys = min(n_keys, int(positions.max()) + 1)
        keys_at_once = max(PORTION // (heads * width), 1)
        for k in range(0, n_keys, keys_at_once):
            keys = slice(k, min(k + keys_at_once, n_keys))
            chosen = values[:, keys]
            if first is not None:
                weight = wide(first.weight).reshape(heads, -1, first.weight.shape[-1])
                chosen = chosen @ weight  # (H, K, C)
            rows_at_once = max(PORTION // (chosen.shape[1] * width), 1)
            for index in torch.arange(len(positions), device=values.device).split(rows_at_once):
                at = positions[index]
                weights = self.product.weights(slice(b, b + 1), at)[0, :, :, keys].to(
                    chosen.dtype
                )  # (H, Q, K)
                yield index, keys, self._sent(chosen, weights, b, at, first is not None)

    def _sent(self, chosen: Tensor, weights: Tensor, b: int, at: Tensor, is_projected: bool) -> Tensor:
        """(Q, K, D) from values (H, K, C) and weights (H, Q, K)."""
        if is_projected:
            x = (weights.permute(2, 1, 0) @ chosen.transpose(0, 1)).transpose(0, 1)
        else:
            x = (weights[..., None] * chosen[:, None]).permute(1, 2, 0, 3).flatten(2)
        for step in self.steps[1 if is_projected else 0 :]:
            x = step.linear(x, b, at)
        return x if self.norm is None else self.norm.linear(x, b, at)

    def replayed(self, b: int, positions: Tensor) -> Tensor:
        """(Q, D) what the way makes of the product's own output: ``value``, if nothing was missed."""
        x = wide(self.product.output[b, :, positions]).transpose(0, 1).flatten(1)[:, None]
        for step in self.steps:
            x = step.linear(x, b, positions)
            x = x + step.offset(x.shape[-1])
        return x[:, 0]


def wide(x: Tensor) -> Tensor:
    """In float32 or better."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
