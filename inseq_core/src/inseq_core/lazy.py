"""Names that are imported when they are first asked for.

A package gives ``lazy_names`` a table and gets its ``__getattr__`` and ``__dir__`` (PEP 562), so that
importing the package imports nothing else.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, table: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        table: public name -> module that has it, or ``"module:other_name"``; ``"module:"`` is the module
            itself.
    """

    def get(name: str) -> Any:
        path = table.get(name)
        if path is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, colon, other = path.partition(":")
        found: Any = importlib.import_module(module)
        if not colon or other:
            found = getattr(found, other or name)
        setattr(sys.modules[package], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *table})

    return get, names
