"""Layer methods: attributions at the output of any module of the model.

A module's output takes the place of the embeddings: the path runs from its value on the baseline to its value
on the input. Captum's integrated-gradients class does the integral; the engine gives every step's gradient at
the module. (Captum's own layer classes run hooks around one forward pass a step, and have no step axis.)
Axes: B sequences, T steps, R rows, L positions of the module's side, D width of its output, K path nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from inseq_captum.gradients import InputXGradient, Saliency
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.validators import at_least_one, known_quadrature, optional_at_least_one
from inseq_core.data.result import MethodOutput
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import TorchContext, planner
from inseq_core.torch.gradients import LayerPoint
from inseq_core.torch.layers import (
    embeddings_of_both_sides,
    layer_gradients,
    layer_output,
    named_module,
)

Layers = Any
"""A module's name, the module, or a list of either; None means the token embeddings of the sides that are
attributed, as one place.
"""


@attrs.frozen(kw_only=True)
class LayerGradientXActivation:
    """A module's output times the gradient there (Captum's LayerGradientXActivation).

    Args:
        target_layer: name of a module of the encoder or decoder, the module, or a list of them; the token
            embeddings of the attributed sides if not given.
        multiply_by_inputs: multiply by the output, else the gradient alone.
    """

    target_layer: Layers = None
    multiply_by_inputs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, L, D) on the module's side; (R, L, layer, D) for a list."""
        if self.target_layer is None and (names := embeddings_of_both_sides(ctx)):
            method = InputXGradient() if self.multiply_by_inputs else Saliency(abs=False)
            return at_embeddings(method.attribute(ctx), names)

        def one(layer: Any) -> tuple[LayerPoint, Tensor, Tensor | None]:
            point, value = layer_output(ctx, layer)
            gradients, _ = layer_gradients(ctx, point, value)
            scores = value[:, None] * gradients if self.multiply_by_inputs else gradients
            return point, ctx.rows_of_dense(scores), None

        return over_layers(ctx, self.target_layer, one)


@attrs.frozen(kw_only=True)
class LayerIntegratedGradients:
    """Path integral of the gradient at a module's output, from its value on the baseline (Sundararajan et al.
    2017).

    The path is straight in the module's output space, and its end is its value on the input, so that the
    scores of a step sum to the change of its score between the two when everything flows through the module.

    Args:
        target_layer: name of a module of the encoder or decoder, the module, or a list of them; the token
            embeddings of the attributed sides if not given.
        n_steps: nodes of the quadrature, >= 1.
        method: quadrature rule, see integrated_gradients.
        internal_batch_size: nodes × texts in one graph; planned from memory if not given.
        return_convergence_delta: report each step's delta as the step score "deltas".
        multiply_by_inputs: multiply the averaged gradient by the change of the module's output.
        baseline: see integrated_gradients.
    """

    target_layer: Layers = None
    n_steps: int = attrs.field(default=50, validator=at_least_one)
    method: str = attrs.field(default="gausslegendre", validator=known_quadrature)
    internal_batch_size: int | None = attrs.field(default=None, validator=optional_at_least_one)
    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    multiply_by_inputs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    baseline: str | int = "unk"

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, L, D) on the module's side; (R, L, layer, D) for a list."""
        if self.target_layer is None and (names := embeddings_of_both_sides(ctx)):
            return at_embeddings(self._at_embeddings().attribute(ctx), names)
        baseline = ctx.baseline(self.baseline)

        def one(layer: Any) -> tuple[LayerPoint, Tensor, Tensor | None]:
            point, end = layer_output(ctx, layer)
            _, start = layer_output(ctx, layer, baseline)
            scores = self._integral(ctx, point, start, end)
            if not self.return_convergence_delta:
                return point, scores, None
            change = layer_change(ctx, point, start, end)
            return point, scores, scores.double().sum(dim=(1, 2)) - change

        return over_layers(ctx, self.target_layer, one)

    def _at_embeddings(self) -> IntegratedGradients:
        """The same path at the embeddings of both sides, which move together."""
        return IntegratedGradients(
            n_steps=self.n_steps,
            method=self.method,
            internal_batch_size=self.internal_batch_size,
            return_convergence_delta=self.return_convergence_delta,
            multiply_by_inputs=self.multiply_by_inputs,
            baseline=self.baseline,
        )

    def _integral(self, ctx: TorchContext, point: LayerPoint, start: Tensor, end: Tensor) -> Tensor:
        texts = len(ctx.batch)

        def gradients(
            forward_fn: Any,
            inputs: tuple[Tensor, ...],
            target_ind: Any = None,
            additional_forward_args: Any = None,
        ) -> Any:
            return (layer_gradients(ctx, point, inputs[0].detach()[:, 0])[0],)

        method = CaptumIntegratedGradients(lambda *_: None, multiply_by_inputs=self.multiply_by_inputs)
        method.gradient_func = gradients
        planned = texts * planner.copies_at_once(ctx.adapter, ctx.batch, ctx.grid, self.n_steps)
        at_once = max(self.internal_batch_size or planned, texts)
        dense = method.attribute(
            (end[:, None],),
            baselines=(start[:, None],),
            n_steps=self.n_steps,
            method=self.method,
            internal_batch_size=at_once if at_once < self.n_steps * texts else None,
        )[0]
        return ctx.rows_of_dense(dense.detach())


def layer_change(ctx: TorchContext, point: LayerPoint, start: Tensor, end: Tensor) -> Tensor:
    """(R,) score with the module's output at ``end`` minus score with it at ``start``, everything else as it
    was.
    """
    _, at_end = layer_gradients(ctx, point, end)
    _, at_start = layer_gradients(ctx, point, start)
    return at_end.double() - at_start.double()


def at_embeddings(found: MethodOutput, names: list[str]) -> MethodOutput:
    """What a method found at the token embeddings of both sides, with the modules that give them."""
    return attrs.evolve(found, notes={**found.notes, "target_layer": names})


def over_layers(
    ctx: TorchContext, target_layer: Layers, one: Callable[[Any], tuple[LayerPoint, Tensor, Tensor | None]]
) -> MethodOutput:
    """``one`` on each layer; a list of layers is stacked along an axis "layer" before the hidden axis.

    Raises:
        InvalidArgumentError: an empty list, an unknown module, or layers of different sides or widths.
    """
    several = isinstance(target_layer, (list, tuple))
    layers: Sequence[Any] = target_layer if several else [target_layer]
    if not layers:
        raise InvalidArgumentError("target_layer = []: expected at least one module.")
    side = "source" if ctx.batch.has_source else "target"
    modules = [layer if layer is not None else ctx.adapter.embedding_module(side) for layer in layers]
    names = [named_module(ctx.adapter, module)[0] for module in modules]
    found = [one(module) for module in modules]
    sides = {point.positions for point, _, _ in found}
    if len(sides) > 1 or len({scores.shape for _, scores, _ in found}) > 1:
        raise InvalidArgumentError(
            f"target_layer {names}: layers attributed together need the same side and width; attribute them "
            f"one by one."
        )
    scores = torch.stack([s for _, s, _ in found], dim=2) if several else found[0][1]
    deltas = [d for _, _, d in found if d is not None]
    step_scores = {}
    if deltas:
        step_scores = (
            {f"deltas_{n}": d for n, d in zip(names, deltas, strict=True)}
            if several
            else {"deltas": deltas[0]}
        )
    return MethodOutput(
        source=scores if sides == {"source"} else None,
        target=scores if sides == {"target"} else None,
        step_scores=step_scores,
        axes=("layer", "hidden") if several else None,
        notes={"target_layer": names if several else names[0]},
    )
