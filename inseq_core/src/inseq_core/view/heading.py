"""What a picture shows, in words: the model, the method, and how to read the colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.view.colors import ColorScale
from inseq_core.view.readable import visible
from inseq_core.view.table import ScoreTable

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
        explains=visible(str(name)).replace("_", " ") if name else "the score of the step",
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


def reading(tables: Sequence[ScoreTable], scales: Iterable[ColorScale], explains: str) -> tuple[str, ...]:
    """How to read the numbers, one statement each, true also where there are no colours."""
    if tables and not any(table.groups for table in tables):
        return ("Step scores only: no input was attributed.",)
    kinds = {scale.signed for scale in scales}
    lines = ["Each column explains one generated token by the inputs before it."]
    if True in kinds:
        lines.append(f"Scores above zero (red) raised {explains}, scores below zero (blue) lowered it.")
    if False in kinds:
        lines.append(
            f"The larger a score (violet), the more the input mattered for {explains}; in which direction is"
            " not known."
        )
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
    if any(table.has_missing_scores for table in tables):
        lines.append("n/a: the method gave no score.")
    return tuple(lines)


def _sums_to_one(table: ScoreTable) -> bool:
    """Whether the absolute scores of every column sum to one, up to half precision."""
    if table.axes or not table.groups or table.hidden_inputs:
        return False
    total = sum(np.nansum(np.abs(group.values), axis=0) for group in table.groups)
    return bool(np.size(total)) and bool(np.all(np.abs(total - 1) < 5e-3))
