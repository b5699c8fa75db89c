"""Attributions inside the text, in a terminal: one step a paragraph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from inseq_core.view.colors import BROWN, GREEN
from inseq_core.view.numbers import compact, number_format
from inseq_core.view.plan import Look, TokensPlan
from inseq_core.view.terminal import TerminalStyle, color_bar, legend, title
from inseq_core.view.tokens import ColoredToken, StepText

_WIDEST_STEP = 24


def draw_tokens(plan: TokensPlan) -> RenderableType:
    """Every text, step by step, and how to read it."""
    style, of_steps = TerminalStyle.of(plan.base.looks[()]), _highlight_style(plan)
    parts: list[RenderableType] = [*title(plan.base.heading), Text()]
    for number, steps in enumerate(plan.texts, start=1):
        if len(plan.texts) > 1:
            parts.append(Rule(f"{number} of {len(plan.texts)}", style="dim", align="left"))
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.leading = 1
        grid.add_column(
            justify="right",
            max_width=_WIDEST_STEP,
            min_width=min(_WIDEST_STEP, max(map(_step_width, steps), default=0)),
        )
        grid.add_column()
        for step in steps:
            lines = [_line(line, style) for line in step.lines]
            grid.add_row(_step(step, of_steps), Group(*lines) if lines else Text("nothing before it", "dim"))
        parts.append(grid if steps else Text("No step was attributed.\n", style="dim italic"))
    if of_steps is not None:
        parts.append(color_bar(of_steps).append(f" {plan.highlight} of the step", "dim"))
    parts.append(legend(plan.base, style))
    return Group(*parts)


def _step_width(step: StepText) -> int:
    return max(cell_len(step.token.text), cell_len(_measure(step)))


def _measure(step: StepText) -> str:
    return "" if math.isnan(step.measure) else compact(step.measure)


def _step(step: StepText, of_steps: TerminalStyle | None) -> Text:
    look = of_steps.of_level(step.measure_level) if of_steps else None
    label = Text(step.token.text, style="dim" if step.token.special else "bold")
    if look:
        label.stylize(look)
    return label.append(f"\n{_measure(step)}", "not bold dim") if _measure(step) else label


def _line(line: Sequence[ColoredToken], style: TerminalStyle) -> Text:
    text = Text()
    fresh = True
    for colored in line:
        token = colored.token
        if token.space_before and not fresh:
            text.append(" ")
        text.append(
            token.text, style.of_level(colored.level) if colored.level else "dim" if token.special else ""
        )
        fresh = colored.wraps
        if fresh and colored is not line[-1]:
            text.append("\n")
    return text


def _highlight_style(plan: TokensPlan) -> TerminalStyle | None:
    if plan.highlights is None:
        return None
    ends = [np.array([plan.highlights.low, plan.highlights.high])]
    look = Look(colors=plan.highlights, numbers=number_format(ends), decimals=0)
    return TerminalStyle.of(look, hues=(GREEN, BROWN))
