"""Shapley values: the mean change that a feature makes, over all orders in which features could come back.

Exact by all subsets up to 12 features; otherwise from permutations, each with its reverse, until the standard
errors are small enough. A step's order is that of the features it sees: the others change nothing for it, so
one set of permutations serves every step. Axes: K permutations, P versions, F features, R rows.
"""

from __future__ import annotations

import math
import warnings

import attrs
import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.batch import BoolArray
from inseq_core.data.result import MethodOutput
from inseq_core.errors import ApproximationWarning, InvalidArgumentError
from inseq_perturbation.parameters import at_least, flag, optional_flag, whole
from inseq_perturbation.versions import all_subsets, uniform_draws

EXACT_FEATURES = 12
"""Features up to which all subsets are run: 4,096 versions."""

FIRST_LOOK = 8
"""Samples before which no standard error is believed."""


@attrs.frozen(kw_only=True)
class Shapley:
    """Shapley values (Shapley 1953; sampled by permutations as in Štrumbelj and Kononenko 2010, with
    antithetic pairs as in Mitchell et al. 2022, section 4.2).

    Scores of a step sum to its score with everything kept minus its score with everything removed, also when
    sampled. The standard error of each score is in ``sequence_scores["standard_error"]`` (0 where exact).

    Args:
        exact: run all subsets; by default where there are at most 12 features.
        n_samples: permutations at most, reversed ones not counted, >= 2.
        antithetic: run each permutation's reverse too; their mean is one sample.
        tolerance: a step is done when its largest standard error is this share of its largest score; 0: never
            before ``n_samples``.
    """

    exact: bool | None = attrs.field(default=None, validator=optional_flag)
    n_samples: int = attrs.field(default=32, validator=whole(2))
    antithetic: bool = attrs.field(default=True, validator=flag)
    tolerance: float = attrs.field(default=0.05, validator=at_least(0))

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Values of features on their tokens, with standard errors beside them."""
        n = len(ctx.features)
        if self.exact and n > EXACT_FEATURES:
            raise InvalidArgumentError(
                f"exact = True: exact Shapley values of {n} features need {2**n:,} evaluations of the model;"
                f" they are offered up to {EXACT_FEATURES} features.\n"
                "  Use exact=False (sampled, with standard errors), kernel_shap, or fewer features:"
                " features='word', 'sentence', a function."
            )
        if n <= EXACT_FEATURES if self.exact is None else self.exact:
            values = subset_values(ctx.removal_scores(all_subsets(n)))
            errors, notes = np.zeros_like(values), {"versions": 2**n, "exact": True}
        else:
            values, errors, notes = self._sampled(ctx)
        seen = ctx.seen_features
        return ctx.feature_output(values * seen, beside={"standard_error": errors * seen}, notes=notes)

    def _sampled(self, ctx: AttributionContext) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
        """(R, F) means and standard errors; each step keeps what it had when it was done, whatever others
        need."""
        n = len(ctx.features)
        ends = np.stack([np.zeros(n, dtype=np.bool_), np.ones(n, dtype=np.bool_)])
        empty, full = ctx.removal_scores(ends)
        orders = uniform_draws(ctx, ctx.generator(), self.n_samples).argsort(axis=1)
        total, squares = np.zeros((ctx.n_rows, n)), np.zeros((ctx.n_rows, n))
        values, errors = np.zeros_like(total), np.zeros_like(total)
        is_open = np.ones(ctx.n_rows, dtype=np.bool_)
        versions = 2
        at_once = max(256 // max(n, 1), 1)
        for start in range(0, self.n_samples, at_once):
            some = orders[start : start + at_once]
            ways = (
                np.stack([some, some[:, ::-1]], axis=1) if self.antithetic else some[:, None]
            )  # (K, 1 or 2, F)
            kept = np.concatenate([growing(order) for order in ways.reshape(-1, n)])
            scores = ctx.removal_scores(kept).reshape(*ways.shape[:2], n - 1, ctx.n_rows)
            versions += len(kept)
            for k, (orders_k, scores_k) in enumerate(zip(ways, scores, strict=True), start + 1):
                sample = np.mean(
                    [gains(o, s, empty, full) for o, s in zip(orders_k, scores_k, strict=True)], axis=0
                )
                total, squares = total + sample, squares + sample**2
                mean = total / k
                variance = np.maximum(squares - k * mean**2, 0.0) / max(k - 1, 1)
                error = np.sqrt(variance / k)
                values[is_open], errors[is_open] = mean[is_open], error[is_open]
                if k >= FIRST_LOOK:
                    is_open &= error.max(axis=1) > self.tolerance * np.abs(mean).max(axis=1)
            if not is_open.any():
                break
        worst = errors.max(axis=1) / np.maximum(np.abs(values).max(axis=1), np.finfo(np.float64).tiny)
        is_open &= worst > self.tolerance
        if self.tolerance and is_open.any():
            warnings.warn(
                f"shapley: {int(is_open.sum())} of {ctx.n_rows} steps did not reach tolerance"
                f" {self.tolerance:g} within {self.n_samples} permutations (largest standard error"
                f" {worst[is_open].max():.2g} of the largest score).\n  Their standard errors are in sequence_scores; "
                f"more"
                " n_samples make them smaller.",
                ApproximationWarning,
                stacklevel=2,
            )
        return values, errors, {"versions": versions, "exact": False}


def subset_values(scores: np.ndarray) -> np.ndarray:
    """(2^F, R) scores of all subsets, the features of subset k in its bits -> (R, F) Shapley values."""
    n = int(math.log2(len(scores)))
    subsets = np.arange(len(scores))
    sizes = all_subsets(n).sum(axis=1)
    weight = np.array([1.0 / (n * math.comb(n - 1, size)) for size in range(n)])
    values = np.empty((scores.shape[1], n))
    for feature in range(n):
        without = subsets[(subsets >> feature) & 1 == 0]
        gain = scores[without | (1 << feature)] - scores[without]
        values[:, feature] = weight[sizes[without]] @ gain
    return values


def growing(order: np.ndarray) -> BoolArray:
    """(F,) an order -> (F - 1, F): its first feature kept, its first two, … all but its last."""
    rank = np.argsort(order)
    return rank[None, :] < np.arange(1, len(order))[:, None]


def gains(order: np.ndarray, scores: np.ndarray, empty: np.ndarray, full: np.ndarray) -> np.ndarray:
    """(R, F) what each feature adds when the features come back in an order; scores (F - 1, R) on the way."""
    path = np.vstack([empty[None], scores, full[None]])
    added = np.empty((path.shape[1], len(order)))
    added[:, order] = np.diff(path, axis=0).T
    return added
