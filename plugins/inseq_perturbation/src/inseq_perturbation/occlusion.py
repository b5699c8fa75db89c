"""Occlusion: what a step's score loses when a part of its input is removed.

Every version of the text answers for every step, so F features cost F + 1 versions whatever the number of
steps. Axes: W windows, F features, R rows.
"""

from __future__ import annotations

import attrs
import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.batch import BoolArray
from inseq_core.data.features import FeatureSet
from inseq_core.data.result import MethodOutput
from inseq_core.errors import invalid
from inseq_perturbation.parameters import whole
from inseq_perturbation.versions import one_left_out


@attrs.frozen(kw_only=True)
class Occlusion:
    """Change of score when a window of features is removed (Zeiler and Fergus 2014, section 4.2; here on
    tokens).

    The score of a feature is the mean over the windows that cover it. Its sign is kept (the peer drops it):
    positive means that the feature supported the step.

    Args:
        window: features of one side removed together, >= 1.
        strides: features from the beginning of one window to that of the next, from 1 to ``window``.
    """

    window: int = attrs.field(default=1, validator=whole(1))
    strides: int = attrs.field(default=1, validator=whole(1))

    def __attrs_post_init__(self) -> None:
        if self.strides > self.window:
            raise invalid(
                "strides", self.strides, f"at most window = {self.window}: nothing may be passed over"
            )

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Scores of features on their tokens, from one version a window and the text itself."""
        windows = self.windows(ctx.features)
        scores = ctx.removal_scores(np.vstack([np.ones_like(windows[:1]), ~windows]))
        change = scores[0] - scores[1:]  # (W, R)
        covers = windows.astype(np.float64)
        means = (change.T @ covers) / np.maximum(covers.sum(axis=0), 1.0)
        return ctx.feature_output(means * ctx.seen_features, notes={"versions": len(scores)})

    def windows(self, features: FeatureSet) -> BoolArray:
        """(W, F) which features each window covers: consecutive ones of one side, cut where that side ends.

        One begins at every ``strides``-th feature up to the last, so that a step's windows are those that its own
        prefix would have.
        """
        order = features.reading_order()
        covers = []
        for side in ("source", "target"):
            own = [f for f in order.tolist() if features.features[f].side == side]
            for start in range(0, len(own), self.strides):
                window = np.zeros(len(features), dtype=np.bool_)
                window[own[start : start + self.window]] = True
                covers.append(window)
        return np.stack(covers)


@attrs.frozen(kw_only=True)
class LeaveOneOut:
    """Change of score when one feature is removed (Li et al. 2016, equation 1, as a difference of scores)."""

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Scores of features on their tokens, from one version a feature and the text itself."""
        scores = ctx.removal_scores(one_left_out(len(ctx.features)))
        change = (scores[0] - scores[1:]).T  # (R, F)
        return ctx.feature_output(change * ctx.seen_features, notes={"versions": len(scores)})
