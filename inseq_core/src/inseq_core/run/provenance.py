"""Where and how a call ran: versions, work done, and the warnings given on the way."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from inseq_core.errors import InseqWarning
from inseq_core.version import __version__


def versions() -> dict[str, str]:
    """Versions of what every call runs on."""
    return {"inseq-core": __version__, "python": platform.python_version(), "numpy": np.__version__}


def spent(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """The work done between two readings of an adapter's counts."""
    return {
        name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)
    }


@contextmanager
def told_warnings() -> Iterator[list[str]]:
    """Texts of our own warnings given inside the block; they are shown as always."""
    told: list[str] = []
    show = warnings.showwarning

    def keep(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        if issubclass(category, InseqWarning):
            told.append(str(message))
        show(message, category, *args, **kwargs)

    # Not catch_warnings: it would make every library repeat in each call what it says once.
    warnings.showwarning = keep
    try:
        yield told
    finally:
        warnings.showwarning = show
