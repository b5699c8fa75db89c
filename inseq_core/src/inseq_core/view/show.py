"""The views by which a result is shown: a table, its trailing axes, and the text with coloured tokens.

In a notebook they are HTML, elsewhere they are drawn in the terminal; ``return_html=True`` gives a whole
page as a string. All texts of a call share one colour scale, so that equal colours mean equal scores.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.errors import InvalidArgumentError, invalid, unknown_name
from inseq_core.view.granular import Dim, Span
from inseq_core.view.plan import Attributions, TablePlan, TokensPlan, planned, planned_tokens
from inseq_core.view.tokens import WrapAfter

_FRAGMENT_TEXTS = 20
"""Texts that a notebook shows of a result that is the value of a cell."""

PageView = Literal["table", "granular", "tokens"]


def show_attributions(
    attributions: Attributions,
    min_val: float | None = None,
    max_val: float | None = None,
    display: bool = True,
    return_html: bool = False,
    return_figure: bool = False,
    *,
    max_show_size: int | None = None,
    show_dim: Dim | None = None,
    slice_dims: Mapping[Dim, Span] | None = None,
    do_aggregation: bool = True,
) -> Any:
    """Scores as a table: inputs in rows, steps in columns, step scores below.

    Args:
        attributions: the output of ``attribute()``, one of its texts, or several texts.
        min_val, max_val: scores that get the strongest colours (by default the largest absolute score).
        max_show_size: at most so many inputs (those with the largest scores) and so many steps (the
            first ones). By default a terminal shows 100 inputs and 100 steps, a page everything up to
            some hundred thousand scores.
        show_dim, slice_dims: for scores that keep their trailing axes, as in ``show_granular_attributions``.
        display: show it now.
        return_html: return the page.
        return_figure: return a matplotlib figure instead.
        do_aggregation: aggregate scores with trailing axes by their method's default first.

    Returns:
        The page as a string, the figure, or None.

    Raises:
        InvalidArgumentError: nothing to show, or arguments that do not go together.
    """
    plan = functools.partial(
        planned,
        attributions,
        aggregate=do_aggregation,
        max_show_size=max_show_size,
        min_val=min_val,
        max_val=max_val,
        show_dim=show_dim,
        slice_dims=slice_dims,
    )
    return _presented(plan, display, return_html, return_figure)


def show_granular_attributions(
    attributions: Attributions,
    max_show_size: int | None = None,
    min_val: float | None = None,
    max_val: float | None = None,
    show_dim: Dim | None = None,
    slice_dims: Mapping[Dim, Span] | None = None,
    display: bool = True,
    return_html: bool = False,
    return_figure: bool = False,
) -> Any:
    """Raw scores with their trailing axes (layer, head, dimension) to leaf through.

    On a page each axis has a slider, and a box that reduces it as the method's default aggregation does.
    In a terminal one axis is shown entry by entry, the others reduced. Scores without trailing axes are
    shown as a table.

    Args:
        attributions: as in ``show_attributions``; they are not aggregated.
        max_show_size: at most so many entries of an axis (by default 20), those with the largest scores.
        min_val, max_val: scores that get the strongest colours.
        show_dim: the axis to begin with: its name, or its number in the array (from 2). By default the
            first in a terminal; a page begins with every axis reduced.
        slice_dims: axis -> (start, end) of the entries to look at.
        display, return_html, return_figure: as in ``show_attributions``.

    Raises:
        UnknownNameError: no such axis. InvalidArgumentError: as in ``show_attributions``.
    """
    plan = functools.partial(
        planned,
        attributions,
        aggregate=False,
        max_show_size=max_show_size,
        min_val=min_val,
        max_val=max_val,
        show_dim=show_dim,
        slice_dims=slice_dims,
    )
    return _presented(plan, display, return_html, return_figure)


def show_token_attributions(
    attributions: Attributions,
    min_val: float | None = None,
    max_val: float | None = None,
    display: bool = True,
    return_html: bool = False,
    return_figure: bool = False,
    replace_char: Mapping[str, str] | None = None,
    wrap_after: WrapAfter = None,
    step_score_highlight: str | None = None,
    do_aggregation: bool = True,
) -> Any:
    """The text before each step with its tokens coloured, one step a paragraph.

    Args:
        attributions, min_val, max_val, display, return_html, do_aggregation: as in ``show_attributions``.
        return_figure: refused; there is no figure of a text.
        replace_char: strings to replace in every token.
        wrap_after: where lines end: after so many tokens, after a token, after any of several (``".!?"``).
        step_score_highlight: a step score that colours the generated tokens themselves.

    Raises:
        UnknownNameError: no such step score. InvalidArgumentError: as in ``show_attributions``.
    """
    plan = functools.partial(
        planned_tokens,
        attributions,
        aggregate=do_aggregation,
        min_val=min_val,
        max_val=max_val,
        replace=replace_char,
        wrap_after=wrap_after,
        highlight=step_score_highlight,
    )
    return _presented(plan, display, return_html, return_figure)


def save_html(
    attributions: Attributions,
    path: str | os.PathLike[str],
    *,
    view: PageView = "table",
    min_val: float | None = None,
    max_val: float | None = None,
    max_show_size: int | None = None,
) -> Path:
    """Write the page to a file, all of it or nothing.

    Args:
        attributions: as in ``show_attributions``.
        path: the file; one that is there is replaced.
        view: "table" (aggregated scores), "granular" (raw scores) or "tokens".
        min_val, max_val, max_show_size: as in the view's own function.

    Returns:
        The path.

    Raises:
        InvalidArgumentError: the folder does not exist. UnknownNameError: no such view. FileAccessError: the
            disk is full, or the like.
    """
    from inseq_core.store.whole import as_path, write_whole

    target = as_path(path)
    if not target.parent.is_dir():
        raise invalid("path", str(target), f"a file in a folder that exists; {str(target.parent)!r} does not")
    if target.is_dir():
        raise invalid("path", str(target), "a file, not a folder")
    plan: TablePlan | TokensPlan
    if view in ("table", "granular"):
        plan = planned(
            attributions,
            aggregate=view == "table",
            max_show_size=max_show_size,
            min_val=min_val,
            max_val=max_val,
            on_page=True,
        )
    elif view == "tokens":
        plan = planned_tokens(attributions, min_val=min_val, max_val=max_val)
    else:
        raise unknown_name("view", view, ["granular", "table", "tokens"], existing="There are")
    return write_whole(target, lambda: _html(plan, whole=True).encode("utf-8"), overwrite=True)


def html_fragment(attributions: FeatureAttributionOutput | FeatureAttributionSequenceOutput) -> str:
    """What a notebook shows for a result that is the value of a cell: a part of its page, not too large."""
    if isinstance(attributions, FeatureAttributionSequenceOutput):
        return _html(planned(attributions, on_page=True), whole=False)
    if not len(attributions):
        return "<p>An attribution output with no text.</p>"
    if len(attributions) <= _FRAGMENT_TEXTS:
        return _html(planned(attributions, on_page=True), whole=False)
    plan = planned(attributions.subset(range(_FRAGMENT_TEXTS)), on_page=True)
    note = f"The first {_FRAGMENT_TEXTS} of {len(attributions)} texts; .show() shows all."
    return _html(attrs.evolve(plan, reading=(*plan.reading, note)), whole=False)


def is_notebook() -> bool:
    """Whether output goes to a notebook, which renders HTML; IPython is asked only if already imported."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


def _html(plan: TablePlan | TokensPlan, *, whole: bool) -> str:
    if isinstance(plan, TokensPlan):
        from inseq_core.view.html_tokens import tokens_page

        return tokens_page(plan, whole=whole)
    from inseq_core.view.html import page

    return page(plan, whole=whole)


def _presented(
    plan: Callable[..., TablePlan | TokensPlan], display: bool, return_html: bool, return_figure: bool
) -> Any:
    """Show, and return what was asked for; ``plan(on_page=…)`` decides what is to be seen there."""
    for name, flag in (("display", display), ("return_html", return_html), ("return_figure", return_figure)):
        if flag is not None and not isinstance(flag, bool):
            raise invalid(name, flag, "True or False")
    if return_figure:
        if return_html:
            raise InvalidArgumentError("return_html and return_figure are both set: expected one of them.")
        from inseq_core.view.figure import figure_of

        drawn = plan(on_page=True)
        if isinstance(drawn, TokensPlan):
            raise InvalidArgumentError(
                "return_figure = True: a text with coloured tokens is no figure.\n"
                "  show(return_figure=True) makes one of the table; return_html=True gives this view as a page."
            )
        return figure_of(drawn)
    if display and is_notebook():
        from IPython.display import HTML
        from IPython.display import display as show_in_notebook

        show_in_notebook(HTML(_html(plan(on_page=True), whole=False)))
    elif display:
        _print(plan(on_page=False))
    elif not return_html:
        plan(on_page=False)  # wrong arguments are errors also where there is nothing to see
    return _html(plan(on_page=True), whole=True) if return_html else None


def _print(plan: TablePlan | TokensPlan) -> None:
    from inseq_core.view.terminal import draw, print_picture
    from inseq_core.view.terminal_tokens import draw_tokens

    print_picture(draw_tokens(plan) if isinstance(plan, TokensPlan) else draw(plan))
