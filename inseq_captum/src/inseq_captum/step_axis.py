"""Captum's algorithms on every step at once.

Captum broadcasts. Given inputs (B, 1, L, D) and a ``gradient_func`` that returns (B, T, L, D), its classes
return every step's attribution (B, T, L, D) with their own arithmetic; the gradients are the engine's.
Axes: B sequences, T steps, L positions (of either side), D hidden, K copies of the batch (path nodes,
    samples).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from inseq_core.torch import InputTensors, TorchContext


def stepwise(tensors: InputTensors) -> tuple[Tensor, ...]:
    """(B, L, D) of each attributed side -> (B, 1, L, D), as Captum's tuple of inputs."""
    return tuple(side[:, None] for side in tensors.sides())


def gradient_function(ctx: TorchContext) -> Callable[..., tuple[Tensor, ...]]:
    """What replaces Captum's ``gradient_func``: inputs (K·B, 1, L, D) -> gradients (K·B, T, L, D) from the
    engine.
    """

    def gradients(
        forward_fn: Any,
        inputs: tuple[Tensor, ...],
        target_ind: Any = None,
        additional_forward_args: Any = None,
    ) -> tuple[Tensor, ...]:
        at = ctx.inputs.with_sides(tuple(x.detach()[:, 0] for x in inputs))
        dense = ctx.dense_gradients(at)
        return tuple(g for g in (dense.source, dense.target) if g is not None)

    return gradients


def score_function(ctx: TorchContext) -> Callable[..., Tensor]:
    """Captum's forward function: inputs (K·B, 1, L, D) -> scores (K·B, T), 0 where a sequence has fewer
    steps.
    """

    def scores(*inputs: Tensor) -> Tensor:
        at = ctx.inputs.with_sides(tuple(x.detach()[:, 0] for x in inputs))
        return ctx.dense_of_rows(ctx.scores(at))

    return scores


def rows(ctx: TorchContext, attributions: tuple[Tensor, ...]) -> InputTensors:
    """(B, T, L, D) of each side -> (R, L, D)."""
    return ctx.inputs.with_sides(tuple(ctx.rows_of_dense(a) for a in attributions)).of(by_row=True)
