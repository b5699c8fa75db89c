"""Attributions inside the text: for each step, the text before it with its tokens coloured.

Axes: T steps of one text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.errors import invalid, unknown_name
from inseq_core.view.colors import ColorScale, color_scale
from inseq_core.view.readable import ShownToken, visible
from inseq_core.view.table import ScoreTable

WrapAfter = int | str | Sequence[str] | None


@attrs.frozen(kw_only=True)
class ColoredToken:
    """A token of the text before a step.

    Attributes:
        score: NaN where the token has none; such a token is shown without colour.
        level: of the score's colour.
        is_missing: it was there to be scored, and the method gave it no score.
        wraps: the line ends after it.
    """

    token: ShownToken
    score: float
    level: int
    is_missing: bool = False
    wraps: bool = False


@attrs.frozen(kw_only=True)
class StepText:
    """One step and the text before it.

    Attributes:
        token: the attributed token.
        measure: the step score it is highlighted by; NaN for none.
        measure_level: of that score's colour.
        lines: the source's tokens, where it was attributed, and the target's tokens before the step.
    """

    token: ShownToken
    measure: float
    measure_level: int
    lines: tuple[tuple[ColoredToken, ...], ...]


def step_texts(
    table: ScoreTable,
    scale: ColorScale,
    *,
    wrap_after: WrapAfter = None,
    highlight: str | None = None,
    highlights: ColorScale | None = None,
) -> tuple[StepText, ...]:
    """Every step of a text without trailing axes.

    Args:
        wrap_after: a number of tokens, a token, several tokens, or several marks in one string (``".!?"``).
        highlight: a step score that colours the attributed tokens, on the scale ``highlights``.
    """
    measures = table.step_scores[visible(highlight)] if highlight else np.full(len(table.steps), np.nan)
    measure_levels = highlights.levels(measures) if highlights else np.zeros(len(table.steps), dtype=np.int64)
    levels = [scale.levels(group.values) for group in table.groups]
    texts = []
    for k, position in enumerate(table.steps):
        by_side: dict[str, dict[int, tuple[float, int]]] = {"source": {}, "target": {}}
        for group, of_group in zip(table.groups, levels, strict=True):
            for row, at in enumerate(group.positions):
                by_side[group.side][at] = (float(group.values[row, k]), int(of_group[row, k]))
        lines = []
        if by_side["source"]:
            lines.append(_line(table.source, by_side["source"], wrap_after))
        if position and (by_side["target"] or not by_side["source"]):
            lines.append(_line(table.target[:position], by_side["target"], wrap_after))
        texts.append(
            StepText(
                token=table.target[position],
                measure=float(measures[k]),
                measure_level=int(measure_levels[k]),
                lines=tuple(lines),
            )
        )
    return tuple(texts)


def highlight_scale(tables: Sequence[ScoreTable], name: str) -> ColorScale:
    """The scale of a step score over all texts.

    Raises:
        UnknownNameError: some text has no such step score.
    """
    for table in tables:
        if visible(name) not in table.step_scores:
            raise unknown_name(
                "step score",
                name,
                list(table.step_scores),
                note=f"Measure it beside the attribution: model.attribute(..., step_scores=[{name!r}]).",
                existing="There are",
            )
    return color_scale([table.step_scores[visible(name)] for table in tables], signed=False)


def _line(
    tokens: Sequence[ShownToken], scores: dict[int, tuple[float, int]], wrap_after: WrapAfter
) -> tuple[ColoredToken, ...]:
    wraps = _wraps(tokens, wrap_after)
    line = []
    for i, token in enumerate(tokens):
        score, level = scores.get(i, (float("nan"), 0))
        is_missing = i in scores and math.isnan(score)
        line.append(
            ColoredToken(token=token, score=score, level=level, is_missing=is_missing, wraps=wraps[i])
        )
    return tuple(line)


def check_wrap(wrap_after: Any) -> None:
    """Raises InvalidArgumentError for what does not say where lines end."""
    expected = "a number of tokens, at least 1, or the tokens to wrap after"
    if isinstance(wrap_after, int | np.integer) and not isinstance(wrap_after, bool):
        if wrap_after < 1:
            raise invalid("wrap_after", wrap_after, expected)
    elif wrap_after is not None and not isinstance(wrap_after, str):
        is_many = isinstance(wrap_after, Iterable) and not isinstance(wrap_after, bool)
        if not is_many or not all(isinstance(mark, str) for mark in wrap_after):
            raise invalid("wrap_after", wrap_after, expected)


def _wraps(tokens: Sequence[ShownToken], wrap_after: WrapAfter) -> list[bool]:
    if wrap_after is None:
        return [token.line_break for token in tokens]
    if isinstance(wrap_after, int | np.integer):
        return [token.line_break or (i + 1) % wrap_after == 0 for i, token in enumerate(tokens)]
    if isinstance(wrap_after, str):
        # ".!?" means any of the marks, "hi" the word.
        marks = {wrap_after} if any(c.isalnum() for c in wrap_after) else {wrap_after, *wrap_after}
    else:
        marks = set(wrap_after)
    return [token.line_break or token.text in marks or token.label in marks for token in tokens]
