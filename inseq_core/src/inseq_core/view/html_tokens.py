"""Attributions inside the text, as a page: one step a paragraph, exact scores on hover. It needs no
script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from inseq_core.view.colors import ColorScale
from inseq_core.view.html import color_bar, default_title, level_class, name_of, render, shades
from inseq_core.view.numbers import compact, number_format
from inseq_core.view.plan import Look, TokensPlan
from inseq_core.view.table import ScoreTable
from inseq_core.view.tokens import ColoredToken, StepText

HIGHLIGHTS = ("h", "b")
"""Classes of step scores above and below zero."""


def tokens_page(plan: TokensPlan, *, whole: bool = True, title: str = "") -> str:
    """The page of texts step by step."""
    look = plan.base.looks[()]
    bars = [color_bar("", look)]
    if plan.highlights is not None:
        ends = [np.array([plan.highlights.low, plan.highlights.high])]
        of_steps = Look(colors=plan.highlights, numbers=number_format(ends), decimals=0)
        bars.append(color_bar(f"{plan.highlight} of the step", of_steps, HIGHLIGHTS))
    view = {
        "title": title or default_title(plan.base.heading),
        "heading": plan.base.heading,
        "reading": plan.base.reading,
        "texts": [
            _text_context(steps, table, plan, number)
            for number, (steps, table) in enumerate(zip(plan.texts, plan.base.tables, strict=True), start=1)
        ],
        "bars": bars,
        "data": None,
    }
    return render(view, shades=shades([look.colors], highlights=plan.highlights is not None), whole=whole)


def _text_context(
    steps: Sequence[StepText], table: ScoreTable, plan: TokensPlan, number: int
) -> dict[str, Any]:
    scale, highlights = plan.base.looks[()].colors, plan.highlights
    return {
        "template": "tokens.html.j2",
        "number": number,
        "name": name_of(table),
        "note": f"The last {table.hidden_steps} steps are left out." if table.hidden_steps else "",
        "steps": [
            {
                "token": step.token,
                "class": level_class(step.measure_level, highlights, HIGHLIGHTS) if highlights else "",
                "measure": "" if math.isnan(step.measure) else compact(step.measure),
                "lines": [[_token_context(line, i, scale) for i in range(len(line))] for line in step.lines],
            }
            for step in steps
        ],
    }


def _token_context(line: Sequence[ColoredToken], i: int, scale: ColorScale) -> dict[str, Any]:
    colored = line[i]
    return {
        "text": colored.token.text,
        "space": colored.token.space_before and i > 0 and not line[i - 1].wraps,
        "special": colored.token.special,
        "class": level_class(colored.level, scale),
        "score": "" if math.isnan(colored.score) else f"{colored.score:.4g}",
        "wraps": colored.wraps and i + 1 < len(line),
    }
