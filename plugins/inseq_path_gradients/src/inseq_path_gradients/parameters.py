"""What parameters of path methods may be."""

from __future__ import annotations

from typing import Any

import attrs

STRATEGIES = ("greedy", "maxcount")


def at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An integer >= 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{attribute.name} = {value!r}: expected an integer >= 1.")


def known_strategy(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """One of the strategies of the paper."""
    if value not in STRATEGIES:
        raise ValueError(f"{attribute.name} = {value!r}: expected one of {', '.join(STRATEGIES)}.")
