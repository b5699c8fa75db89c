"""The views as viewers: records of their options that turn an output into text, markup or a figure.

``render`` shows nothing by itself; it is what commands and other programs call.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.view.granular import Dim, Span
from inseq_core.view.plan import TablePlan, TokensPlan, planned, planned_tokens
from inseq_core.view.tokens import WrapAfter

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, RenderableType


@attrs.frozen(kw_only=True)
class TableOptions:
    """What every picture of a table can be asked for.

    Attributes:
        aggregate: reduce trailing axes first; else they are there to leaf through.
        min_val, max_val, max_show_size, show_dim, slice_dims: as in ``show_attributions``.
    """

    aggregate: bool = True
    min_val: float | None = None
    max_val: float | None = None
    max_show_size: int | None = None
    show_dim: Dim | None = None
    slice_dims: Mapping[Dim, Span] | None = None

    def plan(self, attributions: FeatureAttributionOutput, *, on_page: bool) -> TablePlan:
        """The tables of an output, before they are drawn."""
        return planned(attributions, on_page=on_page, **_chosen(self, TableOptions))


@attrs.frozen(kw_only=True)
class TokensOptions:
    """What every picture of texts with coloured tokens can be asked for.

    Attributes:
        aggregate: reduce trailing axes first; a token has one colour.
        min_val, max_val: scores that get the strongest colours.
        replace: strings to replace in every token.
        wrap_after: where lines end: after so many tokens, after a token, after any of several.
        highlight: a step score that colours the generated tokens themselves.
    """

    aggregate: bool = True
    min_val: float | None = None
    max_val: float | None = None
    replace: Mapping[str, str] | None = None
    wrap_after: WrapAfter = None
    highlight: str | None = None

    def plan(self, attributions: FeatureAttributionOutput, *, on_page: bool) -> TokensPlan:
        """The texts of an output, before they are drawn."""
        return planned_tokens(attributions, on_page=on_page, **_chosen(self, TokensOptions))


@attrs.frozen(kw_only=True)
class TerminalViewer(TableOptions):
    """A table for a terminal.

    Attributes:
        width: cells of a line; None asks the terminal.
        color: with escape codes for colours; else plain text.
        aggregate: reduce trailing axes first; else they are shown entry by entry.
        min_val, max_val, max_show_size, show_dim, slice_dims: as in ``show_attributions``.
    """

    width: int | None = None
    color: bool = False

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """Lines of text."""
        from inseq_core.view.terminal import draw

        console = _console(self.width, self.color)
        return _lines(draw(self.plan(attributions, on_page=False), console.width), console)


@attrs.frozen(kw_only=True)
class TerminalTokensViewer(TokensOptions):
    """The text before each step for a terminal.

    Attributes:
        width: cells of a line; None asks the terminal.
        color: with escape codes for colours; else plain text.
        aggregate: reduce trailing axes first; a token has one colour.
        min_val, max_val, wrap_after: as in ``show_token_attributions``.
        replace, highlight: there ``replace_char`` and ``step_score_highlight``.
    """

    width: int | None = None
    color: bool = False

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """Lines of text."""
        from inseq_core.view.terminal_tokens import draw_tokens

        plan = self.plan(attributions, on_page=False)
        return _lines(draw_tokens(plan), _console(self.width, self.color))


@attrs.frozen(kw_only=True)
class HtmlViewer(TableOptions):
    """A page to click.

    Attributes:
        aggregate: reduce trailing axes first; else they are left to leaf through.
        min_val, max_val, max_show_size, show_dim, slice_dims: as in ``show_attributions``.
    """

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """A whole document."""
        from inseq_core.view.html import page

        return page(self.plan(attributions, on_page=True))


@attrs.frozen(kw_only=True)
class HtmlTokensViewer(TokensOptions):
    """A page of texts step by step.

    Attributes:
        aggregate: reduce trailing axes first; a token has one colour.
        min_val, max_val, wrap_after: as in ``show_token_attributions``.
        replace, highlight: there ``replace_char`` and ``step_score_highlight``.
    """

    def render(self, attributions: FeatureAttributionOutput) -> str:
        """A whole document."""
        from inseq_core.view.html_tokens import tokens_page

        return tokens_page(self.plan(attributions, on_page=True))


@attrs.frozen(kw_only=True)
class FigureViewer(TableOptions):
    """A heatmap.

    Attributes:
        aggregate: reduce trailing axes first; else they are drawn as a page begins.
        min_val, max_val, max_show_size, show_dim, slice_dims: as in ``show_attributions``.
    """

    def render(self, attributions: FeatureAttributionOutput) -> Figure:
        """A matplotlib figure."""
        from inseq_core.view.figure import figure_of

        return figure_of(self.plan(attributions, on_page=True))


def _chosen(options: attrs.AttrsInstance, kind: type[attrs.AttrsInstance]) -> dict[str, Any]:
    """The options that every viewer of a kind has, by name."""
    return {field.name: getattr(options, field.name) for field in attrs.fields(kind)}


def _console(width: int | None, color: bool) -> Console:
    from inseq_core.view.terminal import console_for

    return console_for(width, file=io.StringIO(), color=color)


def _lines(picture: RenderableType, console: Console) -> str:
    with console.capture() as captured:
        console.print(picture)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
