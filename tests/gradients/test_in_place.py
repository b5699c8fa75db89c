"""Models that change tensors in place: what the engine gave them, and what it kept, must stay as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.contexts import of_row, prefix_embeddings, prefix_score, tiny_context

from inseq_captum.layers import LayerGradientXActivation, LayerIntegratedGradients
from inseq_core.torch.layers import layer_gradients, layer_output
from inseq_core.torch.seams import output_seam
from inseq_propagation.deeplift import LayerDeepLift

ADDED_TO_IN_PLACE = "transformer.h.0.mlp"
"""Falcon adds its attention to what this module gave: ``mlp_output += attention_output``."""


def test_a_layer_that_the_model_adds_to_is_seen_as_it_was() -> None:
    """Activation and gradient by a hook that gives the model a copy, on each step's prefix; float64 rounding."""
    ctx = tiny_context("falcon")
    found = LayerGradientXActivation(target_layer=ADDED_TO_IN_PLACE).attribute(ctx)
    kept: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()

    handle = ctx.adapter.model.get_submodule(ADDED_TO_IN_PLACE).register_forward_hook(keep)
    try:
        for row in range(0, ctx.n_rows, 3):
            at = [x.requires_grad_() for x in prefix_embeddings(ctx, row)]
            (gradient,) = torch.autograd.grad(prefix_score(ctx, row)(at), kept[-1])
            (actual,) = of_row(ctx, found.source, found.target, row)
            np.testing.assert_allclose(actual, (gradient * kept[-1])[0].detach(), rtol=0, atol=1e-12)
    finally:
        handle.remove()


@pytest.mark.parametrize(
    "method",
    [
        LayerIntegratedGradients(target_layer=ADDED_TO_IN_PLACE, n_steps=64, return_convergence_delta=True),
        LayerDeepLift(target_layer=ADDED_TO_IN_PLACE, return_convergence_delta=True),
    ],
)
def test_paths_to_a_layer_that_the_model_adds_to_are_complete(method: Any) -> None:
    """A path whose ends were moved by the passes over it sums to something else."""
    found = method.attribute(tiny_context("falcon"))

    assert found.target.abs().max() > 1e-5
    assert found.step_scores["deltas"].abs().max() < 1e-2 * found.target.abs().sum(dim=(1, 2)).max()


def test_what_takes_a_modules_place_is_not_changed_by_the_model() -> None:
    """Without gradients an in-place sum would reach the caller's own tensor, and the next pass would add again."""
    ctx = tiny_context("falcon")
    point, values = layer_output(ctx, ADDED_TO_IN_PLACE)
    before = values.clone()
    first = layer_gradients(ctx, point, values)[1]
    with torch.no_grad(), output_seam(point.module, values):
        ctx.scores(ctx.inputs)

    assert torch.equal(values, before)
    assert torch.equal(layer_gradients(ctx, point, values)[1], first)
