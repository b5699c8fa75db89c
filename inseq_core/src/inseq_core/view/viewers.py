"""The views as viewers: records of their options that turn an output into text, markup or a figure.

``render`` shows nothing by itself; it is what commands and other programs call.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import attrs

from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.view.plan import planned, planned_tokens
from inseq_core.view.tokens import WrapAfter

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, RenderableType


@attrs.frozen(kw_only=True)
class TerminalViewer:
    """A table for a terminal.

    Attributes:
        width: cells of a line; None asks the terminal.
        color: with escape codes for colours; else plain text.
        aggregate: reduce trailing axes first; else they are shown entry by entry.
        max_show_size, min_val, max_val: as in ``show_attributions``.
    """

    width: int | None = None
    color: bool = False
    aggregate: bool = True
    max_show_size: int | None = None
    min_val: float | None = None
    max_val: float | None = None

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """Lines of text."""
        from inseq_core.view.terminal import draw

        plan = planned(
            attributions,
            aggregate=self.aggregate,
            max_show_size=self.max_show_size,
            min_val=self.min_val,
            max_val=self.max_val,
        )
        console = _console(self.width, self.color)
        return _lines(draw(plan, console.width), console)


@attrs.frozen(kw_only=True)
class TerminalTokensViewer:
    """The text before each step for a terminal.

    Attributes:
        width: cells of a line; None asks the terminal.
        color: with escape codes for colours; else plain text.
        wrap_after: where lines end: after so many tokens, after a token, after any of several.
        highlight: a step score that colours the generated tokens themselves.
    """

    width: int | None = None
    color: bool = False
    wrap_after: WrapAfter = None
    highlight: str | None = None

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """Lines of text."""
        from inseq_core.view.terminal_tokens import draw_tokens

        plan = planned_tokens(
            attributions, wrap_after=self.wrap_after, highlight=self.highlight, on_page=False
        )
        return _lines(draw_tokens(plan), _console(self.width, self.color))


@attrs.frozen(kw_only=True)
class HtmlViewer:
    """A page to click.

    Attributes:
        aggregate: reduce trailing axes first; else they are left to leaf through.
        max_show_size, min_val, max_val: as in ``show_attributions``.
    """

    aggregate: bool = True
    max_show_size: int | None = None
    min_val: float | None = None
    max_val: float | None = None

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """A whole document."""
        from inseq_core.view.html import page

        plan = planned(
            attributions,
            aggregate=self.aggregate,
            max_show_size=self.max_show_size,
            min_val=self.min_val,
            max_val=self.max_val,
            on_page=True,
        )
        return page(plan)


@attrs.frozen(kw_only=True)
class HtmlTokensViewer:
    """A page of texts step by step.

    Attributes:
        wrap_after: where lines end: after so many tokens, after a token, after any of several.
        highlight: a step score that colours the generated tokens themselves.
        min_val, max_val: scores that get the strongest colours.
    """

    wrap_after: WrapAfter = None
    highlight: str | None = None
    min_val: float | None = None
    max_val: float | None = None

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """A whole document."""
        from inseq_core.view.html_tokens import tokens_page

        plan = planned_tokens(
            attributions,
            min_val=self.min_val,
            max_val=self.max_val,
            wrap_after=self.wrap_after,
            highlight=self.highlight,
        )
        return tokens_page(plan)


@attrs.frozen(kw_only=True)
class FigureViewer:
    """A heatmap.

    Attributes:
        max_show_size, min_val, max_val: as in ``show_attributions``.
    """

    max_show_size: int | None = None
    min_val: float | None = None
    max_val: float | None = None

    def render(self, attributions: FeatureAttributionOutput) -> Figure:
        """A matplotlib figure."""
        from inseq_core.view.figure import figure_of

        plan = planned(
            attributions, max_show_size=self.max_show_size, min_val=self.min_val, max_val=self.max_val
        )
        return figure_of(plan)


def _console(width: int | None, color: bool) -> Console:
    from inseq_core.view.terminal import console_for

    return console_for(width, file=io.StringIO(), color=color)


def _lines(picture: RenderableType, console: Console) -> str:
    with console.capture() as captured:
        console.print(picture)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
