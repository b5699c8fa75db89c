"""What parameters of path methods may be, and the nodes of a straight path.

Axes: K nodes.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

QUADRATURES = ("gausslegendre", "riemann_right", "riemann_left", "riemann_middle", "riemann_trapezoid")
"""Rules that a path from 0 to 1 can be integrated by."""

STRATEGIES = ("greedy", "maxcount")


def at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An integer >= 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{attribute.name} = {value!r}: expected an integer >= 1.")


def known_strategy(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """One of the strategies of the paper."""
    if value not in STRATEGIES:
        raise ValueError(f"{attribute.name} = {value!r}: expected one of {', '.join(STRATEGIES)}.")


def known_quadrature(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """One of the quadrature rules."""
    if value not in QUADRATURES:
        raise ValueError(f"{attribute.name} = {value!r}: expected one of {', '.join(QUADRATURES)}.")


def path_nodes(rule: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (K,) on [0, 1] and their weights (K,), which sum to one.

    Args:
        rule: one of ``QUADRATURES``.
        n: K. The trapezoid of one node is its middle.
    """
    if rule == "gausslegendre":
        points, weights = np.polynomial.legendre.leggauss(n)
        return (points + 1) / 2, weights / 2
    if rule == "riemann_trapezoid" and n > 1:
        weights = np.full(n, 1 / (n - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, n), weights
    offset = {"riemann_left": 0.0, "riemann_right": 1.0}.get(rule, 0.5)
    return (np.arange(n) + offset) / n, np.full(n, 1 / n)
