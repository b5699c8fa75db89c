"""What parameters of these methods may be. Each refusal shows the value and says what would do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from inseq_core.errors import invalid

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole(least: int) -> Validator:
    """A whole number >= ``least``."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_whole(value) or value < least:
            raise invalid(attribute.name, value, f"a whole number of at least {least}")

    return check


def between(low: float, high: float) -> Validator:
    """A number with ``low < value < high``."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or not low < value < high:
            raise invalid(attribute.name, value, f"a number between {low:g} and {high:g}, both excluded")

    return check


def at_least(low: float) -> Validator:
    """A finite number >= ``low``."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or not low <= value < math.inf:
            raise invalid(attribute.name, value, f"a finite number of at least {low:g}")

    return check


def above(low: float) -> Validator:
    """A finite number > ``low``."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or not low < value < math.inf:
            raise invalid(attribute.name, value, f"a finite number above {low:g}")

    return check


def one_of(*names: str) -> Validator:
    """One of some names."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in names:
            raise invalid(attribute.name, value, f"one of {', '.join(names)}")

    return check


def flag(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise invalid(attribute.name, value, "True or False")


def optional_flag(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """True, False or None."""
    if value is not None:
        flag(instance, attribute, value)
