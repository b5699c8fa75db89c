"""Gradient SHAP: gradients at random points between a noisy input and the baseline.

The arithmetic is that of Captum's GradientShap. Its draws come from the process's global generators, and
their number depends on the shape of the batch; here every text draws from its own generator, so that a text
alone, in a batch, or in chunks of steps gets the same numbers.
Axes: B sequences, R rows, L positions (of either side), D hidden, K samples.
"""

from __future__ import annotations

from operator import itemgetter

import attrs
import numpy as np
import torch

from inseq_captum.integrated import score_change, summed
from inseq_captum.validators import at_least_one, not_negative, optional_at_least_one
from inseq_core.data.result import MethodOutput
from inseq_core.torch import InputTensors, TorchContext, planner


@attrs.frozen(kw_only=True)
class GradientShap:
    """Expected gradient between baseline and input, with noise (Lundberg and Lee 2017; Erion et al. 2021,
    equation 3).

    Args:
        n_samples: random points for each text, >= 1.
        stdevs: standard deviation of the noise added to the input, >= 0.
        baseline: see integrated_gradients.
        multiply_by_inputs: multiply each gradient by (noisy input - baseline).
        return_convergence_delta: report each step's delta (sum of attributions minus change of score) as
            "deltas".
        internal_batch_size: samples × texts in one graph; planned from memory if not given.
    """

    n_samples: int = attrs.field(default=5, validator=at_least_one)
    stdevs: float = attrs.field(default=0.0, validator=not_negative)
    baseline: str | int = "unk"
    multiply_by_inputs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    internal_batch_size: int | None = attrs.field(default=None, validator=optional_at_least_one)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        baseline = ctx.baseline(self.baseline)
        alphas = interpolation_points(ctx, self.n_samples)  # (K, B)
        noise = list(ctx.draw(self.n_samples)) if self.stdevs else [None] * self.n_samples
        texts = len(ctx.batch)
        planned = planner.copies_at_once(ctx.adapter, ctx.batch, ctx.grid, self.n_samples)
        at_once = max((self.internal_batch_size or planned * texts) // texts, 1)
        total = ctx.zeros()
        for start in range(0, self.n_samples, at_once):
            chosen = range(start, min(start + at_once, self.n_samples))
            drawn = noise[chosen.start : chosen.stop]
            noisy = [ctx.inputs if shift is None else ctx.inputs + shift * self.stdevs for shift in drawn]
            points = [lerp(baseline, end, alphas[k]) for k, end in zip(chosen, noisy, strict=True)]
            gradients = ctx.step_gradients(stacked(points))
            for i, end in enumerate(noisy):
                one = gradients.map(itemgetter(slice(i * ctx.n_rows, (i + 1) * ctx.n_rows)))
                one = attrs.evolve(one, rows=ctx.rows)
                total = total + (one * (end - baseline) if self.multiply_by_inputs else one)
        attributions = total / self.n_samples
        step_scores = {}
        if self.return_convergence_delta:
            step_scores["deltas"] = summed(attributions) - score_change(ctx, baseline)
        return ctx.output(attributions, step_scores=step_scores)


def interpolation_points(ctx: TorchContext, n_samples: int) -> np.ndarray:
    """(K, B) uniform on [0, 1), each text from its own generator."""
    points = [np.random.default_rng([*ctx.text_key(b), 2]).random(n_samples) for b in range(len(ctx.batch))]
    return np.stack(points, axis=1)


def lerp(start: InputTensors, end: InputTensors, alpha: np.ndarray) -> InputTensors:
    """start + alpha · (end - start), one alpha (B,) a text."""

    def weigh(x: torch.Tensor) -> torch.Tensor:
        return x * torch.as_tensor(alpha, dtype=x.dtype, device=x.device)[:, None, None]

    return start + (end - start).map(weigh)


def stacked(copies: list[InputTensors]) -> InputTensors:
    """K copies of the batch, one after the other."""
    sides = [torch.cat(sides) for sides in zip(*(c.sides() for c in copies), strict=True)]
    return copies[0].with_sides(tuple(sides))
