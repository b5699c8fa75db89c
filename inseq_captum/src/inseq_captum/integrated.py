"""Integrated gradients on the step axis, with a fixed or an adaptive number of nodes.

Captum's class does the path integral; the engine gives every step's gradient at every node. Nodes are taken a
few at a time, as memory allows.
Axes: B sequences, T steps, R rows, L positions (of either side), D hidden, K path nodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import attrs
import numpy as np
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from inseq_captum.step_axis import gradient_function, rows, score_function, stepwise
from inseq_captum.validators import (
    at_least_one,
    known_quadrature,
    nodes,
    optional_at_least_one,
    positive,
)
from inseq_core.data.result import MethodOutput
from inseq_core.errors import ApproximationWarning
from inseq_core.torch import InputTensors, TorchContext, planner

FIRST_NODES = 8
"""Nodes that the adaptive rule starts with; doubled until every step's delta is small enough."""

FLOOR = 1e-3
"""Change of score, relative to the score itself, under which the relative delta is measured against this
floor.
"""


@attrs.frozen(kw_only=True)
class IntegratedGradients:
    """Path integral of the gradient from a baseline to the input (Sundararajan et al. 2017, equation 1).

    Args:
        n_steps: nodes of the quadrature, >= 1; "auto" doubles them until each step's convergence delta is
            under tolerance, and reports the delta reached and the nodes used as the step scores "deltas" and
            "nodes".
        method: quadrature rule: "gausslegendre", "riemann_right", "riemann_left", "riemann_middle",
            "riemann_trapezoid".
        internal_batch_size: nodes × texts in one graph; planned from memory if not given.
        return_convergence_delta: report each step's delta as the step score "deltas".
        multiply_by_inputs: multiply the averaged gradient by (input - baseline), as the paper does.
        baseline: "unk", "pad", "mask", "eos", "zero", "mean", a token, or a text of as many tokens as the
            input.
        tolerance: with "auto": the largest delta allowed, relative to the change of the score (0.01 is one
            percent).
        max_steps: with "auto": the bound on nodes.
    """

    n_steps: int | str = attrs.field(default=50, validator=nodes)
    method: str = attrs.field(default="gausslegendre", validator=known_quadrature)
    internal_batch_size: int | None = attrs.field(default=None, validator=optional_at_least_one)
    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    multiply_by_inputs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    baseline: str | int = "unk"
    tolerance: float = attrs.field(default=0.01, validator=positive)
    max_steps: int = attrs.field(default=512, validator=at_least_one)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D); ``deltas`` (R,) where asked for; with "auto" the delta reached, and the
        ``nodes`` that it took.
        """
        if self.n_steps == "auto":
            return self._adaptive(ctx)
        attributions = self._fixed(ctx, int(self.n_steps))
        step_scores = {}
        if self.return_convergence_delta:
            step_scores["deltas"] = convergence_delta(ctx, attributions, ctx.baseline(self.baseline))
        return ctx.output(attributions, step_scores=step_scores, notes={"nodes": int(self.n_steps)})

    def _fixed(self, ctx: TorchContext, n_steps: int) -> InputTensors:
        method = CaptumIntegratedGradients(score_function(ctx), multiply_by_inputs=self.multiply_by_inputs)
        method.gradient_func = gradient_function(ctx)
        texts = len(ctx.batch)
        at_once = self.internal_batch_size or texts * planner.copies_at_once(
            ctx.adapter, ctx.batch, ctx.grid, n_steps
        )
        attributions = method.attribute(
            stepwise(ctx.inputs),
            baselines=stepwise(ctx.baseline(self.baseline)),
            n_steps=n_steps,
            method=self.method,
            internal_batch_size=max(at_once, texts) if at_once < n_steps * texts else None,
        )
        return rows(ctx, tuple(a.detach() for a in attributions))

    def _adaptive(self, ctx: TorchContext) -> MethodOutput:
        """Rows whose delta is small enough are kept; the others go on with twice the nodes."""
        total = ctx.zeros()
        change = score_change(ctx, ctx.baseline(self.baseline))
        deltas = torch.full_like(change, float("inf"))
        used = np.zeros(ctx.n_rows, dtype=np.int64)
        left = np.arange(ctx.n_rows)
        passes = 0
        for n_steps in doubling(min(FIRST_NODES, self.max_steps), self.max_steps):
            part = ctx.take(left)
            attributions = self._fixed(part, n_steps)
            passes += n_steps
            gap = (
                (summed(attributions) - change[left])
                if self.multiply_by_inputs
                else torch.zeros_like(change[left])
            )
            put_rows(total, left, attributions)
            deltas[left], used[left] = gap, n_steps
            left = left[(gap.abs() > self.tolerance * change_scale(ctx, change)[left]).cpu().numpy()]
            if not len(left):
                break
        if len(left):
            warnings.warn(
                f"integrated_gradients: {len(left)} of {ctx.n_rows} steps did not reach tolerance "
                f"{self.tolerance:g} within "
                f"{self.max_steps} nodes (largest delta {float(deltas.abs().max()):.3g}). The result is "
                f"kept; the deltas are "
                "in step_scores['deltas'].",
                ApproximationWarning,
                stacklevel=2,
            )
        nodes_used = torch.as_tensor(used, device=deltas.device, dtype=deltas.dtype)
        return ctx.output(
            total, step_scores={"deltas": deltas, "nodes": nodes_used}, notes={"passes": passes}
        )


def doubling(first: int, bound: int) -> Iterator[int]:
    """first, 2·first, … , bound."""
    n = first
    while n < bound:
        yield n
        n *= 2
    yield bound


def put_rows(total: InputTensors, chosen: np.ndarray, part: InputTensors) -> None:
    """Write the rows ``chosen`` of a working attribution, on the prefix that ``part`` has."""
    for whole, piece in zip(total.sides(), part.sides(), strict=True):
        index = torch.as_tensor(chosen, device=whole.device)
        whole[index, : piece.shape[1]] = piece.to(whole.dtype)


def summed(attributions: InputTensors) -> Tensor:
    """(R,) sum over both sides, positions and hidden, in float64."""
    return torch.stack([side.double().sum(dim=(1, 2)) for side in attributions.sides()]).sum(0)


def score_change(ctx: TorchContext, baseline: InputTensors) -> Tensor:
    """(R,) score at the input minus score at the baseline, in float64."""
    return ctx.scores(ctx.inputs).double() - ctx.scores(baseline).double()


def change_scale(ctx: TorchContext, change: Tensor) -> Tensor:
    """(R,) what deltas are relative to: the change of score, and never less than ``FLOOR`` of the largest
    change.
    """
    return change.abs().clamp_min(FLOOR * float(change.abs().max()) + torch.finfo(torch.float32).eps)


def convergence_delta(ctx: TorchContext, attributions: InputTensors, baseline: InputTensors) -> Tensor:
    """(R,) sum of each step's attribution minus the change of its score: 0 for an exact integral."""
    return summed(attributions) - score_change(ctx, baseline)
