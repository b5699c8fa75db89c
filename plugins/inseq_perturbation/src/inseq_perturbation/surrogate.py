"""Linear models of a score in which features are kept: weighted ridge and lasso, and how well they fit.

Axes: P samples, F features, R rows (outputs of the model).
"""

from __future__ import annotations

import warnings

import attrs
import numpy as np

_SWEEPS, _STILL = 300, 1e-6
"""Coordinate descent ends when no standardised coefficient moves by more, or after so many sweeps."""


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
    Of a y that is not finite everywhere all coefficients are NaN.

    Args:
        x: (P, F). y: (P, R). weights: (P,) >= 0. alpha: > 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    total = max(float(weights.sum()), np.finfo(np.float64).tiny)
    centre_x, centre_y = _centred(x, y, weights / total * len(x))
    spread = np.sqrt((centre_y**2).mean(axis=0))
    coefficients = np.where(np.isfinite(spread), 0.0, np.full((x.shape[1], 1), np.nan))
    varies = spread > _noise(y)
    if varies.any() and x.shape[1]:
        gram = np.ascontiguousarray(centre_x.T @ centre_x)
        model = Lasso(
            alpha=alpha, fit_intercept=False, precompute=gram, max_iter=5000, tol=1e-6, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the fit is reported by r2
            for r in np.flatnonzero(varies):
                coefficients[:, r] = model.fit(centre_x, centre_y[:, r] / spread[r]).coef_ * spread[r]
    return _fit(x, y, weights, coefficients)


def sparse_fit(x: np.ndarray, y: np.ndarray, weights: np.ndarray, alpha: float) -> LinearFit:
    """Lasso on standardised features; coefficients in the units of the given ones."""
    mean = weights @ x / weights.sum()
    spread = np.sqrt(weights @ (x - mean) ** 2 / weights.sum())
    spread = np.where(spread > 0, spread, 1.0)
    fit = lasso(x / spread, y, weights, alpha)
    return attrs.evolve(fit, coefficients=fit.coefficients / spread[:, None])


def sparse_fits(x: np.ndarray, y: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Coefficients of ``sparse_fit`` for many weightings of the same samples at once, by coordinate descent.

    A resample is a weighting; a fit apiece would spend its time on checks of its inputs.

    Args:
        x: (P, F). y: (P, R). weights: (B, P) >= 0.

    Returns:
        (B, F, R).
    """
    noise = _noise(y)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)  # the variances below are differences of squares
    shares = weights / weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = shares @ x, shares @ y
    gram = np.einsum("bp,pf,pg->bfg", shares, x, x, optimize=True) - mean_x[:, :, None] * mean_x[:, None, :]
    cross = np.einsum("bp,pf,pr->bfr", shares, x, y, optimize=True) - mean_x[:, :, None] * mean_y[:, None, :]
    spread_x = np.sqrt(np.maximum(np.einsum("bff->bf", gram), 0.0))
    spread_y = np.sqrt(np.maximum(shares @ y**2 - mean_y**2, 0.0))
    is_flat = spread_y <= noise + 1e-8 * np.abs(mean_y)
    scale_x = np.where(spread_x > 1e-9, spread_x, np.inf)  # a feature that never varies gets no coefficient
    scale_y = np.where(is_flat, np.inf, spread_y)
    gram = gram / (scale_x[:, :, None] * scale_x[:, None, :])
    left = cross / (scale_x[:, :, None] * scale_y[:, None, :])  # correlation with what is not yet explained
    found = np.zeros_like(left)
    for _ in range(_SWEEPS):
        largest = 0.0
        for feature in range(x.shape[1]):
            pull = left[:, feature] + found[:, feature]
            new = np.sign(pull) * np.maximum(np.abs(pull) - alpha, 0.0)
            step = new - found[:, feature]
            left -= gram[:, :, feature, None] * step[:, None, :]
            found[:, feature] = new
            largest = max(largest, float(np.abs(step).max(initial=0.0)))
        if largest < _STILL:
            break
    return found * np.where(is_flat, 0.0, spread_y)[:, None, :] / scale_x[:, :, None]


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
