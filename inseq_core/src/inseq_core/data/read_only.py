"""Dicts of frozen records: whoever holds a result cannot change it for everyone else who does."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class ReadOnlyDict(dict[Key, Value]):
    """A dict that is not changed once it is made: equal to others, and written as JSON, like any dict.

    ``{**it}`` and ``it.copy()`` are ordinary dicts.
    """

    __slots__ = ()

    def _refuse(self, *arguments: Any, **keywords: Any) -> NoReturn:
        raise TypeError(
            "The dicts of a result cannot be changed.\n"
            "  Make a new result: attrs.evolve(result, step_scores={**result.step_scores, 'name': values})."
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made whole, not item by item."""
        return type(self), (dict(self),)


def read_only(value: Any) -> Any:
    """Plain data with its dicts, at any depth, as ``ReadOnlyDict``."""
    if isinstance(value, dict):
        return ReadOnlyDict({key: read_only(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(read_only(item) for item in value)
    return value
