"""Plain data: what can be written to a file as it is, and read back by anyone.

None, booleans, integers, floats, strings, lists and string-keyed dicts. Everything else becomes one of
these, or its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

_MAX_DEPTH = 32


def items_of(value: Any) -> Sequence[Any] | None:
    """The items of a list, of an array with one axis or of a column of a table, in their order.

    Returns:
        None for everything else: one text, mappings, tables, sets (which have no order) and generators (which
        can be read once).
    """
    if isinstance(value, (str, bytes, bytearray, Mapping)):
        return None
    if isinstance(value, Sequence):
        return value
    if getattr(value, "ndim", 1) != 1 or hasattr(value, "columns"):
        return None
    # numpy, torch and pandas; polars; arrow
    listed = next((getattr(value, n) for n in ("tolist", "to_list", "to_pylist") if hasattr(value, n)), None)
    found = listed() if callable(listed) else None
    return found if isinstance(found, list) else None


def as_plain(value: Any, depth: int = 0) -> Any:
    """``value`` as plain data; functions and classes by their names, other objects by their ``repr``, or their class
    where that is several lines.
    """
    if value is None or isinstance(value, (bool, str)):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if depth >= _MAX_DEPTH:
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): as_plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item, depth + 1) for item in value]
    if isinstance(value, Set):
        return sorted((as_plain(item, depth + 1) for item in value), key=repr)
    try:
        if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
            return as_plain(value.tolist(), depth + 1)
        name = getattr(value, "__qualname__", None)
        text = str(name) if name else repr(value)
    except (Exception, SystemExit):  # what it holds is no reason to lose a result
        text = "\n"
    return text if "\n" not in text else f"<{type(value).__name__}>"  # a module prints all of its layers


def as_plain_dict(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """A plain dict; None gives an empty one."""
    plain = as_plain(values or {})
    return plain if isinstance(plain, dict) else {}


def as_plain_tuple(values: Any) -> tuple[Any, ...]:
    """A tuple of plain values; one text is one value, never its characters."""
    if values is None:
        return ()
    return (values,) if isinstance(values, str) else tuple(as_plain(v) for v in values)


def same_plain(a: Any, b: Any) -> bool:
    """Equal plain data; NaN equals NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_plain(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_plain(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)
