"""ContextCite: a sparse linear model of a step's score in which parts of the context are kept.

Random versions keep each part with one probability; a lasso over a few dozen of them finds the few parts that
matter. Axes: P samples, F features, R rows, B bootstrap resamples.
"""

from __future__ import annotations

import attrs
import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.contracts.step_function import BoundStepFunction
from inseq_core.data.result import MethodOutput
from inseq_core.errors import InvalidArgumentError
from inseq_perturbation.parameters import above, between, one_of, whole
from inseq_perturbation.surrogate import sparse_fit, sparse_fits
from inseq_perturbation.versions import by_view, uniform_draws

LOWEST, HIGHEST = 1e-30, -1e-7
"""Probabilities are kept above, their logarithms below these: float32 rounds a probability of 1 − 10⁻⁸ to 1."""


_BUDGET = 64 * 2**20
"""Bytes of the features' products (B, F, F) held at once."""


@attrs.frozen(kw_only=True)
class ContextCite:
    """Sparse linear surrogate over context parts (Cohen-Wang et al. 2024, section 3).

    Every step has its own surrogate, from the same versions; its R² on them is the step score ``r2``. The
    paper scores whole responses: ``steps="sum", logprob=True, scale="logprob"``.

    Args:
        n_samples: versions of the text, >= 2.
        keep_prob: probability that a part is kept in a version.
        alpha: strength of the L1 penalty on standardised parts and scores, as in the paper's program.
        scale: "auto" is "logit" or "logprob" where the attributed function declares that it is a probability, else
            "none"; "logit" regresses ln(p / (1 − p)) of an attributed function that is a probability p, as the
            paper does, "logprob" the same of one that is ln p; "none" the attributed function as it is.
        n_bootstrap: resamples of the versions from which each score's interval comes; 0 for none.
        confidence: share of the resamples inside an interval; its ends are in
            ``sequence_scores["interval_low"]`` and ``["interval_high"]``.
    """

    n_samples: int = attrs.field(default=64, validator=whole(2))
    keep_prob: float = attrs.field(default=0.5, validator=between(0, 1))
    alpha: float = attrs.field(default=0.01, validator=above(0))
    scale: str = attrs.field(default="auto", validator=one_of("auto", "logit", "logprob", "none"))
    n_bootstrap: int = attrs.field(default=100, validator=whole(0))
    confidence: float = attrs.field(default=0.95, validator=between(0, 1))

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Coefficients of features on their tokens, their intervals' ends beside them; ``r2`` (R,)."""
        generator = ctx.generator()
        resamples = generator.integers(self.n_samples, size=(self.n_bootstrap, self.n_samples))
        kept = uniform_draws(ctx, generator, self.n_samples) < self.keep_prob
        scale, scores = self.scale, ctx.removal_scores(kept)
        if scale == "auto":
            scale = scale_of(ctx.request.attributed, scores)
        scores = scaled(scores, scale, ctx.request.attributed.name)
        shape = (ctx.n_rows, len(ctx.features))
        values, low, high, r2 = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(ctx.n_rows)
        for view in by_view(ctx):
            x, y = kept[:, view.features].astype(np.float64), scores[:, view.rows]
            cells = np.ix_(view.rows, view.features)
            fit = sparse_fit(x, y, np.ones(len(x)), self.alpha)
            values[cells], r2[view.rows] = fit.coefficients.T, fit.r2
            if self.n_bootstrap:
                low[cells], high[cells] = self._interval(x, y, resamples)
        beside = {"interval_low": low, "interval_high": high} if self.n_bootstrap else {}
        notes = {"versions": self.n_samples, "scale": scale}
        return ctx.feature_output(values, step_scores={"r2": r2}, beside=beside, notes=notes)

    def _interval(self, x: np.ndarray, y: np.ndarray, resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(R, F) ends of the percentile intervals of the coefficients over resampled versions."""
        weights = np.stack([np.bincount(chosen, minlength=len(x)) for chosen in resamples]).astype(np.float64)
        at_once = max(_BUDGET // (8 * max(x.shape[1] ** 2, 1)), 1)
        parts = [weights[i : i + at_once] for i in range(0, len(weights), at_once)]
        found = np.concatenate([sparse_fits(x, y, part, self.alpha) for part in parts])
        edge = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(found, [edge, 1.0 - edge], axis=0)
        return low.T, high.T


def scale_of(attributed: BoundStepFunction, scores: np.ndarray) -> str:
    """The scale of an attributed function that declares its range: a probability is regressed as its logit."""
    is_probability = attributed.spec is not None and attributed.spec.range.startswith("[0, 1]")
    in_logarithms = bool(attributed.arguments.get("logprob"))
    top = 0.0 if in_logarithms else 1.0
    if not is_probability or (scores > top + 1e-6).any():  # the sum of several probabilities is none
        return "none"
    return "logprob" if in_logarithms else "logit"


def scaled(scores: np.ndarray, scale: str, name: str) -> np.ndarray:
    """Scores as they are regressed.

    Raises:
        InvalidArgumentError: the logit of what is no probability.
    """
    if scale == "none":
        return scores
    low, high, what = (0.0, 1.0, "p") if scale == "logit" else (-np.inf, 0.0, "ln p")
    outside = scores[(scores < low) | (scores > high + 1e-6)]
    if outside.size:
        raise InvalidArgumentError(
            f"scale = {scale!r} needs a probability ({what}), but {name!r} gave {outside.flat[0]:.4g}.\n"
            "  Use scale='none', or attributed_fn='probability' (scale='logprob' with logprob=True)."
        )
    log_p = scores if scale == "logprob" else np.log(np.maximum(scores, LOWEST))
    log_p = np.minimum(log_p, HIGHEST)
    return log_p - np.log(-np.expm1(log_p))
