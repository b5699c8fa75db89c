"""Kernel SHAP: Shapley values by weighted regression over coalitions of features.

One set of coalitions serves every step. Each feature is kept with a probability that is itself drawn
uniformly, so that the number of kept features is uniform for *every* prefix of the text, and a step can weigh
the coalitions of its own prefix by the Shapley kernel over how likely they were. Axes: P coalitions, F
features, R rows.
"""

from __future__ import annotations

import math

import attrs
import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.batch import BoolArray
from inseq_core.data.result import MethodOutput
from inseq_perturbation.parameters import whole
from inseq_perturbation.versions import all_subsets, by_view, uniform_draws, warn_if_undetermined


@attrs.frozen(kw_only=True)
class KernelShap:
    """Shapley values as the solution of a weighted least-squares problem (Lundberg and Lee 2017, theorem 2).

    Scores of a step sum exactly to its score with everything kept minus its score with everything removed.
    Where the samples are enough for all coalitions, all are taken once, and the values are exact.

    Args:
        n_samples: versions of the text, the unchanged and the empty one among them, >= 2. Coalitions are
            drawn in pairs that complement each other.
    """

    n_samples: int = attrs.field(default=256, validator=whole(2))

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Values of features on their tokens; ``r2`` (R,) of the regression."""
        n = len(ctx.features)
        is_exact = n < 63 and 2**n <= self.n_samples
        if not is_exact:  # the empty and the whole text fix the intercept and one score
            warn_if_undetermined("kernel_shap", self.n_samples, n)
        kept = all_subsets(n)[::-1] if is_exact else self._drawn(ctx)  # the unchanged text first
        scores = ctx.removal_scores(kept)
        full, empty = scores[0], scores[-1]
        values = np.zeros((ctx.n_rows, n))
        r2 = np.ones(ctx.n_rows)
        for view in by_view(ctx):
            x = kept[1:-1, view.features]
            of_view, r2[view.rows] = shapley_regression(
                x, scores[1:-1, view.rows], empty[view.rows], full[view.rows], kernel(x, is_exact)
            )
            values[np.ix_(view.rows, view.features)] = of_view.T
        notes = {"versions": len(kept), "exact": is_exact}
        return ctx.feature_output(values, step_scores={"r2": r2}, notes=notes)

    def _drawn(self, ctx: AttributionContext) -> BoolArray:
        """(P, F): the whole text, pairs of complements, the empty text; how much is kept is spread evenly."""
        generator, n = ctx.generator(), max((self.n_samples - 2) // 2, 0)
        share = (generator.permutation(n) + generator.random(n)) / max(n, 1)
        drawn = uniform_draws(ctx, generator, n) < share[:, None]
        ends = np.ones((1, len(ctx.features)), dtype=np.bool_)
        return np.vstack([ends, drawn, ~drawn, ~ends])


def kernel(x: BoolArray, is_exact: bool) -> np.ndarray:
    """(P, F) coalitions -> (P,) weights: the Shapley kernel, divided by how likely each coalition was to be
    drawn.

    Drawn coalitions of every size are as likely as each other, and so are those of one size; enumerated ones
    all are. The empty and the full coalition weigh nothing: they are constraints.
    """
    n, size = x.shape[1], x.sum(axis=1)
    if n < 2:
        return np.zeros(len(x))
    inner = (size > 0) & (size < n)
    safe = np.where(inner, size, 1)
    weights = 1.0 / (safe * np.maximum(n - safe, 1))
    if is_exact:
        weights = weights / np.array([math.comb(n, int(k)) for k in safe], dtype=np.float64)
    return np.where(inner, weights, 0.0)


def shapley_regression(
    x: BoolArray, y: np.ndarray, empty: np.ndarray, full: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(F, R) values φ that minimise Σ w (y − empty − x·φ)² with Σ φ = full − empty, and (R,) the R² of that.

    With φ = (full − empty) / F + δ the constraint is Σ δ = 0, under which x·δ = (x − mean of x)·δ; the
    shortest solution of that regression meets it by itself.
    """
    n = x.shape[1]
    change = full - empty
    if not n:
        return np.zeros((0, len(full))), np.ones(len(full))
    share = x.mean(axis=1, keepdims=True)
    root = np.sqrt(weights)[:, None]
    centred = root * (x - share)
    rest = root * (y - empty - share * change)
    gram = centred.T @ centred
    delta = np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ (centred.T @ rest)
    left, around = ((rest - centred @ delta) ** 2).sum(axis=0), (rest**2).sum(axis=0)
    noise = (1e-12 * np.abs(y).max(axis=0, initial=0.0)) ** 2
    r2 = np.where(around > noise, 1.0 - left / np.where(around > noise, around, 1.0), 1.0)
    return change / n + delta, r2
