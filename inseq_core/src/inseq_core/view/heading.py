"""What a picture shows, in words: the model, the method, and how to read the colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np

from inseq_core.view.colors import ColorScale
from inseq_core.view.readable import visible
from inseq_core.view.table import ScoreTable, is_blank

_FACTS = (
    ("model_name", "Model"),
    ("attribution_method", "Method"),
    ("attributed_fn", "Explains"),
)
_DETAILS = (
    ("model_class", "Model class"),
    ("attribution_args", "Method arguments"),
    ("attributed_fn_args", "Attributed function arguments"),
    ("step_scores", "Step scores"),
    ("baseline", "Baseline"),
    ("features", "Features"),
    ("removal", "Removal"),
    ("generation_args", "Generation arguments"),
    ("constrained_decoding", "Output was given"),
    ("reductions", "Reductions"),
    ("method_distribution", "Method from"),
    ("method_version", "Method version"),
    ("seed", "Seed"),
    ("dtype", "Precision"),
    ("device", "Device"),
    ("exec_time", "Seconds"),
    ("warnings", "Warnings"),
    ("created", "Made"),
)

_NOTES = ("features", "removal")
_INSIDE = "the model's state at the step"

MISSING = "n/a"
"""What stands where the method gave no score."""

View = Literal["table", "tokens"]
_PLACES: Mapping[View, str] = {
    "table": "column explains one generated token",
    "tokens": "paragraph explains the token on its left",
}


@attrs.frozen(kw_only=True)
class Heading:
    """What is known of a result as a whole.

    Attributes:
        facts: (name, value) of model, method and attributed function.
        details: (name, value) of everything else that is known.
        explains: the attributed function in running text.
    """

    facts: tuple[tuple[str, str], ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    explains: str = "the score of the step"


def heading(info: Mapping[str, Any] | None) -> Heading:
    """The words for a result's info."""
    if not info:
        return Heading()
    notes = info.get("notes")
    notes = notes if isinstance(notes, Mapping) else {}
    details = _named({**info, **{key: notes.get(key) for key in _NOTES}}, _DETAILS)
    if notes.get("uses_function") is False:  # the method looked inside, whatever was to be explained
        return Heading(facts=_named(info, _FACTS[:-1]), details=details, explains=_INSIDE)
    name = info.get("attributed_fn")
    return Heading(
        facts=_named(info, _FACTS),
        details=details,
        explains=f"the {visible(str(name)).replace('_', ' ')}" if name else "the score of the step",
    )


def _named(info: Mapping[str, Any], names: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    known = ((title, info.get(key)) for key, title in names)
    return tuple(
        (title, _written(value)) for title, value in known if value not in (None, "", (), [], {}, False)
    )


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(k))} = {_written(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_written(item) for item in value)
    if isinstance(value, float):
        return f"{value:.3g}"
    text = visible(str(value))
    return text if len(text) <= 300 else text[:299] + "…"


def reading(
    tables: Sequence[ScoreTable],
    scales: Iterable[ColorScale],
    explains: str,
    *,
    view: View = "table",
    has_color: bool = True,
) -> tuple[str, ...]:
    """How to read the scores, one statement each.

    Args:
        view: "table" has numbers in columns, "tokens" has colours in the text.
        has_color: whether there are colours; without, a text has its scores written into it.
    """
    if tables and not any(table.groups for table in tables):
        return ("Step scores only: no input was attributed.",)
    lines = [f"Each {_PLACES[view]} by the inputs before it."]
    if is_blank(tables):
        zero = any(bool((array == 0).any()) for table in tables for array in table.arrays)
        lines.append("All scores are zero." if zero else "No scores.")
    else:
        lines += _meaning(tables, {scale.signed for scale in scales}, explains, view, has_color)
    if any(table.has_missing_scores for table in tables):
        mark = "Underlined" if view == "tokens" and has_color else MISSING
        lines.append(f"{mark}: the method gave no score.")
    return tuple(lines)


def _meaning(
    tables: Sequence[ScoreTable], kinds: set[bool], explains: str, view: View, has_color: bool
) -> list[str]:
    """What a score says, for scores that are ``kinds`` of signed."""
    lines = [_direction(is_signed, explains, view, has_color) for is_signed in sorted(kinds, reverse=True)]
    if tables and all(table.meaning.normalized or _sums_to_one(table) for table in tables):
        lines.append("The absolute scores of a step sum to 1.")
    elif tables and all(table.meaning.complete for table in tables):
        once = any(table.feature_kind != "token" and not table.is_spread for table in tables)
        taken = ", each taken once," if once else ""
        lines.append(f"The scores of a step{taken} sum to the difference that the inputs make to {explains}.")
    lines += [
        f"Scores are of whole {kind}s: each of its tokens shows {'its share of ' * is_spread}the score of its {kind}."
        for kind, is_spread in sorted({(table.feature_kind, table.is_spread) for table in tables})
        if kind != "token"
    ]
    return lines


def _direction(is_signed: bool, explains: str, view: View, has_color: bool) -> str:
    """What it means that a score is large, or below zero."""
    colored_text = view == "tokens" and has_color
    if is_signed and colored_text:
        return f"Red tokens raised {explains}, blue tokens lowered it."
    if is_signed:
        above, below = (" (red)", " (blue)") if has_color else ("", "")
        return f"Scores above zero{above} raised {explains}, scores below zero{below} lowered it."
    larger = "The stronger the violet" if colored_text else "The larger a score" + " (violet)" * has_color
    what = "the token" if view == "tokens" else "the input"
    return f"{larger}, the more {what} mattered for {explains}; in which direction is not known."


def _sums_to_one(table: ScoreTable) -> bool:
    """Whether the absolute scores of every column sum to one, up to half precision."""
    if table.axes or not table.groups or table.hidden_inputs:
        return False
    total = sum(np.nansum(np.abs(group.values), axis=0) for group in table.groups)
    return bool(np.size(total)) and bool(np.all(np.abs(total - 1) < 5e-3))
