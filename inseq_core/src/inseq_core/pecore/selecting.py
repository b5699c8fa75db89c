"""Which scores stand out.

A score stands out if its absolute value is at least the mean of all plus some standard deviations (Sarti et
al. 2024, section 4). Absolute values make the threshold: of scores below zero, which some metrics have where
the context helps, the peer's mean would let every token through. A score of exactly zero never stands out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROUNDING = 1e-6
"""Scores are float32: equal ones stay on one side of their mean."""


def threshold(scores: Sequence[float], std_weight: float | None) -> float:
    """Mean and ``std_weight`` standard deviations (with n - 1) of the absolute scores; 0 without a weight."""
    values = np.abs(np.asarray(scores, dtype=np.float64))
    values = values[np.isfinite(values)]
    if std_weight is None or not len(values):
        return 0.0
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) + std_weight * spread


def standing_out(scores: Sequence[float], std_weight: float | None, topk: int | None) -> tuple[int, ...]:
    """Indices of the scores that stand out, the largest first; equal ones in their order.

    Args:
        std_weight: standard deviations above the mean; None: every score but zero stands out.
        topk: no more than so many of them.
    """
    least = threshold(scores, std_weight)
    values = np.abs(np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=0.0))
    order = np.argsort(-values, kind="stable")
    chosen = [int(i) for i in order if values[i] > 0 and values[i] >= least * (1 - _ROUNDING)]
    return tuple(chosen if topk is None else chosen[:topk])
