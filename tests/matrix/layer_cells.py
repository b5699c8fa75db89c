"""Layer methods at blocks, attention, feed-forward and norm modules, of the decoder and of the encoder.

Oracle: a hook that keeps or replaces the module's output while the model itself is called, once for each step on
that step's own prefix: autograd there, at every node, and the change of the score from one output to the other.
Axes: L positions of the module's side, D width of its output.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from matrix.cells import Cell, against_rows
from matrix.gradient_cells import COMPLETE, JUMPS, quadrature
from support.attention_truth import BLOCK
from support.contexts import of_text, prefix_embeddings, prefix_score, tiny_context
from support.tiny_models import ENCODER_DECODER
from torch import Tensor, nn

from inseq_captum.layers import LayerGradientXActivation, LayerIntegratedGradients
from inseq_core.torch import TorchContext
from inseq_propagation.deeplift import LayerDeepLift

ATTENTION = re.compile(
    r"\.(attn|attention|self_attn|self_attention|SelfAttention|encoder_attn|EncDecAttention|mixer)$"
)
FEED_FORWARD = re.compile(r"\.(mlp|ffn|fc2|DenseReluDense)$")
NORM = re.compile(r"\.(\w*layer_?norm|ln_1|ln_attn|norm|norm_1)$")
KEYS = re.compile(r"\.(encoder_attn\.k_proj|EncDecAttention\.k)$")
"""Of cross-attention: in the decoder, with the positions of the source."""


def places(model: nn.Module, side: str) -> list[str]:
    """Names of the first block of the encoder or decoder, and of the last module of each kind in it."""
    names = [name for name, _ in model.named_modules() if (".encoder." in f".{name}") == (side == "encoder")]
    blocks = sorted({found.group() for name in names if (found := BLOCK.match(name))})
    first = [name for name in names if name.startswith(f"{blocks[0]}.")]
    kinds = [[n for n in first if kind.search(n)] for kind in (ATTENTION, FEED_FORWARD, NORM, KEYS)]
    has_streams = hasattr(
        model.config, "altup_num_inputs"
    )  # a block of Gemma 3n gives four states a position
    return [*([] if has_streams else blocks[:1]), *(kind[-1] for kind in kinds if kind)]


@contextmanager
def output_of(module: nn.Module, put: Tensor | None = None) -> Any:
    """A list that gets the module's output in the block; ``put`` goes on in its place."""
    kept: list[Tensor] = []

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        own = output if isinstance(output, Tensor) else output[0]
        kept.append(own.detach().clone())  # some models add to it in place
        if put is None:
            return None
        other = put.reshape(own.shape).clone()
        return other if isinstance(output, Tensor) else (other, *output[1:])

    handle = module.register_forward_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()


def module_of(ctx: TorchContext, place: str) -> nn.Module:
    return dict(ctx.adapter.model.named_modules(remove_duplicate=False))[place]


def outputs(ctx: TorchContext, row: int, place: str) -> tuple[Tensor, Tensor]:
    """(1, L, D) what a module gives on one row's own text and prefix, and on their baseline."""
    found = []
    for at in (prefix_embeddings(ctx, row), of_text(ctx, ctx.baseline(), row)):
        with torch.no_grad(), output_of(module_of(ctx, place)) as kept:
            prefix_score(ctx, row)(at)
        found.append(kept[-1].reshape(1, -1, kept[-1].shape[-1]))
    return found[0], found[1]


def score_with(ctx: TorchContext, row: int, place: str, put: Tensor) -> Tensor:
    """() the row's score with something else in the place of a module's output."""
    with output_of(module_of(ctx, place), put):
        return prefix_score(ctx, row)(prefix_embeddings(ctx, row))


def gradient_with(ctx: TorchContext, row: int, place: str, put: Tensor) -> Tensor:
    at = put.detach().clone().requires_grad_()
    return torch.autograd.grad(score_with(ctx, row, place, at), at)[0]


def x_activation(ctx: TorchContext, row: int, place: str) -> list[Tensor]:
    now, _ = outputs(ctx, row, place)
    return [(gradient_with(ctx, row, place, now) * now)[0]]


def integrated(ctx: TorchContext, row: int, place: str) -> list[Tensor]:
    now, then = outputs(ctx, row, place)
    total = sum(
        weight * gradient_with(ctx, row, place, then + alpha * (now - then))
        for alpha, weight in quadrature(3)
    )
    return [(total * (now - then))[0]]


def by_place(
    make: Callable[[str], Any], expected: Callable[[TorchContext, int, str], Any], side: str
) -> Callable[[str], float]:
    """A measure: the worst of all places of one side."""

    def measure(name: str) -> float:
        model = tiny_context(name).adapter.model
        return max(
            against_rows(make(p), lambda ctx, row, p=p: expected(ctx, row, p), tiny_context)(name)
            for p in places(model, side)
        )

    return measure


def deeplift(side: str) -> Callable[[str], float]:
    """A measure: what the scores of a layer do not sum to, relative to the largest change of the score."""

    def measure(name: str) -> float:
        worst = 0.0
        ctx = tiny_context(name)
        for place in places(ctx.adapter.model, side):
            found = LayerDeepLift(target_layer=place).attribute(ctx)
            sums = (found.target if found.source is None else found.source).double().sum(dim=(1, 2))
            gaps, changes = [], []
            for row in range(0, ctx.n_rows, 3):
                with torch.no_grad():
                    now, then = (score_with(ctx, row, place, x) for x in outputs(ctx, row, place))
                gaps.append(float((sums[row] - (now - then)).abs()))
                changes.append(float((now - then).abs()))
            worst = max(worst, max(gaps) / max(changes))
        return worst

    return measure


def columns(side: str) -> tuple[Cell, ...]:
    """The three methods on one side."""
    have = ENCODER_DECODER if side == "encoder" else ()

    def with_steps(place: str) -> LayerIntegratedGradients:
        return LayerIntegratedGradients(target_layer=place, n_steps=3)

    return (
        Cell(
            method="layer_gradient_x_activation",
            detail=side,
            applies=have,
            measure=by_place(lambda p: LayerGradientXActivation(target_layer=p), x_activation, side),
        ),
        Cell(
            method="layer_integrated_gradients",
            detail=side,
            applies=have,
            measure=by_place(with_steps, integrated, side),
        ),
        Cell(
            method="layer_deeplift",
            detail=side,
            applies=have,
            measure=deeplift(side),
            bound=COMPLETE,
            excused=JUMPS,
        ),
    )


TITLE = "Layers"
CELLS = (*columns("decoder"), *columns("encoder"))
