"""Attributions inside the text, as a page: one step a paragraph, exact scores on hover. It needs no
script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from inseq_core.view.colors import ColorScale
from inseq_core.view.html import (
    HIGHLIGHTS,
    color_bar,
    default_title,
    level_class,
    name_of,
    render,
    shades,
)
from inseq_core.view.measures import spread_scale
from inseq_core.view.numbers import compact, number_format
from inseq_core.view.plan import Look, TokensPlan
from inseq_core.view.table import ScoreTable
from inseq_core.view.tokens import ColoredToken, StepText

_NO_SCORE = {"class": "k m", "sample": "token", "meaning": "no score"}


def tokens_page(plan: TokensPlan, *, whole: bool = True, title: str = "") -> str:
    """The page of texts step by step."""
    look, measures = plan.base.looks[()], _measure_scale(plan)
    bars = [color_bar("" if measures is None else "score of an input", look)]
    if measures is not None:
        ends = [np.array([measures.low, measures.high])]
        of_steps = Look(colors=measures, numbers=number_format(ends), decimals=0)
        bars.append(color_bar(f"{plan.highlight} of the step", of_steps, HIGHLIGHTS))
    view = {
        "title": title or default_title(plan.base.heading),
        "heading": plan.base.heading,
        "reading": plan.base.reading,
        "texts": [
            _text_context(steps, table, left_out, look.colors, measures, number)
            for number, (steps, table, left_out) in enumerate(
                zip(plan.texts, plan.base.tables, plan.left_out, strict=True), start=1
            )
        ],
        "bars": bars,
        "marks": [_NO_SCORE] if any(table.has_missing_scores for table in plan.base.tables) else [],
        "legend_first": True,
        "data": None,
    }
    used = shades([look.colors], highlights=[] if measures is None else [measures])
    return render(view, shades=used, whole=whole)


def _measure_scale(plan: TokensPlan) -> ColorScale | None:
    """The scale of the step score that colours the steps; without signs it begins at the least score."""
    if plan.highlights is None or plan.highlights.signed:
        return plan.highlights
    spread = spread_scale(np.array([step.measure for steps in plan.texts for step in steps]))
    return spread if spread.high > spread.low else plan.highlights


def _sides(table: ScoreTable) -> list[str]:
    """What stands before each line of a step, as in ``StepText.lines``."""
    scored = {group.side for group in table.groups if group.positions}
    target = "Generated" if table.has_source else "Text before the step"
    if "source" not in scored:
        return [target]
    return ["Source", target] if "target" in scored else ["Source"]


def _text_context(
    steps: Sequence[StepText],
    table: ScoreTable,
    left_out: str,
    scale: ColorScale,
    measures: ColorScale | None,
    number: int,
) -> dict[str, Any]:
    sides = _sides(table)
    return {
        "template": "tokens.html.j2",
        "number": number,
        "name": name_of(table),
        "note": left_out,
        "only_side": sides[0] if len(sides) == 1 and steps else "",
        "steps": [
            {
                "token": step.token,
                "class": _measure_class(step, measures),
                "measure": "" if math.isnan(step.measure) else compact(step.measure),
                "lines": [
                    {
                        "side": side,
                        "tokens": [_token_context(line, i, scale) for i in range(len(line))],
                    }
                    for side, line in zip(sides, step.lines, strict=False)
                ],
            }
            for step in steps
        ],
    }


def _measure_class(step: StepText, scale: ColorScale | None) -> str:
    if scale is None:
        return ""
    return level_class(int(scale.levels(np.array(step.measure))), scale, HIGHLIGHTS)


def _token_context(line: Sequence[ColoredToken], i: int, scale: ColorScale) -> dict[str, Any]:
    colored = line[i]
    score = "" if math.isnan(colored.score) else f"{colored.score:.4g}"
    return {
        "text": colored.token.text,
        "space": colored.token.space_before and i > 0 and not line[i - 1].wraps,
        "special": colored.token.special,
        "class": "m" if colored.is_missing else level_class(colored.level, scale),
        "score": "no score" if colored.is_missing else score,
        "wraps": colored.wraps and i + 1 < len(line),
    }
