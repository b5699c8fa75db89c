"""Attributions as a matplotlib figure, for papers: one heatmap a text, in the same colours as everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inseq_core.errors import MissingPackageError
from inseq_core.view.colors import LIGHT, ColorScale, Rgb, hues, text_color
from inseq_core.view.plan import Look, PlannedText, TablePlan
from inseq_core.view.readable import ShownToken
from inseq_core.view.table import ScoreTable, missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 0.42
"""Inches of a cell with its number in it."""
_MOST_NUMBERS = 1200
"""Cells with numbers in them; a figure with more shows colours only."""


def figure_of(plan: TablePlan) -> Figure:
    """The figure, not attached to any window; of trailing axes, the entries that a page begins with.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "A figure needs 'matplotlib', which is not installed.\n  pip install 'inseq[plots]'"
        ) from error
    heights = [max(1, _rows(text.table)) * _CELL * 0.62 + 1.3 for text in plan.texts]
    width = max(len(text.table.steps) for text in plan.texts) * _CELL + 2.6
    figure = Figure(figsize=(max(4.0, width), sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    charts = figure.subplots(len(plan.texts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for text, chart in zip(plan.texts, charts, strict=True):
        _draw(chart, text, plan.looks[text.reduced(text.first)])
    facts = ", ".join(f"{name.lower()} {value}" for name, value in plan.heading.facts)
    if facts:
        figure.suptitle(_literal(facts), fontsize=9)
    return figure


def _rows(table: ScoreTable) -> int:
    return sum(len(group.positions) for group in table.groups)


def _draw(chart: Axes, text: PlannedText, look: Look) -> None:
    table, n_rows = text.table, _rows(text.table)
    groups = [group.entry(text.first) for group in table.groups]
    picture = np.ones((n_rows, len(table.steps), 3))
    with_numbers = picture.size <= 3 * _MOST_NUMBERS
    top = 0
    for group in groups:
        undefined = missing(group)
        for (i, k), level in np.ndenumerate(look.colors.levels(group.values)):
            color = _color(int(level), look.colors)
            picture[top + i, k] = np.array(color) / 255
            written = "n/a" if undefined[i, k] else look.numbers.text(float(group.values[i, k]))
            if with_numbers and written:
                ink = np.array(text_color(color)) / 255
                chart.text(k, top + i, written, ha="center", va="center", fontsize=6, color=tuple(ink))
        top += len(group.positions)
        if top < n_rows:
            chart.axhline(top - 0.5, color="black", linewidth=0.8)
    if picture.size:
        chart.imshow(picture, aspect="auto", interpolation="nearest")
    chart.set_xticks(range(len(table.steps)), [_label(t) for t in table.columns], rotation=90, fontsize=7)
    labels = [_label(token) for group in table.groups for token in table.tokens(group)]
    chart.set_yticks(range(n_rows), labels, fontsize=7)
    chart.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in chart.spines.values():
        spine.set_visible(False)
    chart.set_xlabel(
        f"scores from {look.numbers.text(look.colors.low)} to {look.numbers.text(look.colors.high)}"
        f" {look.numbers.factor}".rstrip(),
        fontsize=7,
    )


def _color(level: int, scale: ColorScale) -> Rgb:
    if not level:
        return (255, 255, 255)
    above, below = hues(scale)
    return LIGHT.shade(abs(level), hue=above if level > 0 else below)


def _label(token: ShownToken) -> str:
    return _literal(token.label if len(token.label) <= 24 else token.label[:23] + "…")


def _literal(text: str) -> Any:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")
