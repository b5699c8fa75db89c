"""What every built-in aggregator is: a frozen record of parameters, shown by those that are not defaults."""

from __future__ import annotations

import sys
import warnings
from typing import Any, ClassVar

import attrs

from inseq_core.errors import MeaningWarning, invalid


@attrs.frozen(repr=False)
class AggregatorRecord:
    """Base of the built-in aggregators; ``name`` is the id."""

    name: ClassVar[str] = ""

    def __repr__(self) -> str:
        """``subwords(aggregate_fn='sum')``: the id, and the parameters that are not at their defaults."""
        given = []
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if value is not field.default and value != field.default:
                given.append(f"{field.name}={_shown(value)}")
        return f"{self.name}({', '.join(given)})"


def _shown(value: Any) -> str:
    name = getattr(value, "__name__", None)
    text = name if callable(value) and name else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def optional_function(value: Any) -> Any:
    """An aggregation function's id or a callable, None kept.

    Raises:
        InvalidArgumentError: something else.
    """
    if value is None or isinstance(value, str) or callable(value):
        return value
    raise invalid("aggregate_fn", value, "the id of an aggregation function, or fn(array, axis)")


def flag(default: bool) -> Any:
    """A parameter that is True or False."""
    return attrs.field(default=default, validator=_is_flag)


def optional_flag() -> Any:
    """A parameter that is True, False or None, which is its default."""
    return attrs.field(default=None, validator=attrs.validators.optional(_is_flag))


def _is_flag(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise invalid(attribute.name, value, "True or False")


def warn_of_meaning(message: str) -> None:
    """A ``MeaningWarning`` that points at the line outside inseq that asked for it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("inseq"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, MeaningWarning, stacklevel=level)
