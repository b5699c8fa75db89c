"""Attributions in a terminal: a table of coloured numbers, folded to its width.

Colours are backgrounds with a text colour chosen for them, so they can be read on dark and on light
terminals. Without colours (``NO_COLOR``, a pipe, a file) the numbers say the same, and a star marks the
strongest of each step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inseq_core.data.scores import ScoreArray
from inseq_core.view.granular import panels
from inseq_core.view.heading import MISSING
from inseq_core.view.numbers import compact
from inseq_core.view.plan import Look, TablePlan
from inseq_core.view.readable import ShownToken, is_right_to_left, running_text
from inseq_core.view.table import RowGroup, ScoreTable, missing
from inseq_core.view.terminal_frame import Picture, TerminalStyle, legend, named_lines, title

_HEADER_WIDTH = 8
_HEADER_LINES = 3
_TEXT_LENGTH = 400
_STAR = "*"
"""Marks the strongest score of a column where there are no colours."""
_LEFT_TO_RIGHT = "\u200e"

_BOX = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")
"""Lines between sections, none between cells."""


def draw(plan: TablePlan, width: int | None = None) -> RenderableType:
    """Every text's table, one below the other, and how to read them.

    Of scores with trailing axes, one table for each entry of one axis, the others reduced.

    Args:
        width: cells of a line; None asks the console.
    """
    return Picture(lambda console_width, has_color: _parts(plan, width or console_width, has_color))


def _parts(plan: TablePlan, width: int, has_color: bool) -> Iterator[RenderableType]:
    reduced = tuple(a != plan.shown_axis for a in range(len(plan.texts[0].axes)))
    style = TerminalStyle.of(plan.looks[reduced], has_color=has_color)
    yield from title(plan.heading)
    for number, text in enumerate(plan.texts, start=1):
        yield _text_title(text.table, number, len(plan.texts))
        if not text.axes:
            yield from (*_folded(text.table, style, width), Text())
            continue
        for name, table in panels(text.table, text.axes, plan.shown_axis):
            yield from (Rule(name, style="dim", align="left"), *_folded(table, style, width), Text())
        axis = text.axes[plan.shown_axis]
        if len(axis.entries) < axis.size:
            note = f"The {len(axis.entries)} of {axis.size} entries of {axis.name} with the largest scores."
            yield from (Text(note, style="dim italic"), Text())
    words = (
        () if has_color or plan.is_blank else (*_range(style.look), f"{_STAR}: the strongest of its column.")
    )
    yield from legend(plan, style, words=words)


def _range(look: Look) -> Iterator[str]:
    if look.ends is not None:
        low, high = (look.numbers.text(end) for end in look.ends)
        yield f"Numbers run from {low} to {high} {look.numbers.factor}".rstrip() + "."


def _text_title(table: ScoreTable, number: int, count: int) -> RenderableType:
    """Which text it is: what it was made from, and what was made, of which the attributed part is bold."""
    lines = named_lines()
    first = _first(table)
    given = running_text(table.source if table.has_source else table.target[:first])
    if given:
        lines.add_row(Text("from", "dim"), _shortened(Text(given)))
    start, end = 0 if table.has_source else first, first + len(table.steps) + table.hidden_steps
    made = table.target[start:]
    text = Text(running_text(made))
    before, attributed = _length(made[: first - start], text), _length(made[: end - start], text)
    if attributed - before < len(text):
        text.stylize("bold", before, attributed)
    lines.add_row(Text("to", "dim"), _shortened(text))
    rule = [Rule(f"{number} of {count}", style="dim", align="left")] if count > 1 else []
    return Group(Text(), *rule, lines, Text())


def _length(tokens: Sequence[ShownToken], text: Text) -> int:
    """How much of a text its first tokens are; a character of which they hold only some bytes is not."""
    pairs = enumerate(zip(running_text(tokens), text.plain, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(running_text(tokens)), len(text)))


def _shortened(text: Text) -> Text:
    """A long text's beginning and end: the end of a prompt is what the model answers."""
    half = _TEXT_LENGTH // 2
    return text if len(text) <= _TEXT_LENGTH else Text(" … ").join([text[:half], text[-half:]])


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
            span = f"steps {start + 1} to {stop}" if stop > start + 1 else f"step {stop}"
            yield Text(f"{span} of {len(columns) + table.hidden_steps}", style="dim italic")
        yield _block(table, style, columns, label_width, start, stop)
    if table.hidden_steps or table.hidden_inputs:
        yield Text(f"{_left_out(table)}; max_show_size= shows more.", style="dim italic")


def _left_out(table: ScoreTable) -> str:
    parts = []
    if table.hidden_inputs:
        inputs = f"{table.hidden_inputs} inputs" if table.hidden_inputs > 1 else "input"
        parts.append(f"the {inputs} with the smallest score{'s' * (table.hidden_inputs > 1)}")
    if table.hidden_steps:
        parts.append(f"the last {f'{table.hidden_steps} steps' if table.hidden_steps > 1 else 'step'}")
    return "Left out: " + " and ".join(parts)


def _column_widths(table: ScoreTable, style: TerminalStyle) -> list[int]:
    widths = []
    strongest = _strongest_scores(table)
    for k, token in enumerate(table.columns):
        label = cell_len(token.label)
        cells = [2, min(-(-label // max(1, -(-label // _HEADER_WIDTH))), _HEADER_WIDTH)]
        cells += [cell_len(compact(float(scores[k]))) for scores in table.step_scores.values()]
        cells += [
            max((cell_len(_number(score, strongest[k], style)) for score in group.values[:, k]), default=0)
            for group in table.groups
        ]
        cells += [len(MISSING) for group in table.groups if missing(group)[:, k].any()]
        widths.append(max(cells))
    return widths


def _number(score: float, strongest: float, style: TerminalStyle) -> str:
    """A score, and the mark of the strongest of its column where that is not seen by its colour."""
    is_marked = not style.has_color and score and abs(score) == strongest
    return _STAR * bool(is_marked) + style.look.numbers.text(score)


def _blocks(widths: Sequence[int], available: int) -> list[tuple[int, int]]:
    """The columns in as few blocks as there can be, of about the same width."""
    fewest = _filled(widths, available)
    limits = range(max(widths) + 1, available)
    return next((b for b in (_filled(widths, limit) for limit in limits) if len(b) == len(fewest)), fewest)


def _filled(widths: Sequence[int], available: int) -> list[tuple[int, int]]:
    """The columns in blocks, each as full as it can be."""
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
            cells.append(Text(f"{_number(score, strongest[k], style):>{widths[k]}}", style=look))
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


def print_picture(picture: RenderableType) -> None:
    """Print to standard output; what its encoding has not got is a question mark a cell, so that columns
    stay where they are."""
    console = console_for()
    if console.encoding.startswith("utf"):
        console.print(picture)
        return
    with console.capture() as captured:
        console.print(picture)
    console.file.write(_encodable(captured.get(), console.encoding))


def _encodable(text: str, encoding: str) -> str:
    runs = itertools.groupby(text, key=lambda character: _can_encode(character, encoding))
    return "".join(run if known else "?" * cell_len(run) for known, run in ((k, "".join(r)) for k, r in runs))


def _can_encode(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
