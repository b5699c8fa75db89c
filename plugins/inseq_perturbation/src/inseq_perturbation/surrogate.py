"""Linear models of a score in which features are kept: weighted ridge and lasso, and how well they fit.

Axes: P samples, F features, R rows (outputs of the model).
"""

from __future__ import annotations

import warnings

import attrs
import numpy as np


@attrs.frozen(kw_only=True, eq=False)
class LinearFit:
    """``y ≈ intercept + x · coefficients``.

    Attributes:
        coefficients: (F, R). intercept: (R,).
        r2: (R,) share of the weighted variance of y that is explained; 1 where y does not vary.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    r2: np.ndarray


def ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray, alpha: float) -> LinearFit:
    """Minimise Σ w (y − b − x·c)² + alpha |c|², b not penalised; exact, in whichever of primal and dual is
    smaller.

    Args:
        x: (P, F). y: (P, R). weights: (P,) >= 0. alpha: >= 0; for 0 the shortest of the best coefficients.
    """
    centre_x, centre_y = _centred(x, y, weights)
    samples, features = centre_x.shape
    if alpha == 0:
        coefficients = np.linalg.lstsq(centre_x, centre_y, rcond=None)[0]
    elif samples <= features:
        dual = np.linalg.solve(centre_x @ centre_x.T + alpha * np.eye(samples), centre_y)
        coefficients = centre_x.T @ dual
    else:
        gram = centre_x.T @ centre_x + alpha * np.eye(features)
        coefficients = np.linalg.solve(gram, centre_x.T @ centre_y)
    return _fit(x, y, weights, coefficients)


def lasso(x: np.ndarray, y: np.ndarray, weights: np.ndarray, alpha: float) -> LinearFit:
    """Minimise Σ w (y − b − x·c)² / 2 Σ w + alpha s |c|₁, with s the weighted standard deviation of each y.

    alpha therefore has no unit: what it cuts away depends on shares of the variation, not on its size.

    Args:
        x: (P, F). y: (P, R). weights: (P,) >= 0. alpha: > 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    total = max(float(weights.sum()), np.finfo(np.float64).tiny)
    centre_x, centre_y = _centred(x, y, weights / total * len(x))
    spread = np.sqrt((centre_y**2).mean(axis=0))
    coefficients = np.zeros((x.shape[1], y.shape[1]))
    varies = spread > _noise(y)
    if varies.any() and x.shape[1]:
        gram = np.ascontiguousarray(centre_x.T @ centre_x)
        model = Lasso(alpha=alpha, fit_intercept=False, precompute=gram, max_iter=5000, tol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the fit is reported by r2
            for r in np.flatnonzero(varies):
                coefficients[:, r] = model.fit(centre_x, centre_y[:, r] / spread[r]).coef_ * spread[r]
    return _fit(x, y, weights, coefficients)


def _centred(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means taken off, rows multiplied by the root of their weight."""
    total = max(float(weights.sum()), np.finfo(np.float64).tiny)
    root = np.sqrt(weights)[:, None]
    mean_x, mean_y = weights @ x / total, weights @ y / total
    return root * (x - mean_x), root * (y - mean_y)


def _fit(x: np.ndarray, y: np.ndarray, weights: np.ndarray, coefficients: np.ndarray) -> LinearFit:
    total = max(float(weights.sum()), np.finfo(np.float64).tiny)
    intercept = weights @ (y - x @ coefficients) / total
    left = weights @ (y - intercept - x @ coefficients) ** 2
    around = weights @ (y - weights @ y / total) ** 2
    varies = np.sqrt(around / total) > _noise(y)
    r2 = np.where(varies, 1.0 - left / np.where(varies, around, 1.0), 1.0)
    return LinearFit(coefficients=coefficients, intercept=intercept, r2=r2)


def _noise(y: np.ndarray) -> np.ndarray:
    """(R,) how much of a variation rounding alone makes."""
    return 1e-12 * np.abs(y).max(axis=0, initial=0.0)
