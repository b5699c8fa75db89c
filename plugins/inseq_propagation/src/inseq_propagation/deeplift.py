"""DeepLIFT on the model's real non-linearities, for every step at once.

Input and reference run as one batch under the rescale rule (``rules.Rescale``); the engine's all-steps
backward pass then gives every step's multipliers, and score = multiplier × (input - reference).
Axes: B sequences, T steps, R rows, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from inseq_core.data.result import MethodOutput
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import TorchContext
from inseq_core.torch.gradients import LayerPoint, StepGradients, step_gradients
from inseq_core.torch.layers import (
    embeddings_of_both_sides,
    layer_output,
    named_module,
    passing_through,
)
from inseq_propagation.mode import RuleMode
from inseq_propagation.rules import Rescale


@attrs.frozen(kw_only=True)
class DeepLift:
    """DeepLIFT with the rescale rule on every non-linearity (Shrikumar et al. 2017, equations 3 and 8).

    Which rule applies where: activations, as modules or functions, by Δout / Δin; products of two varying
    factors (gates, attention scores, attention times values) by the mean of the other factor; softmax and
    normalisations taken apart into those; linear layers by their weights; the attributed function by the same
    rules. Where tokens are sorted to the experts of a mixture there is no pair to compare and the derivative
    is used: the delta then says how much is missing.

    Args:
        return_convergence_delta: report each step's delta (sum of scores minus change of the attributed
            function).
        baseline: "unk", "pad", "mask", "eos", "zero", "mean", a token, or a text of as many tokens as the
            input.
    """

    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    baseline: str | int = "unk"

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        inputs, baseline = ctx.inputs, ctx.baseline(self.baseline)
        mode = RuleMode(Rescale())
        both = inputs.with_sides(
            tuple(torch.cat(pair) for pair in zip(inputs.sides(), baseline.sides(), strict=True))
        )
        dense = paired_gradients(ctx, mode, source=both.source, target=both.target)
        texts = len(ctx.batch)
        multipliers = inputs.with_sides(
            tuple(ctx.rows_of_dense(m[:texts]) for m in (dense.source, dense.target) if m is not None)
        ).of(by_row=True)
        scores = multipliers * (inputs - baseline)
        deltas = sum_of(scores.sides()) - change(dense.scores)
        return ctx.output(
            scores,
            step_scores=self._deltas(deltas),
            notes={"rules": dict(mode.coverage.ruled), "without_rule": dict(mode.coverage.plain)},
        )

    def _deltas(self, deltas: Tensor) -> dict[str, Tensor]:
        return {"deltas": deltas} if self.return_convergence_delta else {}


@attrs.frozen(kw_only=True)
class LayerDeepLift:
    """DeepLIFT from the output of a module on: its multipliers times the change of its output.

    The rules are those of ``deeplift``.

    Args:
        target_layer: name of a module of the encoder or decoder, the module, or a list of them; the token
            embeddings of the attributed sides if not given.
        return_convergence_delta: report each step's delta as the step score "deltas".
        baseline: see deeplift.
    """

    target_layer: Any = None
    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    baseline: str | int = "unk"

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, L, D) on the module's side; (R, L, layer, D) for a list."""
        if self.target_layer is None and (both := embeddings_of_both_sides(ctx)):
            return self._at_embeddings(ctx, both)
        several = isinstance(self.target_layer, (list, tuple))
        layers = list(self.target_layer) if several else [self.target_layer]
        if not layers:
            raise InvalidArgumentError("target_layer = []: expected at least one module.")
        side = "source" if ctx.batch.has_source else "target"
        modules = [layer if layer is not None else ctx.adapter.embedding_module(side) for layer in layers]
        names = [named_module(ctx.adapter, module)[0] for module in modules]
        found = [self._one(ctx, module) for module in modules]
        if len({(point.positions, scores.shape) for point, scores, _ in found}) > 1:
            raise InvalidArgumentError(
                f"target_layer {names}: layers attributed together need the same side and width; attribute "
                f"them one by one."
            )
        point = found[0][0]
        scores = torch.stack([s for _, s, _ in found], dim=2) if several else found[0][1]
        step_scores = {}
        if self.return_convergence_delta:
            labels = [f"deltas_{name}" for name in names] if several else ["deltas"]
            step_scores = {label: delta for label, (_, _, delta) in zip(labels, found, strict=True)}
        return MethodOutput(
            source=scores if point.positions == "source" else None,
            target=scores if point.positions == "target" else None,
            step_scores=step_scores,
            axes=("layer", "hidden") if several else None,
            notes={"target_layer": names if several else names[0]},
        )

    def _at_embeddings(self, ctx: TorchContext, names: list[str]) -> MethodOutput:
        """The embeddings of both sides go to their reference together."""
        found = DeepLift(
            return_convergence_delta=self.return_convergence_delta, baseline=self.baseline
        ).attribute(ctx)
        return attrs.evolve(found, notes={**found.notes, "target_layer": names})

    def _one(self, ctx: TorchContext, module: Any) -> tuple[LayerPoint, Tensor, Tensor]:
        point, now = layer_output(ctx, module)
        _, then = layer_output(ctx, module, ctx.baseline(self.baseline))
        both = torch.cat([now, then])
        mode = RuleMode(Rescale())
        on_source = point.side == "source"
        with passing_through(ctx, point, 2):
            dense = paired_gradients(
                ctx, mode, source=both if on_source else None, target=None if on_source else both, at=point
            )
        multipliers = dense.source if on_source else dense.target
        if multipliers is None:
            raise InvalidArgumentError(f"target_layer {point.name!r} has no gradient.")
        scores = ctx.rows_of_dense(multipliers[: len(ctx.batch)] * (now - then)[:, None])
        return point, scores, sum_of((scores,)) - change(dense.scores)


def paired_gradients(
    ctx: TorchContext,
    mode: RuleMode,
    *,
    source: Tensor | None,
    target: Tensor | None,
    at: LayerPoint | None = None,
) -> StepGradients:
    """Multipliers of the batch followed by its reference, (2 B, T, …), from one pass under the mode's
    rules.
    """
    batch = ctx.batch.take(list(range(len(ctx.batch))) * 2)
    grid = ctx.grid.repeated(2, len(ctx.batch))
    return step_gradients(
        ctx.adapter,
        batch,
        grid,
        lambda output: ctx.score_of(batch, grid, output),
        source=source,
        target=target,
        want_source=source is not None,
        want_target=target is not None,
        at=at,
        rules=mode,
        name=f"attributed function {ctx.request.attributed.name!r}",
    )


def change(scores: Tensor) -> Tensor:
    """(2 R,) scores of input and reference -> (R,) their difference, in float64."""
    now, then = scores.double().chunk(2)
    return now - then


def sum_of(sides: tuple[Tensor, ...]) -> Tensor:
    """(R,) sum over sides, positions and hidden, in float64."""
    return torch.stack([side.double().sum(dim=(1, 2)) for side in sides]).sum(0)
