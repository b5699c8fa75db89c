"""Attributions inside the text, in a terminal: one step a paragraph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inseq_core.view.colors import BROWN, GREEN
from inseq_core.view.heading import MISSING
from inseq_core.view.numbers import compact, number_format
from inseq_core.view.plan import Look, TokensPlan
from inseq_core.view.terminal_frame import Picture, TerminalStyle, legend, title
from inseq_core.view.tokens import ColoredToken, StepText

_WIDEST_STEP = 24
_WRITTEN = 3
"""Scores of a step that are written into the text where there are no colours."""


def draw_tokens(plan: TokensPlan) -> RenderableType:
    """Every text, step by step, and how to read it."""
    return Picture(lambda width, has_color: _parts(plan, width, has_color))


def _parts(plan: TokensPlan, width: int, has_color: bool) -> Iterator[RenderableType]:
    style = TerminalStyle.of(plan.base.looks[()], has_color=has_color)
    of_steps = _highlight_style(plan, has_color)
    yield from (*title(plan.base.heading), Text())
    for number, (steps, left_out) in enumerate(zip(plan.texts, plan.left_out, strict=True), start=1):
        if len(plan.texts) > 1:
            yield Rule(f"{number} of {len(plan.texts)}", style="dim", align="left")
        if steps:
            yield _grid(steps, width, style, of_steps)
        else:
            yield Text("No step was attributed.\n", "dim italic")
        if left_out:
            yield Text(f"{left_out}\n", style="dim italic")
    what, words = f"{plan.highlight} of the step", []
    if not has_color and not plan.base.is_blank:
        factor = f", {style.look.numbers.factor}" * bool(style.look.numbers.factor)
        words.append(f"In brackets: the {_WRITTEN} strongest scores of each step{factor}.")
    if not has_color and of_steps is not None:
        words.append(f"On the left: the {what}.")
    others = [] if of_steps is None else [(what, of_steps)]
    yield from legend(plan.base, style, others=others, words=words)


def _grid(
    steps: Sequence[StepText], width: int, style: TerminalStyle, of_steps: TerminalStyle | None
) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    widest = min(max(map(_step_width, steps)), _WIDEST_STEP, max(1, width // 3))
    grid.add_column(justify="right", width=widest)
    grid.add_column(overflow="fold")  # Chinese has no spaces to break lines at
    for step in steps:
        written = () if style.has_color else _strongest(step)
        lines = [_line(line, style, written) for line in step.lines]
        grid.add_row(_step(step, of_steps), Group(*lines) if lines else Text("nothing before it", "dim"))
        grid.add_row()
    return grid


def _strongest(step: StepText) -> tuple[ColoredToken, ...]:
    scored = [token for line in step.lines for token in line if token.score and not math.isnan(token.score)]
    return tuple(sorted(scored, key=lambda token: -abs(token.score))[:_WRITTEN])


def _step_width(step: StepText) -> int:
    return max(cell_len(step.token.text), cell_len(_measure(step)))


def _measure(step: StepText) -> str:
    return "" if math.isnan(step.measure) else compact(step.measure)


def _step(step: StepText, of_steps: TerminalStyle | None) -> Text:
    look = of_steps.of_level(step.measure_level) if of_steps else Style.null()
    is_dim = step.token.special and not look
    label = Text(step.token.text, style=Style(dim=is_dim, bold=not step.token.special) + look)
    return label.append(f"\n{_measure(step)}", "not bold dim") if _measure(step) else label


def _line(line: Sequence[ColoredToken], style: TerminalStyle, written: Sequence[ColoredToken]) -> Text:
    text = Text()
    fresh = True
    for colored in line:
        token = colored.token
        if token.space_before and not fresh:
            text.append(" ")
        score = _in_brackets(colored, style, written)
        look = Style.parse("dim") if token.special and not colored.level else style.of_level(colored.level)
        if colored.is_missing and style.has_color:
            look += Style(underline=True)
        text.append(f"[{token.text} {score}]" if score else token.text, look)
        fresh = colored.wraps
        if fresh and colored is not line[-1]:
            text.append("\n")
    return text


def _in_brackets(colored: ColoredToken, style: TerminalStyle, written: Sequence[ColoredToken]) -> str:
    """What is written behind a token where colours cannot say it."""
    if style.has_color:
        return ""
    if colored.is_missing:
        return MISSING
    return style.look.numbers.text(colored.score) if any(colored is one for one in written) else ""


def _highlight_style(plan: TokensPlan, has_color: bool) -> TerminalStyle | None:
    if plan.highlights is None:
        return None
    ends = [np.array([plan.highlights.low, plan.highlights.high])]
    look = Look(colors=plan.highlights, numbers=number_format(ends), decimals=0)
    return TerminalStyle.of(look, hues=(GREEN, BROWN), has_color=has_color)
