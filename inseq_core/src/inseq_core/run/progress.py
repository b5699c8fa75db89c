"""Progress, on a terminal's standard error only.

Axes: R rows; a step of the bar is one attributed step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


def _stay(rows: int) -> None:
    """No bar to move."""


@contextmanager
def progress(
    title: str, total: int, *, show: bool = True, pretty: bool = True, unit: str = "steps"
) -> Iterator[Advance]:
    """A bar that is told how many steps are done.

    Args:
        title: what is being done.
        total: how many steps there are.
        show: no bar at all where False, or where standard error is not a terminal.
        pretty: a coloured bar with the time left; a plain counter where False.
        unit: what is counted.
    """
    if not show or not total or not sys.stderr.isatty():
        yield _stay
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    name = TextColumn("{task.description}", markup=False)
    columns = (
        (SpinnerColumn(), name, BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
        if pretty
        else (name, MofNCompleteColumn(), TextColumn(unit))
    )
    with Progress(*columns, console=Console(stderr=True, no_color=not pretty or None), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda rows: bar.advance(task, rows)
