"""LIME: a linear model of a step's score around the text, in which features are kept.

One set of random versions serves every step; a step's regression is over the features of its own prefix, and
its kernel measures how much of that prefix a version keeps. Axes: P samples, F features, R rows.
"""

from __future__ import annotations

import attrs
import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.result import MethodOutput
from inseq_perturbation.parameters import above, at_least, between, one_of, whole
from inseq_perturbation.surrogate import lasso, ridge
from inseq_perturbation.versions import by_view, uniform_draws, warn_if_undetermined


@attrs.frozen(kw_only=True)
class Lime:
    """Local linear surrogate with an exponential kernel (Ribeiro et al. 2016, equation 2 and section 3.4).

    Samples are binary: a feature is kept or removed (the peer writes the id of a token into its embedding).
    Each step's R² is reported as the step score ``r2``: scores of a surrogate that does not fit mean little.

    Args:
        n_samples: versions of the text, the unchanged one among them, >= 2.
        mask_prob: probability that a feature is removed from a version.
        similarity: distance of a version from the text: "cosine" (one minus the cosine of their binary
            vectors) or "hamming" (share of features removed).
        kernel_width: σ of the kernel exp(−distance² / σ²).
        surrogate: "ridge" or "lasso".
        alpha: strength of its penalty: of the squared coefficients (ridge, >= 0; the original program has 1,
            which shrinks scores by some tenths at 50 samples), or of the absolute ones, relative to the
            score's standard deviation (lasso).
    """

    n_samples: int = attrs.field(default=50, validator=whole(2))
    mask_prob: float = attrs.field(default=0.3, validator=between(0, 1))
    similarity: str = attrs.field(default="cosine", validator=one_of("cosine", "hamming"))
    kernel_width: float = attrs.field(default=0.25, validator=above(0))
    surrogate: str = attrs.field(default="ridge", validator=one_of("ridge", "lasso"))
    alpha: float = attrs.field(default=0.01, validator=at_least(0))

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Coefficients of features on their tokens; ``r2`` (R,)."""
        warn_if_undetermined("lime", self.n_samples, len(ctx.features))
        kept = uniform_draws(ctx, ctx.generator(), self.n_samples) >= self.mask_prob
        kept[0] = True
        scores = ctx.removal_scores(kept)  # (P, R)
        coefficients = np.zeros((ctx.n_rows, len(ctx.features)))
        r2 = np.ones(ctx.n_rows)
        for view in by_view(ctx):
            x, y = kept[:, view.features].astype(np.float64), scores[:, view.rows]
            regress = lasso if self.surrogate == "lasso" and self.alpha > 0 else ridge
            fit = regress(x, y, self.weights(x), self.alpha)
            coefficients[np.ix_(view.rows, view.features)] = fit.coefficients.T
            r2[view.rows] = fit.r2
        return ctx.feature_output(coefficients, step_scores={"r2": r2}, notes={"versions": self.n_samples})

    def weights(self, x: np.ndarray) -> np.ndarray:
        """(P, F) binary samples -> (P,) kernel weights; 1 for the unchanged text."""
        share = x.mean(axis=1) if x.shape[1] else np.ones(len(x))
        distance = 1.0 - (np.sqrt(share) if self.similarity == "cosine" else share)
        return np.exp(-((distance / self.kernel_width) ** 2))
