"""Sequential integrated gradients: one path a token, with all other tokens in place.

For each position the path runs from the text with that token absent to the text itself, so that no other word
ever loses its meaning on the way. Nodes of several positions share forward passes, and every pass serves
every step. Axes: B sequences, R rows, L positions (of either side), D hidden, K nodes in one graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from inseq_core.data.result import MethodOutput
from inseq_core.torch import InputTensors, TorchContext, planner
from inseq_path_gradients.parameters import at_least_one, known_quadrature, path_nodes

Node = tuple[str, int, float, float]
"""side, position, alpha, weight."""


@attrs.frozen(kw_only=True)
class SequentialIntegratedGradients:
    """Integrated gradients along one path a token (Enguehard 2023, equation 2).

    Summed over the hidden axis, a token's score is the change of the attributed function when that token
    alone appears.

    Args:
        n_steps: nodes of the quadrature on each path, >= 1.
        method: quadrature rule: "gausslegendre", "riemann_right", "riemann_left", "riemann_middle",
            "riemann_trapezoid".
        baseline: "unk", "pad", "mask", "eos", "zero", "mean", a token, or a text of as many tokens as the
            input; the paper uses the mask token.
        multiply_by_inputs: multiply the averaged gradient by (embedding - baseline).
        return_convergence_delta: report, for each step, the largest difference between a token's summed score
            and the change of the attributed function that it stands for, as the step score "deltas".
        internal_batch_size: nodes × texts in one graph; planned from memory if not given.
    """

    n_steps: int = attrs.field(default=50, validator=at_least_one)
    method: str = attrs.field(default="gausslegendre", validator=known_quadrature)
    baseline: str | int = "unk"
    multiply_by_inputs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    internal_batch_size: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(at_least_one)
    )

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        inputs, baseline = ctx.inputs, ctx.baseline(self.baseline)
        shift = inputs - baseline
        total = ctx.zeros()
        positions = list(moving_positions(shift))
        nodes = [node for side, position in positions for node in self._nodes(side, position)]
        planned = planner.copies_at_once(ctx.adapter, ctx.batch, ctx.grid, len(nodes))
        at_once = max((self.internal_batch_size or planned * len(ctx.batch)) // len(ctx.batch), 1)
        for start in range(0, len(nodes), at_once):
            self._add(ctx, total, nodes[start : start + at_once], shift)
        scores = total * shift if self.multiply_by_inputs else total
        step_scores = {}
        if self.return_convergence_delta and self.multiply_by_inputs:
            step_scores["deltas"] = largest_gap(ctx, scores, shift, positions)
        return ctx.output(
            scores, step_scores=step_scores, notes={"paths": len(positions), "nodes": self.n_steps}
        )

    def _nodes(self, side: str, position: int) -> Iterator[Node]:
        for alpha, weight in zip(*path_nodes(self.method, self.n_steps), strict=True):
            yield side, position, float(alpha), float(weight)

    def _add(self, ctx: TorchContext, total: InputTensors, nodes: list[Node], shift: InputTensors) -> None:
        """Add each node's weighted gradient at its own position."""
        copies = [
            without(ctx.inputs, shift, side, position, 1.0 - alpha) for side, position, alpha, _ in nodes
        ]
        gradients = ctx.step_gradients(stacked(copies))
        for k, (side, position, _, weight) in enumerate(nodes):
            own: Tensor = getattr(gradients, side)[k * ctx.n_rows : (k + 1) * ctx.n_rows, position]
            getattr(total, side)[:, position] += weight * own


def moving_positions(shift: InputTensors) -> Iterator[tuple[str, int]]:
    """Positions whose embedding differs from the baseline in some text: the others have no path."""
    for side in ("source", "target"):
        moves: Tensor | None = getattr(shift, side)
        if moves is not None:
            for position in torch.nonzero((moves != 0).any(dim=2).any(dim=0)).flatten().tolist():
                yield side, position


def without(
    inputs: InputTensors, shift: InputTensors, side: str, position: int, share: float
) -> InputTensors:
    """The inputs with ``share`` of one position's way to the baseline gone."""
    moved: Tensor = getattr(inputs, side).clone()
    moved[:, position] -= share * getattr(shift, side)[:, position]
    changed: dict[str, Any] = {side: moved}
    return attrs.evolve(inputs, **changed)


def stacked(copies: list[InputTensors]) -> InputTensors:
    """K copies of the batch, one after the other."""
    return copies[0].with_sides(
        tuple(torch.cat(sides) for sides in zip(*(c.sides() for c in copies), strict=True))
    )


def largest_gap(
    ctx: TorchContext, scores: InputTensors, shift: InputTensors, positions: list[tuple[str, int]]
) -> Tensor:
    """(R,) largest difference between a token's summed score and the effect of its absence."""
    full = ctx.scores(ctx.inputs).double()
    gaps = torch.zeros_like(full)
    for side, position in positions:
        absent = ctx.scores(without(ctx.inputs, shift, side, position, 1.0)).double()
        own = getattr(scores, side)[:, position].double().sum(-1)
        gaps = torch.maximum(gaps, (own - (full - absent)).abs())
    return gaps
