"""The form of what a method gives: found out before any of it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from inseq_core.contracts.guard import FOREIGN, shown
from inseq_core.data.features import FeatureSet
from inseq_core.data.result import MethodOutput


def broken_promise(output: Any, *, n_texts: int, taken: Collection[str]) -> str | None:
    """What is wrong with the form of a method's output, in words that follow the method's name; None: nothing.

    Args:
        n_texts: texts of its context.
        taken: names of the step scores that the user asked for.
    """
    if not isinstance(output, MethodOutput):
        return f"returned {_kind(output)}, expected a MethodOutput: ctx.output(source, target)"
    for name in ("step_scores", "beside", "sequence_scores", "notes"):
        values = getattr(output, name)
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            what = "with keys that are no names" if isinstance(values, Mapping) else f"as {_kind(values)}"
            return f"gave {name} {what}, expected a dict by name"
    if output.axes is not None and not _are_names(output.axes):
        return f"gave axes = {shown(output.axes)}, expected a tuple of different names, or None"
    for name in output.step_scores:
        if name in taken:
            return (
                f"gave step score {name!r}, which is also the name of a step function that was asked for: "
                "results could show only one of them"
            )
    for name, sides in output.beside.items():
        if not isinstance(sides, (tuple, list)) or len(sides) != 2:
            return f"gave {name!r} beside its scores as {_kind(sides)}, expected a pair (source, target)"
    for name, values in output.sequence_scores.items():
        count = _count(values)
        if count != n_texts:
            given = f"as {_kind(values)}" if count is None else f"for {count} texts"
            return f"gave sequence score {name!r} {given}, expected one value for each of {n_texts} texts"
    features = output.notes.get("features")
    if not isinstance(features, (FeatureSet, type(None))):
        return f"gave the note 'features' as {_kind(features)}, expected ctx.features"
    return None


def _are_names(axes: Any) -> bool:
    is_list = isinstance(axes, (tuple, list)) and all(isinstance(axis, str) for axis in axes)
    return is_list and len(set(axes)) == len(axes)


def _count(values: Any) -> int | None:
    """How many values there are; None where they cannot be counted off."""
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__getitem__"):
        return None
    try:
        return len(values)
    except FOREIGN:
        return None


def _kind(value: Any) -> str:
    return type(value).__name__
