"""Attributions in a terminal: a table of coloured numbers, folded to its width.

Colours are backgrounds with a text colour chosen for them, so they can be read on dark and on light
terminals. Without colours (``NO_COLOR``, a pipe, a file) the numbers say the same, and the strongest of
each step is bold where it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

import attrs
import numpy as np
from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inseq_core.data.scores import ScoreArray
from inseq_core.view.colors import LEVELS, Palette, css, terminal_palette, text_color
from inseq_core.view.colors import hues as hues_of
from inseq_core.view.granular import panels
from inseq_core.view.heading import Heading
from inseq_core.view.numbers import compact
from inseq_core.view.plan import Look, TablePlan
from inseq_core.view.readable import ShownToken, is_right_to_left, running_text
from inseq_core.view.table import RowGroup, ScoreTable, missing

MISSING = "n/a"
_HEADER_WIDTH = 8
_HEADER_LINES = 3
_TEXT_LENGTH = 400
_LEFT_TO_RIGHT = "\u200e"

_BOX = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")
"""Lines between sections, none between cells."""


@attrs.frozen(kw_only=True)
class TerminalStyle:
    """How scores are drawn: their colours and digits, and on which background."""

    look: Look
    palette: Palette
    hues: tuple[float, float]

    @classmethod
    def of(cls, look: Look, *, hues: tuple[float, float] | None = None) -> TerminalStyle:
        """A look on the background of this terminal; ``hues`` of scores above and below zero."""
        return cls(look=look, palette=terminal_palette(), hues=hues or hues_of(look.colors))

    def of_level(self, level: int) -> Style:
        """Background and text colour of a level; on some palettes the weakest have a text colour only."""
        if not level:
            return Style.null()
        shade = self.palette.shade(abs(level), hue=self.hues[0] if level > 0 else self.hues[1])
        if abs(level) < self.palette.first:
            return Style(color=css(shade))
        return Style(color=css(text_color(shade)), bgcolor=css(shade))


def draw(plan: TablePlan, width: int) -> RenderableType:
    """Every text's table, one below the other, and how to read them.

    Of scores with trailing axes, one table for each entry of one axis, the others reduced.
    """
    reduced = tuple(a != plan.shown_axis for a in range(len(plan.texts[0].axes)))
    style = TerminalStyle.of(plan.looks[reduced])
    parts: list[RenderableType] = [*title(plan.heading)]
    for number, text in enumerate(plan.texts, start=1):
        parts.append(_text_title(text.table, number, len(plan.texts)))
        if not text.axes:
            parts += [*_folded(text.table, style, width), Text()]
            continue
        for name, table in panels(text.table, text.axes, plan.shown_axis):
            parts += [Rule(name, style="dim", align="left"), *_folded(table, style, width), Text()]
        axis = text.axes[plan.shown_axis]
        if len(axis.entries) < axis.size:
            note = f"The {len(axis.entries)} of {axis.size} entries of {axis.name} with the largest scores."
            parts += [Text(note, style="dim italic"), Text()]
    parts.append(legend(plan, style))
    return Group(*parts)


def legend(plan: TablePlan, style: TerminalStyle) -> RenderableType:
    """The colours with their scores, and what they mean."""
    bar = [color_bar(style)] if any(table.groups for table in plan.tables) else []
    return Group(*bar, Text(" ".join(plan.reading), style="dim"))


def color_bar(style: TerminalStyle) -> Text:
    """Every second shade between the ends of the scale."""
    scale, numbers = style.look.colors, style.look.numbers
    bar = Text(numbers.text(scale.low) + " ", "dim")
    for level in range(-LEVELS if scale.signed else 0, LEVELS + 1, 2):
        bar.append("▄▄" if 0 < abs(level) < style.palette.first else "  ", style.of_level(level))
    return bar.append(f" {numbers.text(scale.high)} {numbers.factor}", "dim")


def title(heading: Heading) -> Iterator[RenderableType]:
    """Model, method and attributed function."""
    if heading.facts:
        line = Text()
        for i, (name, value) in enumerate(heading.facts):
            line.append("   " if i else "").append(f"{name.lower()} ", "dim").append(value, "bold")
        yield line


def _text_title(table: ScoreTable, number: int, count: int) -> RenderableType:
    lines = Table.grid(padding=(0, 2, 0, 0))
    given = running_text(table.source if table.has_source else table.target[: _first(table)])
    if given:
        lines.add_row(Text("from", "dim"), Text(_shortened(given)))
    lines.add_row(Text("to", "dim"), Text(_shortened(running_text(table.target[_first(table) :]))))
    rule = [Rule(f"{number} of {count}", style="dim", align="left")] if count > 1 else []
    return Group(Text(), *rule, lines, Text())


def _shortened(text: str) -> str:
    """A long text's beginning and end: the end of a prompt is what the model answers."""
    return (
        text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH // 2]} … {text[-_TEXT_LENGTH // 2 :]}"
    )


def _first(table: ScoreTable) -> int:
    return table.steps[0] if table.steps else len(table.target)


def _folded(table: ScoreTable, style: TerminalStyle, width: int) -> Iterator[RenderableType]:
    """The table in blocks of columns that each fit the width."""
    labels = max(
        (cell_len(token.label) for group in table.groups for token in table.tokens(group)), default=0
    )
    titles = [group.title for group in table.groups] + list(table.step_scores)
    label_width = max(4, *(min(cell_len(t), 18) for t in titles or [""]), min(labels, max(12, width // 4)))
    columns = _column_widths(table, style)
    if not columns:
        yield Text("No step was attributed.", style="dim italic")
        return
    blocks = _blocks(columns, width - label_width - 1)
    for start, stop in blocks:
        if start:
            yield Text()
        if len(blocks) > 1:
            yield Text(
                f"steps {start + 1} to {stop} of {len(columns) + table.hidden_steps}", style="dim italic"
            )
        yield _block(table, style, columns, label_width, start, stop)
    if table.hidden_steps or table.hidden_inputs:
        yield Text(f"{_left_out(table)}; max_show_size= shows more.", style="dim italic")


def _left_out(table: ScoreTable) -> str:
    parts = []
    if table.hidden_inputs:
        parts.append(f"the {table.hidden_inputs} inputs with the smallest scores")
    if table.hidden_steps:
        parts.append(f"the last {table.hidden_steps} steps")
    return "Left out: " + " and ".join(parts)


def _column_widths(table: ScoreTable, style: TerminalStyle) -> list[int]:
    widths = []
    for k, token in enumerate(table.columns):
        label = cell_len(token.label)
        cells = [2, min(-(-label // max(1, -(-label // _HEADER_WIDTH))), _HEADER_WIDTH)]
        cells += [cell_len(compact(float(scores[k]))) for scores in table.step_scores.values()]
        cells += [
            max((cell_len(text) for text in _texts(group, k, style)), default=0) for group in table.groups
        ]
        widths.append(max(cells))
    return widths


def _texts(group: RowGroup, k: int, style: TerminalStyle) -> list[str]:
    undefined = missing(group)[:, k]
    return [
        MISSING if undefined[row] else style.look.numbers.text(float(group.values[row, k]))
        for row in range(len(group.positions))
    ]


def _blocks(widths: Sequence[int], available: int) -> list[tuple[int, int]]:
    blocks, start, used = [], 0, 0
    for k, width in enumerate(widths):
        if k > start and used + width + 1 > available:
            blocks.append((start, k))
            start, used = k, 0
        used += width + 1
    return [*blocks, (start, len(widths))]


def _block(
    table: ScoreTable, style: TerminalStyle, widths: Sequence[int], label_width: int, start: int, stop: int
) -> Table:
    drawn = Table(box=_BOX, show_edge=False, pad_edge=False, padding=0, header_style="", border_style="dim")
    drawn.add_column("", width=label_width, no_wrap=True)
    for k in range(start, stop):
        drawn.add_column(
            _header(table.columns[k], widths[k]),
            width=widths[k],
            justify="right",
            vertical="bottom",
            no_wrap=True,
        )
    strongest = _strongest_scores(table)
    for group in table.groups:
        if len(table.groups) > 1:
            drawn.add_row(Text(group.title, style="bold"))
        for row, cells in enumerate(_rows(table, group, style, strongest, widths, start, stop)):
            if group.absent[row, start:stop].all():
                continue
            for extra in _between(table, group, row):
                drawn.add_row(extra)
            drawn.add_row(_row_label(table.tokens(group)[row], label_width), *cells)
        if group.hidden_at_end:
            drawn.add_row(Text(f"⋮ {group.hidden_at_end} more", style="dim"))
        drawn.add_section()
    for name, scores in table.step_scores.items():
        label = Text(_fitted(name, label_width), style="italic")
        drawn.add_row(label, *(Text(compact(float(scores[k]))) for k in range(start, stop)))
    return drawn


def _rows(
    table: ScoreTable,
    group: RowGroup,
    style: TerminalStyle,
    strongest: ScoreArray,
    widths: Sequence[int],
    start: int,
    stop: int,
) -> Iterator[list[Text]]:
    levels = style.look.colors.levels(group.values)
    undefined = missing(group)
    for row in range(len(group.positions)):
        cells = []
        for k in range(start, stop):
            score = float(group.values[row, k])
            if undefined[row, k]:
                cells.append(Text(MISSING, style="dim italic"))
                continue
            level = int(levels[row, k])
            look = style.of_level(level) if level else Style(dim=True)
            if score and abs(score) == strongest[k]:
                look += Style(bold=True, dim=False)
            cells.append(Text(f"{style.look.numbers.text(score):>{widths[k]}}", style=look))
        yield cells


def _strongest_scores(table: ScoreTable) -> ScoreArray:
    """(T,) the largest absolute score of each step."""
    every = np.concatenate(
        [np.zeros((1, len(table.steps))), *(np.abs(group.values) for group in table.groups)]
    )
    return np.nanmax(every, axis=0)


def _between(table: ScoreTable, group: RowGroup, row: int) -> Iterator[Text]:
    """What stands above a row: how many are left out, and the segment that begins there."""
    hidden = group.hidden_before(row)
    if hidden:
        yield Text(f"⋮ {hidden} more", style="dim")
    band = table.band_at(group, row)
    if band:
        yield Text(f"▌{band}", style="cyan")


def _row_label(token: ShownToken, width: int) -> Text:
    # A mark after right-to-left letters keeps terminals that reorder text from moving the numbers behind it.
    ending = _LEFT_TO_RIGHT if is_right_to_left(token.label) else ""
    return _marks_dimmed(Text(_fitted(token.label, width) + ending, style="dim" if token.special else ""))


def _header(token: ShownToken, width: int) -> Text:
    n_lines = max(1, -(-cell_len(token.label) // max(width, 2)))
    lines = _chopped(token.label, max(2, -(-cell_len(token.label) // n_lines)))
    if len(lines) > _HEADER_LINES:
        lines = [*lines[: _HEADER_LINES - 1], _fitted("".join(lines[_HEADER_LINES - 1 :]), width)]
    return _marks_dimmed(Text("\n".join(lines), style="dim" if token.special else "bold", justify="right"))


def _chopped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` cells (rich's own function for it reverses text in some of its releases)."""
    lines = [""]
    for character in text:
        if lines[-1] and cell_len(lines[-1] + character) > width:
            lines.append("")
        lines[-1] += character
    return lines


def _marks_dimmed(text: Text) -> Text:
    text.highlight_regex(r"[·↵⇥]", "not bold dim")
    return text


def _fitted(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


def console_for(
    width: int | None = None, *, file: IO[str] | None = None, color: bool | None = None
) -> Console:
    """A console that adds nothing of its own to what it is given.

    Args:
        width: cells of a line; None asks the terminal.
        file: where to; standard output by default.
        color: with escape codes or without; None asks the terminal, ``NO_COLOR`` and ``FORCE_COLOR``.
    """
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
        file=file,
        force_terminal=color,
        color_system="auto" if color is None else "truecolor" if color else None,
        no_color=None if color is None else not color,
    )
