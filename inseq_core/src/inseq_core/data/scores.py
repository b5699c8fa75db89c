"""Arrays of scores, and what the numbers in them mean.

Axes: S source positions, L target positions, T attributed steps, then the trailing axes of a method's result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.data.read_only import ReadOnlyDict
from inseq_core.errors import invalid

ScoreArray = NDArray[np.floating[Any]]


def as_scores(values: Any) -> ScoreArray:
    """A read-only floating array of ``values``; shares their memory where it can.

    Integers, booleans and bfloat16 (which numpy does not have) become float32; other floats stay.
    """
    array = np.asarray(values)
    if array.dtype.name == "bfloat16" or array.dtype.kind in "iub":
        array = array.astype(np.float32)
    if array.dtype.kind != "f":
        raise invalid("scores", array.dtype.name, "an array of real numbers")
    array = array.view()
    array.setflags(write=False)
    return array


def optional_scores(values: Any) -> ScoreArray | None:
    """``as_scores``, None kept."""
    return None if values is None else as_scores(values)


def score_mapping(values: Mapping[str, Any] | None) -> dict[str, ScoreArray]:
    """Name -> scores, read-only."""
    return ReadOnlyDict({str(name): as_scores(scores) for name, scores in (values or {}).items()})


def same_scores(a: ScoreArray | None, b: ScoreArray | None) -> bool:
    """Equal shape and numbers; NaN equals NaN."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))


def same_mappings(a: Mapping[str, ScoreArray], b: Mapping[str, ScoreArray]) -> bool:
    """The same names with the same scores."""
    return a.keys() == b.keys() and all(same_scores(a[name], b[name]) for name in a)


@attrs.frozen(kw_only=True)
class ScoreMeaning:
    """What a score stands for, and so which arithmetic on it keeps a meaning.

    Attributes:
        signed: a score below zero says that the input spoke against the step.
        additive: scores of tokens may be summed into the score of a span.
        complete: the scores of a step sum to a difference of the attributed function.
        normalized: the absolute scores of a step sum to one.
    """

    signed: bool = True
    additive: bool = False
    complete: bool = False
    normalized: bool = False
