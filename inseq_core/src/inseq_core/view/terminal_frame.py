"""What every picture in a terminal has: colours for its levels, a heading, named lines, and a legend.

A picture asks the console that it is drawn on whether there are colours, and how wide it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inseq_core.view.colors import LEVELS, Palette, css, terminal_palette, text_color
from inseq_core.view.colors import hues as hues_of
from inseq_core.view.heading import Heading
from inseq_core.view.plan import Look, TablePlan


@attrs.frozen
class Picture:
    """Something to print, which is told the console's width and whether it has colours."""

    parts: Callable[[int, bool], Iterable[RenderableType]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        has_color = console.color_system is not None and not console.no_color
        yield from self.parts(options.max_width, has_color)


@attrs.frozen(kw_only=True)
class TerminalStyle:
    """How scores are drawn: their colours and digits, and on which background.

    Attributes:
        hues: of scores above and below zero.
        has_color: whether colours are drawn at all.
    """

    look: Look
    palette: Palette
    hues: tuple[float, float]
    has_color: bool = True

    @classmethod
    def of(
        cls, look: Look, *, hues: tuple[float, float] | None = None, has_color: bool = True
    ) -> TerminalStyle:
        """A look on the background of this terminal."""
        hues = hues or hues_of(look.colors)
        return cls(look=look, palette=terminal_palette(), hues=hues, has_color=has_color)

    def of_level(self, level: int) -> Style:
        """Background and text colour of a level; on some palettes the weakest have a text colour only."""
        if not level or not self.has_color:
            return Style.null()
        shade = self.palette.shade(abs(level), hue=self.hues[0] if level > 0 else self.hues[1])
        if abs(level) < self.palette.first:
            return Style(color=css(shade))
        return Style(color=css(text_color(shade)), bgcolor=css(shade))


def legend(
    plan: TablePlan,
    style: TerminalStyle,
    *,
    others: Sequence[tuple[str, TerminalStyle]] = (),
    words: Sequence[str] = (),
) -> Iterator[RenderableType]:
    """The colours with their scores, and what they mean.

    Args:
        others: what other colours show, and the colours.
        words: further statements.
    """
    if style.has_color:
        has_scores = not plan.is_blank and any(table.groups for table in plan.tables)
        yield from color_bars([*others, *([("", style)] if has_scores else [])])
    yield Text(" ".join([*(plan.reading if style.has_color else plan.plain_reading), *words]), style="dim")


def color_bars(bars: Sequence[tuple[str, TerminalStyle]]) -> Iterator[RenderableType]:
    """Every second shade between the ends of each scale, and what it shows."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", style="dim")
    for what, style in bars:
        scale, numbers = style.look.colors, style.look.numbers
        bar = Text()
        for level in range(-LEVELS if scale.signed else 0, LEVELS + 1, 2):
            bar.append("▄▄" if 0 < abs(level) < style.palette.first else "  ", style.of_level(level))
        high = f"{numbers.text(scale.high)} {numbers.factor}".rstrip()
        bar.append(f" {high}  {what}".rstrip(), "dim")
        grid.add_row(numbers.text(scale.low), bar)
    if bars:
        yield grid


def title(heading: Heading) -> Iterator[RenderableType]:
    """Model, method and attributed function."""
    if heading.facts:
        line = Text()
        for i, (name, value) in enumerate(heading.facts):
            line.append("   " if i else "").append(f"{name.lower()} ", "dim").append(value, "bold")
        yield line


def named_lines() -> Table:
    """A table of names and texts; a text is never cut, also where it has no spaces to break its lines at."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
