"""Attributions as a page: one self-contained piece of HTML that needs no network.

The table is plain markup, readable without scripts. A script adds what a picture on paper cannot do:
click a generated token and see the text before it coloured by that step, click an input and see where it
mattered, leaf through layers and heads. Everything that comes from a text, a model or a file is escaped
by the template engine, and the page's content security policy admits no script but ours.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray

from inseq_core.data.scores import ScoreArray
from inseq_core.view.colors import (
    BROWN,
    DARK,
    GREEN,
    LEVELS,
    LIGHT,
    ColorScale,
    css,
    hues,
    text_color,
)
from inseq_core.view.heading import Heading
from inseq_core.view.measures import measure_scales
from inseq_core.view.numbers import compact
from inseq_core.view.plan import Look, PlannedText, Reduced, TablePlan
from inseq_core.view.readable import ShownToken, running_text
from inseq_core.view.table import Band, RowGroup, ScoreTable, missing

_WIDE = 48
"""More columns than this are drawn as squares without numbers, which can be switched on."""
_WIDEST_HEADS = 110
"""Characters of column names side by side; with more, the names stand upright."""
_LONGEST_HEAD = 16
"""Characters of a column's name that may lie."""
_NAME_LENGTH = 70
_SPACES = re.compile(r"[·↵⇥]+")
_SIDES = ("source", "target")
HIGHLIGHTS = ("h", "b")
"""Classes of step scores above and below zero."""


def page(plan: TablePlan, *, whole: bool = True, title: str = "") -> str:
    """The page of tables to click.

    Args:
        whole: a document of its own; else the part that goes inside another one (a notebook).
    """
    keys = list(plan.looks)
    data = {
        "texts": [_text_data(text, plan.looks, keys) for text in plan.texts],
        "scales": [_look_data(look) for look in plan.looks.values()],
    }
    texts = [_text_context(text, plan.looks, number) for number, text in enumerate(plan.texts, start=1)]
    view = {
        "title": title or default_title(plan.heading),
        "heading": plan.heading,
        "reading": plan.reading,
        "texts": texts,
        "bars": [],
        "marks": [],
        "legend_first": False,
        "data": data if any(table.steps for table in plan.tables) else None,
    }
    measures = [scale for table in plan.tables for scale in measure_scales(table).values()]
    used = shades([look.colors for look in plan.looks.values()], highlights=measures)
    return render(view, shades=used, whole=whole, landscape=any(text["tall"] for text in texts))


def render(
    view: Mapping[str, Any],
    *,
    shades: Sequence[tuple[str, str, str, str, str]],
    whole: bool,
    landscape: bool = False,
) -> str:
    """The markup of a view: ``texts`` (each with the name of its template), title, legend and data.

    Args:
        landscape: a page of its own is printed on its side.
    """
    environment = _environment()
    style = Markup(
        environment.get_template("style.css.j2").render(shades=shades, landscape=whole and landscape)
    )
    script = Markup(_script())
    # A policy by hashes: even a token that escaped escaping would not run, and nothing is fetched from
    # anywhere.
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; form-action 'none'"
    template = environment.get_template("page.html.j2" if whole else "view.html.j2")
    return template.render(view=view, style=style, script=script, policy=policy)


def default_title(heading: Heading) -> str:
    """``integrated_gradients of demo-en-fr``, as far as it is known."""
    facts = dict(heading.facts)
    parts = [facts[name] for name in ("Method", "Model") if name in facts]
    return " of ".join(parts) or "Attribution"


def level_class(level: int, scale: ColorScale, letters: tuple[str, str] | None = None) -> str:
    """The class of a level's colour: ``p3``, ``n3``, ``u3``; "" for level 0."""
    above, below = letters or (("p", "n") if scale.signed else ("u", "u"))
    return f"{above if level > 0 else below}{abs(level)}" if level else ""


def shades(
    scales: Iterable[ColorScale], *, highlights: Iterable[ColorScale] = ()
) -> list[tuple[str, str, str, str, str]]:
    """(class, background and text on light, background and text on dark) of every shade that a page may
    use; ``highlights`` are the scales of step scores."""
    wanted: dict[str, float] = {}
    for scale in scales:
        above, below = hues(scale)
        wanted |= {"p": above, "n": below} if scale.signed else {"u": above}
    for scale in highlights:
        wanted |= {"h": GREEN, "b": BROWN} if scale.signed else {"h": GREEN}
    listed = []
    for letter, hue in wanted.items():
        for level in range(1, LEVELS + 1):
            light, dark = LIGHT.shade(level, hue=hue), DARK.shade(level, hue=hue)
            colors = (css(light), css(text_color(light)), css(dark), css(text_color(dark)))
            listed.append((f"{letter}{level}", *colors))
    return listed


def text_runs(
    tokens: Sequence[ShownToken], bands: Sequence[Band], steps: Iterable[int] = ()
) -> list[dict[str, Any]]:
    """Running text, cut where a segment begins or ends."""
    clickable = set(steps)
    cuts = sorted({0, len(tokens), *(b.start for b in bands), *(min(b.end, len(tokens)) for b in bands)})
    labels = {band.start: band.label for band in bands}
    runs = []
    for start, end in itertools.pairwise(cuts):
        shown = [
            {
                "text": tokens[i].text,
                "space": tokens[i].space_before and i > start,
                "line_break": tokens[i].line_break and i + 1 < end,
                "special": tokens[i].special,
                "is_step": i in clickable,
            }
            for i in range(start, end)
        ]
        runs.append({"label": labels.get(start), "tokens": shown})
    return runs


def name_of(table: ScoreTable) -> str:
    """A text's name in a list: how it begins."""
    first = table.steps[0] if table.steps else len(table.target)
    text = running_text(table.source) if table.has_source else running_text(table.target[:first])
    text = text or running_text(table.target) or "no text"
    return text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + "…"


def panels_of(table: ScoreTable) -> list[dict[str, Any]]:
    """The text to click: source and generated text, or one text for both."""
    written = "Generated text" if table.has_source else "Prompt and generated text"
    shown = [
        {"title": written, "side": "target", "runs": text_runs(table.target, table.target_bands, table.steps)}
    ]
    if table.has_source:
        shown.insert(
            0, {"title": "Source", "side": "source", "runs": text_runs(table.source, table.source_bands)}
        )
    return shown


def _text_context(text: PlannedText, looks: Mapping[Reduced, Look], number: int) -> dict[str, Any]:
    table = text.table
    look = looks[text.reduced(text.first)]
    return {
        "template": "matrix.html.j2",
        "number": number,
        "name": name_of(table),
        "panels": panels_of(table),
        "axes": [
            {
                "name": axis.name,
                "entries": axis.entries,
                "entry": min(entry, len(axis.entries) - 1),
                "label": axis.labels[entry],
                "is_all": entry == len(axis.entries),
                "all_label": axis.all_label,
            }
            for axis, entry in zip(text.axes, text.first, strict=True)
        ],
        "n_steps": len(table.steps),
        "columns": table.columns,
        "column_bands": _column_bands(table),
        "tall": _is_tall(table),
        "wide": len(table.steps) > _WIDE,
        "factor": look.numbers.factor,
        "bar": color_bar("", look) if table.groups else None,
        "marks": _marks(table),
        "groups": [_group_context(table, group.entry(text.first), look) for group in table.groups],
        "step_scores": _measures(table),
        "note": _note(text),
    }


def _group_context(table: ScoreTable, group: RowGroup, look: Look) -> dict[str, Any]:
    levels, undefined = look.colors.levels(group.values), missing(group)
    rows = []
    for row, token in enumerate(table.tokens(group)):
        cells = [
            ("m", "n/a") if gone else (level_class(level, look.colors), look.numbers.text(score))
            for level, score, gone in zip(
                levels[row].tolist(), group.values[row].tolist(), undefined[row].tolist(), strict=True
            )
        ]
        band = table.band_at(group, row)
        rows.append({"token": token, "cells": cells, "hidden": group.hidden_before(row), "band": band})
    title = group.title if len(table.groups) > 1 else ""
    return {"title": title, "rows": rows, "hidden_at_end": group.hidden_at_end}


def _is_tall(table: ScoreTable) -> bool:
    """Whether the columns' names stand upright: side by side they would not fit."""
    lengths = [len(token.label) for token in table.columns]
    is_wide = sum(max(5, length + 2) for length in lengths) > _WIDEST_HEADS or len(lengths) > _WIDE
    return is_wide or max(lengths, default=0) > _LONGEST_HEAD


def _marks(table: ScoreTable) -> list[dict[str, str]]:
    """What stands in a table that is no score."""
    marks = []
    if any(bool((np.isnan(group.values) & ~_over_axes(group)).any()) for group in table.groups):
        marks.append({"class": "m", "sample": "", "meaning": "no score"})
    if any(bool(group.absent.any()) for group in table.groups):
        marks.append({"class": "a", "sample": "", "meaning": "at or after the step"})
    return marks


def _over_axes(group: RowGroup) -> NDArray[np.bool_]:
    """(I, T, 1 …) Where a group has no cell, for every entry of its trailing axes."""
    return group.absent.reshape(group.absent.shape + (1,) * (group.values.ndim - 2))


def _measures(table: ScoreTable) -> list[dict[str, Any]]:
    """The rows of step scores: numbers, each with the class of its colour."""
    rows = []
    for name, scale in measure_scales(table).items():
        scores = table.step_scores[name]
        classes = [level_class(level, scale, HIGHLIGHTS) for level in scale.levels(scores).tolist()]
        cells = [(level, compact(float(score))) for level, score in zip(classes, scores, strict=True)]
        span = f"{compact(scale.low)} to {compact(scale.high)}" if scale.high > scale.low else ""
        rows.append({"name": name, "span": span, "cells": cells})
    return rows


def _column_bands(table: ScoreTable) -> list[dict[str, Any]]:
    """Segments over the columns, gaps included; empty where there are none."""
    if not table.steps:
        return []
    first, end = table.steps[0], table.steps[-1] + 1
    shown: list[dict[str, Any]] = []
    at = first
    for band in table.target_bands:
        start, stop = max(band.start, at), min(band.end, end)
        if stop <= start:
            continue
        if start > at:
            shown.append({"label": "", "span": start - at})
        shown.append({"label": band.label, "span": stop - start})
        at = stop
    if shown and at < end:
        shown.append({"label": "", "span": end - at})
    return shown


def _note(text: PlannedText) -> str:
    parts = []
    if text.table.hidden_inputs:
        parts.append(f"{text.table.hidden_inputs} inputs with small scores are left out.")
    if text.table.hidden_steps:
        parts.append(f"The last {text.table.hidden_steps} steps are left out.")
    parts += [
        f"The {len(axis.entries)} of {axis.size} entries of {axis.name} with the largest scores are shown."
        for axis in text.axes
        if len(axis.entries) < axis.size
    ]
    return " ".join(parts)


def _text_data(text: PlannedText, looks: Mapping[Reduced, Look], keys: Sequence[Reduced]) -> dict[str, Any]:
    shape = tuple(len(axis.entries) + 1 for axis in text.axes)
    slices, scale_of = [], []
    for index in np.ndindex(*shape):
        reduced = text.reduced(index)
        decimals = looks[reduced].decimals
        slices.append(",".join(_digits(group.entry(index).values, decimals) for group in text.table.groups))
        scale_of.append(keys.index(reduced))
    return {
        "rows": [[_SIDES.index(group.side), list(group.positions)] for group in text.table.groups],
        "steps": [text.table.steps[0] if text.table.steps else 0, len(text.table.steps)],
        "axes": [list(axis.labels) for axis in text.axes],
        "scores": slices,
        "scale": scale_of,
        "first": int(np.ravel_multi_index(text.first, shape)) if shape else 0,
        "open": 0,
    }


def _digits(values: ScoreArray, decimals: int) -> str:
    """Scores in whole units of the last shown decimal, separated by commas; nothing for NaN."""
    scaled = np.asarray(values, dtype=np.float64).ravel() * 10.0**decimals
    finite = np.isfinite(scaled)
    written = np.where(finite, scaled, 0.0).round().astype(np.int64).astype(str).tolist()
    if finite.all():
        return ",".join(written)
    special = {True: "Infinity", False: "-Infinity"}
    return ",".join(
        text if ok else "" if np.isnan(value) else special[bool(value > 0)]
        for text, ok, value in zip(written, finite.tolist(), scaled.tolist(), strict=True)
    )


def _look_data(look: Look) -> list[Any]:
    colors = look.colors
    return [
        colors.low,
        colors.high,
        colors.signed,
        look.decimals,
        look.numbers.decimals,
        look.numbers.exponent,
        look.numbers.factor,
    ]


def color_bar(what: str, look: Look, letters: tuple[str, str] | None = None) -> dict[str, Any]:
    """A legend's bar: its ends and the classes of its boxes; empty where no score has a colour."""
    colors, numbers = look.colors, look.numbers
    levels = range(-LEVELS if colors.signed else 0, LEVELS + 1)
    low, high = numbers.text(colors.low), f"{numbers.text(colors.high)} {numbers.factor}".strip()
    return {
        "what": what,
        "name": f"{what}: colours from {low} to {high}"
        if what
        else f"Colours of scores from {low} to {high}",
        "is_empty": not colors.high > colors.low,
        "low": low,
        "high": high,
        "classes": [level_class(level, colors, letters) for level in levels],
    }


def _marked(label: str) -> Markup:
    """A label with its marks of spaces and line breaks set apart."""
    parts, at = [], 0
    for match in _SPACES.finditer(label):
        parts += [escape(label[at : match.start()]), Markup("<span class=mark>{}</span>").format(match[0])]
        at = match.end()
    return Markup("").join([*parts, escape(label[at:])])


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()
    return f"'sha256-{digest}'"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("inseq_core.view", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["marked"] = _marked
    return environment


@functools.cache
def _script() -> str:
    loader = _environment().loader
    source = loader.get_source(_environment(), "view.js")[0] if loader else ""
    # Comments and indentation are for whoever reads the file, not for every page.
    lines = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))
