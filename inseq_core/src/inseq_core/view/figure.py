"""Attributions as a matplotlib figure, for papers: one heatmap a text, in the same colours as everywhere.

Rows are inputs under the names of their groups, columns are steps; a strip below has the step scores. A
large text has smaller cells, without numbers and with fewer names, never a figure that fits on no paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.data.scores import ScoreArray
from inseq_core.errors import MissingPackageError
from inseq_core.view.colors import GREEN, LEVELS, LIGHT, ColorScale, Rgb, hues, text_color
from inseq_core.view.fonts import Lettering
from inseq_core.view.measures import measure_scales
from inseq_core.view.numbers import compact
from inseq_core.view.plan import Look, PlannedText, TablePlan
from inseq_core.view.readable import ShownToken
from inseq_core.view.table import RowGroup, ScoreTable, missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = (0.42, 0.26)
"""Inches of a cell with its number in it: width and height."""
_SQUARE = (0.16, 0.16)
"""Inches of a cell without."""
_MOST_NUMBERS = 1200
_MOST_STEPS = 40
"""Cells, and steps, with numbers in them; a text with more shows colours only."""
_LARGEST = (16.0, 20.0)
"""Inches of one heatmap; its cells shrink to fit."""
_TALLEST = 50.0
"""Inches of a figure; texts that do not fit are left out, with a note."""
_LINE = 0.12
"""Inches that a name needs to be read."""
_LETTER = 0.065
"""Inches of a letter of a name."""
_LONGEST_NAME = 24
_NAMES, _SMALL, _NUMBERS = 7, 6.5, 6
"""Points of letters: names, the legend, and what stands in cells."""
_WHITE: Rgb = (255, 255, 255)
_ABSENT: Rgb = (234, 236, 241)


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
    charts = _fitting([_Chart.of(text, plan.looks[text.reduced(text.first)]) for text in plan.texts])
    facts = ", ".join(f"{name.lower()} {value}" for name, value in plan.heading.facts)
    letters = Lettering.of([facts, *(word for chart in charts for word in chart.words)])
    width = max([4.5, *(chart.width for chart in charts)])
    figure = Figure(figsize=(width, sum(chart.height for chart in charts) + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    _draw_all(figure, charts, letters)
    notes = _notes(charts, len(plan.texts))
    if notes:
        figure.supxlabel(" ".join(notes), x=0.01, ha="left", fontsize=_SMALL)
    if facts:
        figure.suptitle(letters.drawn(facts), fontsize=9, fontfamily=letters.families)
    return figure


@attrs.frozen(kw_only=True, eq=False)
class _Chart:
    """One text's heatmap before it is drawn.

    Attributes:
        groups: with one entry of each trailing axis.
        cell: inches of a cell, width and height.
    """

    table: ScoreTable
    look: Look
    groups: tuple[RowGroup, ...]
    has_numbers: bool
    cell: tuple[float, float]

    @classmethod
    def of(cls, text: PlannedText, look: Look) -> _Chart:
        table = text.table
        n_rows, n_steps = sum(len(group.positions) + 1 for group in table.groups), len(table.steps)
        has_numbers = n_rows * n_steps <= _MOST_NUMBERS and n_steps <= _MOST_STEPS
        cell = _CELL if has_numbers else _SQUARE
        return cls(
            table=table,
            look=look,
            groups=tuple(group.entry(text.first) for group in table.groups),
            has_numbers=has_numbers,
            cell=(min(cell[0], _LARGEST[0] / max(1, n_steps)), min(cell[1], _LARGEST[1] / max(1, n_rows))),
        )

    @property
    def n_rows(self) -> int:
        """Rows of inputs, and one for the name of each group."""
        return sum(len(group.positions) + 1 for group in self.groups)

    @property
    def inputs(self) -> list[str]:
        """The names of all rows."""
        return [
            name
            for group in self.groups
            for name in (group.title, *(_short(token) for token in self.table.tokens(group)))
        ]

    @property
    def steps(self) -> list[str]:
        """The names of all columns."""
        return [_short(token) for token in self.table.columns]

    @property
    def measures(self) -> list[str]:
        """The names of the strip's rows, with their ranges where there are no numbers."""
        named = []
        for name, scale in measure_scales(self.table).items():
            has_range = not self.has_numbers and scale.high > scale.low
            named.append(f"{name} ({compact(scale.low)} to {compact(scale.high)})" if has_range else name)
        return named

    @property
    def words(self) -> list[str]:
        """Everything that is written beside the cells."""
        return [*self.inputs, *self.steps, *self.measures]

    @property
    def width(self) -> float:
        """Inches of the heatmap and the names on its left."""
        names = max(map(len, [*self.inputs, *self.measures]), default=0)
        return len(self.table.steps) * self.cell[0] + names * _LETTER + 0.6

    @property
    def height(self) -> float:
        """Inches of the heatmap, the names above and the strip below."""
        names = max(map(len, self.steps), default=0)
        strip = len(self.measures) * self.measure_height
        return self.n_rows * self.cell[1] + strip + names * _LETTER + 0.6

    @property
    def measure_height(self) -> float:
        """Inches of a row of the strip, each of which has its name."""
        return max(self.cell[1], _LINE)

    @property
    def every(self) -> tuple[int, int]:
        """Of how many columns, and rows, one has its name."""
        return math.ceil(_LINE / self.cell[0]), math.ceil(_LINE / self.cell[1])

    @property
    def has_absent(self) -> bool:
        """Whether some input comes at or after a step."""
        return any(bool(group.absent.any()) for group in self.groups)

    @property
    def has_missing(self) -> bool:
        """Whether some cell that could have a score has none."""
        return any(bool(missing(group).any()) for group in self.groups)


def _fitting(charts: Sequence[_Chart]) -> Sequence[_Chart]:
    """The first charts, as many as fit in one figure; at least one."""
    heights = np.cumsum([chart.height for chart in charts])
    return charts[: max(1, int(np.searchsorted(heights, _TALLEST, side="right")))]


def _notes(charts: Sequence[_Chart], n_texts: int) -> list[str]:
    notes = []
    if len(charts) < n_texts:
        notes.append(f"The first {len(charts)} of {n_texts} texts.")
    hidden = [chart.table for chart in charts if chart.table.hidden_inputs or chart.table.hidden_steps]
    inputs, steps = sum(t.hidden_inputs for t in hidden), sum(t.hidden_steps for t in hidden)
    if inputs:
        notes.append(f"{inputs} inputs with small scores are left out.")
    if steps:
        notes.append(f"The last {steps} steps are left out.")
    for kind, every in zip(("step", "input"), np.max([chart.every for chart in charts], axis=0), strict=True):
        if every > 1:
            notes.append(f"One {kind} of {every} is named.")
    return notes


def _draw_all(figure: Figure, charts: Sequence[_Chart], letters: Lettering) -> None:
    rows: list[tuple[str, int]] = []
    for i, chart in enumerate(charts):
        rows.append(("scores", i))
        if chart.measures:
            rows.append(("measures", i))
    heights = [
        max(1, charts[i].n_rows) * charts[i].cell[1]
        if kind == "scores"
        else len(charts[i].measures) * charts[i].measure_height
        for kind, i in rows
    ]
    grid = figure.add_gridspec(len(rows) + 1, 1, height_ratios=[*heights, 0.3])
    for at, (kind, i) in enumerate(rows):
        axes = figure.add_subplot(grid[at])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if kind == "scores":
            _draw_scores(axes, charts[i], letters)
            if len(charts) > 1:
                axes.set_title(f"{i + 1} of {len(charts)}", loc="left", fontsize=8)
        else:
            _draw_measures(axes, charts[i], letters)
    _draw_legend(figure.add_subplot(grid[len(rows)]), charts, figure.get_figwidth())


def _draw_scores(axes: Axes, chart: _Chart, letters: Lettering) -> None:
    from matplotlib.collections import PolyCollection

    look, n_steps = chart.look, len(chart.table.steps)
    picture = np.full((chart.n_rows, n_steps, 3), _WHITE, dtype=np.uint8)
    holes: list[tuple[int, int]] = []
    top = 0
    for group in chart.groups:
        top += 1
        rows = picture[top : top + len(group.positions)]
        rows[:] = _colors(look.colors.levels(group.values), look.colors)
        rows[group.absent] = _ABSENT
        unscored = missing(group)
        holes += [(top + int(i), int(k)) for i, k in np.argwhere(unscored)]
        if chart.has_numbers:
            for (i, k), score in np.ndenumerate(group.values):
                written = "n/a" if unscored[i, k] else look.numbers.text(float(score))
                _write(axes, k, top + i, written, rows[i, k])
        top += len(group.positions)
    if picture.size:
        axes.imshow(picture, aspect="auto", interpolation="nearest")
    if holes:
        axes.add_collection(PolyCollection(list(_boxes(holes)), **_HATCHED))
    across, down = chart.every
    _name(axes, "x", [(k, name) for k, name in enumerate(chart.steps)][::across], letters)
    titles = set(np.cumsum([0, *(len(group.positions) + 1 for group in chart.groups)])[:-1].tolist())
    near = {title + step for title in titles for step in range(1 - down, down)} - titles
    named = [
        (i, name) for i, name in enumerate(chart.inputs) if i in titles or (i not in near and not i % down)
    ]
    _name(axes, "y", named, letters)
    for label, (i, _) in zip(axes.get_yticklabels(), named, strict=True):
        if i in titles:
            label.set(fontweight="bold", fontfamily=letters.families[0])
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("Generated tokens, one step each", fontsize=_NAMES)
    axes.set_ylabel("Inputs", fontsize=_NAMES)


_HATCHED: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.72", "hatch": "//////", "linewidth": 0}
"""How a cell looks that could have a score and has none."""


def _draw_measures(axes: Axes, chart: _Chart, letters: Lettering) -> None:
    rows = []
    for at, (name, scale) in enumerate(measure_scales(chart.table).items()):
        scores: ScoreArray = chart.table.step_scores[name]
        colors = [
            LIGHT.shade(level, hue=GREEN) if level else _WHITE for level in scale.levels(scores).tolist()
        ]
        rows.append(colors)
        if chart.has_numbers:
            for k, score in enumerate(scores.tolist()):
                _write(axes, k, at, compact(score), colors[k])
    if chart.table.steps:
        axes.imshow(np.array(rows, dtype=np.uint8), aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    _name(axes, "y", list(enumerate(chart.measures)), letters)


def _draw_legend(axes: Axes, charts: Sequence[_Chart], width: float) -> None:
    """The colour bar, and what is no score."""
    from matplotlib.patches import Patch

    axes.set_axis_off()
    look = charts[0].look
    if look.colors.high > look.colors.low:
        _draw_bar(axes.inset_axes((0.0, 0.35, min(0.5, 2.4 / width), 0.45)), look)
    elif any(chart.groups for chart in charts):
        axes.text(0, 0.5, "No score differs from zero.", fontsize=_SMALL, va="center")
    marks = []
    if any(chart.has_missing for chart in charts):
        marks.append(Patch(label="no score", **_HATCHED))
    if any(chart.has_absent for chart in charts):
        marks.append(Patch(label="at or after the step", facecolor=_part(_ABSENT)))
    if marks:
        axes.legend(handles=marks, loc="center right", fontsize=_SMALL, frameon=False)


def _draw_bar(axes: Axes, look: Look) -> None:
    colors, numbers = look.colors, look.numbers
    levels = np.arange(-LEVELS if colors.signed else 0, LEVELS + 1)
    axes.imshow(_colors(levels[None], colors), aspect="auto", interpolation="nearest")
    ends = [(-0.5, colors.low), (len(levels) - 0.5, colors.high)]
    if colors.low < 0 < colors.high:
        ends.insert(1, (LEVELS, 0.0))
    axes.set_xticks([at for at, _ in ends], [numbers.text(end) for _, end in ends], fontsize=_SMALL)
    axes.set_yticks([])
    axes.tick_params(length=2, width=0.5)
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
    axes.set_ylabel(f"score {numbers.factor}".rstrip(), fontsize=_SMALL, rotation=0, ha="right", va="center")


def _name(axes: Axes, side: str, named: Sequence[tuple[int, str]], letters: Lettering) -> None:
    places, names = [at for at, _ in named], [letters.drawn(name) for _, name in named]
    style: dict[str, Any] = {"fontsize": _NAMES, "fontfamily": letters.families}
    if side == "x":
        axes.set_xticks(places, names, rotation=90, **style)
    else:
        axes.set_yticks(places, names, **style)


def _write(axes: Axes, k: int, i: int, written: str, color: Iterable[int]) -> None:
    """A number in its cell, in black or white."""
    if written:
        red, green, blue = (int(channel) for channel in color)
        ink = _part(text_color((red, green, blue)))
        axes.text(k, i, written, ha="center", va="center", fontsize=_NUMBERS, color=ink)


def _boxes(cells: Sequence[tuple[int, int]]) -> ScoreArray:
    """(n, 4, 2) the corners of some cells."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    return np.array(cells, dtype=np.float64)[:, None, ::-1] + corners


def _colors(levels: Any, scale: ColorScale) -> Any:
    """(…, 3) the colours of levels, 0 to 255."""
    above, below = hues(scale)
    shades = [LIGHT.shade(level, hue=below) for level in range(LEVELS, 0, -1)]
    shades += [_WHITE, *(LIGHT.shade(level, hue=above) for level in range(1, LEVELS + 1))]
    return np.array(shades, dtype=np.uint8)[levels + LEVELS]


def _part(color: Rgb) -> tuple[float, float, float]:
    """A colour in parts of one, as matplotlib has it."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255


def _short(token: ShownToken) -> str:
    return token.label if len(token.label) <= _LONGEST_NAME else token.label[: _LONGEST_NAME - 1] + "…"
