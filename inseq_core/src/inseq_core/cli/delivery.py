"""What happens to a result: it is saved, drawn and shown, each of them also where another fails.

In this order: a terminal that is full or gone must not cost a result that took hours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inseq_core.errors import InseqError
from inseq_core.hooks.provenance import one_line

if TYPE_CHECKING:
    from inseq_core.data.output import FeatureAttributionOutput

Way = Callable[[], object]


def deliver(
    shown: FeatureAttributionOutput,
    kept: FeatureAttributionOutput,
    options: dict[str, Any],
) -> None:
    """Save one result, and draw and show one, by one score a token, which may be the same."""

    def draw(path: str) -> None:
        from inseq_core.store.whole import write_whole

        page = shown.show(display=False, return_html=True)
        write_whole(Path(path), lambda: page.encode("utf-8"), overwrite=True)

    deliver_by(
        options,
        save=lambda path: kept.save(path, overwrite=True),
        draw=draw,
        show=None if options["hide_attributions"] else shown.show,
    )


def deliver_by(
    options: dict[str, Any],
    *,
    save: Callable[[str], object],
    draw: Callable[[str], object],
    show: Way | None,
) -> None:
    """Do what the options ask for, each thing also where the one before fails.

    Raises:
        Exception: what failed last; what failed before is said.
    """
    ways: list[Way] = []
    for name, label, write in (("save_path", "Saved", save), ("viz_path", "Picture", draw)):
        if options[name]:
            ways.append(_written(write, options[name], label))
    _each([*ways, show] if show is not None else ways)


def _written(write: Callable[[str], object], path: str, label: str) -> Way:
    def way() -> None:
        write(path)
        click.echo(f"{label}: {path}", err=True)

    return way


def _each(ways: list[Way]) -> None:
    failures: list[Exception] = []
    for way in ways:
        try:
            way()
        except Exception as error:
            failures.append(error)
    for earlier in failures[:-1]:
        message = str(earlier) if isinstance(earlier, (InseqError, OSError)) else one_line(earlier)
        click.echo(f"Error: {message}", err=True)
    if failures:
        raise failures[-1]
