"""The version: that of the installed distribution inseq-core."""

from __future__ import annotations

import functools


@functools.cache
def get_version() -> str:
    """Version string of inseq-core; ``"0+unknown"`` where it runs without having been installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("inseq-core")
    except PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str) -> str:
    if name == "__version__":
        return get_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
