"""Aggregation functions: an array and an axis to an array without that axis.

NaN means "no score here" and is ignored; where there is no score at all the result is NaN. Sums are
accumulated in float64. Large arrays are reduced in blocks, so that nothing of the size of the input is
allocated beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.contracts.guard import Guard
from inseq_core.data.scores import ScoreArray
from inseq_core.errors import InvalidArgumentError

AggregationFunction = Callable[..., Any]
"""``fn(array, axis) -> array`` without that axis."""

_FORM = "It is called as fn(array, axis), and returns the array without that axis."

_BLOCK = 1 << 19
"""Numbers reduced at once."""


def total(scores: ScoreArray, axis: int) -> ScoreArray:
    """The sum, NaN ignored."""
    return _blockwise(_sum, scores, axis)


def mean(scores: ScoreArray, axis: int) -> ScoreArray:
    """The arithmetic mean of the values that are not NaN."""
    return _blockwise(_mean, scores, axis)


def product(scores: ScoreArray, axis: int) -> ScoreArray:
    """The product, NaN ignored."""
    return _blockwise(_product, scores, axis)


def maximum(scores: ScoreArray, axis: int) -> ScoreArray:
    """The largest value."""
    return np.fmax.reduce(scores, axis=axis, initial=np.nan)


def minimum(scores: ScoreArray, axis: int) -> ScoreArray:
    """The smallest value."""
    return np.fmin.reduce(scores, axis=axis, initial=np.nan)


def absolute_maximum(scores: ScoreArray, axis: int) -> ScoreArray:
    """The value farthest from zero, with its sign: -0.7 of [0.3, -0.7]. Of two as far, the positive one."""
    highest, lowest = maximum(scores, axis), minimum(scores, axis)
    return np.where(-lowest > highest, lowest, highest)


def vector_norm(scores: ScoreArray, axis: int) -> ScoreArray:
    """The Euclidean (L2) length, NaN ignored."""
    return _blockwise(_norm, scores, axis)


def absolute_total(scores: ScoreArray, axis: int) -> NDArray[np.float64]:
    """The sum of absolute values in float64, NaN ignored; 0 where there is nothing."""
    return np.nan_to_num(_blockwise(_absolute_sum, scores, axis, np.float64), nan=0.0, posinf=np.inf)


def _absolute_sum(scores: NDArray[Any], axis: int) -> NDArray[Any]:
    return _sum(np.abs(scores), axis)


def _sum(scores: NDArray[Any], axis: int) -> NDArray[Any]:
    known = ~np.isnan(scores)
    added = np.add.reduce(scores, axis=axis, dtype=np.float64, where=known)
    return np.where(known.any(axis=axis), added, np.nan)


def _mean(scores: NDArray[Any], axis: int) -> NDArray[Any]:
    known = ~np.isnan(scores)
    count = known.sum(axis=axis)
    added = np.add.reduce(scores, axis=axis, dtype=np.float64, where=known)
    return np.where(count > 0, added / np.maximum(count, 1), np.nan)


def _product(scores: NDArray[Any], axis: int) -> NDArray[Any]:
    known = ~np.isnan(scores)
    multiplied = np.multiply.reduce(scores, axis=axis, dtype=np.float64, where=known)
    return np.where(known.any(axis=axis), multiplied, np.nan)


def _norm(scores: NDArray[Any], axis: int) -> NDArray[Any]:
    wide = scores.astype(np.float64)
    return np.sqrt(_sum(np.square(wide, out=wide), axis))


def _blockwise(
    reduce: AggregationFunction, scores: ScoreArray, axis: int, dtype: Any = np.float32
) -> NDArray[Any]:
    """``reduce`` over blocks of another axis; the result has the scores' dtype, at least ``dtype``."""
    scores = np.asarray(scores)
    axis = axis % scores.ndim
    dtype = np.result_type(scores.dtype, dtype)
    others = [i for i in range(scores.ndim) if i != axis]
    if scores.size <= _BLOCK or not others:
        return np.asarray(reduce(scores, axis)).astype(dtype)
    along = others[0] if axis != 0 else max(others, key=lambda i: scores.shape[i])
    moved = np.moveaxis(scores, along, 0)
    inner = axis + 1 if axis < along else axis
    shape = [moved.shape[i] for i in range(moved.ndim) if i != inner]
    reduced = np.empty(shape, dtype=dtype)
    rows = max(1, _BLOCK * len(moved) // scores.size)
    for start in range(0, len(moved), rows):
        reduced[start : start + rows] = reduce(moved[start : start + rows], inner)
    return np.moveaxis(reduced, 0, along if along < axis else along - 1)


@attrs.frozen(kw_only=True)
class NamedFunction:
    """An aggregation function with what it does to the meaning of scores.

    Attributes:
        name: its id, or the name of a function given as it is.
        call: ``call(array, axis)``.
        signed: the result of signed scores is still signed.
        additive: the result of additive scores is still additive.
        origin: the plugin that it is from, in words; "" for functions of this session.
    """

    name: str
    call: AggregationFunction = attrs.field(eq=False)
    signed: bool = True
    additive: bool = False
    origin: str = attrs.field(default="", eq=False)

    def __call__(self, scores: ScoreArray, axis: int) -> ScoreArray:
        """``scores`` without the axis.

        Raises:
            InvalidArgumentError: a function that somebody gave failed.
        """
        whose = f"{self.name!r} of {self.origin}" if self.origin else repr(self.name)
        with Guard(InvalidArgumentError, f"Aggregation function {whose} failed", advice=_FORM):
            return np.asarray(self.call(scores, axis))


def find_function(function: str | AggregationFunction | NamedFunction) -> NamedFunction:
    """The aggregation function of an id, or a callable ``fn(array, axis)`` itself.

    Raises:
        UnknownNameError: no aggregation function has this id.
    """
    if isinstance(function, NamedFunction):
        return function
    if callable(function):
        return NamedFunction(name=getattr(function, "__name__", repr(function)), call=function)
    from inseq_core.hooks import aggregation_functions

    entry = aggregation_functions().get(function)
    return NamedFunction(
        name=entry.name,
        call=entry.load(),
        signed=entry.spec.signed,
        additive=entry.spec.additive,
        origin="" if entry.provenance.is_session else str(entry.provenance),
    )
