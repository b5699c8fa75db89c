"""Which features are kept in which version of a text, and which steps see which features.

Draws are made feature by feature in reading order from the text's own generator, so that neither other texts
nor what follows in this one change them. Axes: P versions, F features, R rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import attrs
import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.batch import BoolArray, IntArray
from inseq_core.errors import ApproximationWarning


def one_left_out(n: int) -> BoolArray:
    """(n + 1, n): everything kept, then each feature left out in turn."""
    return np.vstack([np.ones((1, n), dtype=np.bool_), ~np.eye(n, dtype=np.bool_)])


def all_subsets(n: int) -> BoolArray:
    """(2^n, n): version k keeps the features whose bit is set in k."""
    return (np.arange(2**n)[:, None] >> np.arange(n)[None, :]) & 1 == 1


def uniform_draws(ctx: AttributionContext, generator: np.random.Generator, n: int) -> np.ndarray:
    """(n, F) uniform on [0, 1), drawn feature by feature."""
    draws = np.empty((n, len(ctx.features)))
    order = ctx.features.reading_order()
    draws[:, order] = generator.random((len(order), n)).T
    return draws


def warn_if_undetermined(method: str, versions: int, features: int) -> None:
    """Say where versions are no more than the features, so that any linear model and its intercept fit."""
    if versions <= features:
        warnings.warn(
            f"{method}: {versions} versions of the text do not determine the scores of {features} features, and r2"
            " is high whatever the model does.\n  Use a larger n_samples, or fewer features: features='word',"
            " 'sentence', a function.",
            ApproximationWarning,
            stacklevel=3,
        )


@attrs.frozen(kw_only=True, eq=False)
class SameView:
    """Rows that see the same features.

    Attributes:
        rows: indices of the rows.
        features: indices of the features that they see.
    """

    rows: IntArray
    features: IntArray


def by_view(ctx: AttributionContext) -> Iterator[SameView]:
    """The rows, grouped by what they see: a step's surrogate is fitted over that step's own prefix."""
    views, of_row = np.unique(ctx.seen_features, axis=0, return_inverse=True)
    for k, view in enumerate(views):
        yield SameView(rows=np.flatnonzero(of_row.reshape(-1) == k), features=np.flatnonzero(view))
