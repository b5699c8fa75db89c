"""What parameters of these methods may be. Each refusal shows the value and says what would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

QUADRATURES = ("gausslegendre", "riemann_right", "riemann_left", "riemann_middle", "riemann_trapezoid")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An integer >= 1."""
    if not _is_count(value):
        raise ValueError(f"{attribute.name} = {value!r}: expected an integer >= 1.")


def optional_at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """None, or an integer >= 1."""
    if value is not None:
        at_least_one(instance, attribute, value)


def nodes(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An integer >= 1, or "auto"."""
    if value != "auto" and not _is_count(value):
        raise ValueError(f'{attribute.name} = {value!r}: expected an integer >= 1, or "auto".')


def known_quadrature(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """One of Captum's quadrature rules."""
    if value not in QUADRATURES:
        raise ValueError(f"{attribute.name} = {value!r}: expected one of {', '.join(QUADRATURES)}.")


def not_negative(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A finite number >= 0."""
    if not _is_number(value) or value < 0:
        raise ValueError(f"{attribute.name} = {value!r}: expected a number >= 0.")


def positive(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A finite number > 0."""
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{attribute.name} = {value!r}: expected a number > 0.")


def arguments_by_name(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A dict of arguments by name."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{attribute.name} = {value!r}: expected a dict of arguments by name.")


def baselines(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A baseline by its name, as a token, a text or an id, or a list of them."""
    every = value if isinstance(value, (list, tuple)) and value else (value,)
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in every):
        raise ValueError(
            f'{attribute.name} = {value!r}: expected "unk", "pad", "mask", "eos", "zero", "mean", a token, a text, '
            "or a list of them."
        )
