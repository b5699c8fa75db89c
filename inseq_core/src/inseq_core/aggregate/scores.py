"""One number for each position and step: trailing axes reduced, steps made comparable.

Axes: S source positions, L target positions, T attributed steps, then the trailing axes (layer, head,
hidden).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from inseq_core.aggregate.functions import NamedFunction, absolute_total, find_function
from inseq_core.aggregate.record import AggregatorRecord, optional_flag, optional_function, warn_of_meaning
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreArray, ScoreMeaning
from inseq_core.errors import InvalidArgumentError, invalid, unknown_name

Selection = int | tuple[int, int] | Sequence[int]


@attrs.frozen(kw_only=True, repr=False)
class SequenceAttributionAggregator(AggregatorRecord):
    """Reduces one trailing axis, then normalises each step (aggregator ``scores``).

    Scores without trailing axes count as an axis of one entry: ``vnorm`` gives their absolute value, the
    other functions leave them as they are.

    Attributes:
        aggregate_fn: aggregation function; None: the default of the method that made the scores, else
            ``mean``.
        axis: name or number of the trailing axis to reduce; None: the last one.
        select_idx: entries of the axis: one index (taken as it is), ``(start, end)``, or a list of indices.
        normalize: divide each step by the sum of its absolute scores, over source and target jointly, NaN
            ignored. None: yes where no axis is left, unless ``rescale``.
        rescale: divide everything by the largest absolute score.
    """

    name: ClassVar[str] = "scores"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    axis: str | int | None = None
    select_idx: Selection | None = None
    normalize: bool | None = optional_flag()
    rescale: bool | None = optional_flag()

    def __attrs_post_init__(self) -> None:
        if self.normalize and self.rescale:
            raise InvalidArgumentError(
                "normalize=True and rescale=True: a step cannot have both its sum and its largest at one.\n"
                "  Give one of them."
            )

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution without that axis."""
        reduced = self._reduce(attribution)
        if self.rescale:
            return rescaled(reduced)
        is_normalized = not reduced.axes if self.normalize is None else self.normalize
        return normalized(reduced) if is_normalized else reduced

    def _reduce(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        function = self._function(attribution)
        if not attribution.axes:
            return self._reduce_scalar(attribution, function)
        number = axis_number(attribution.axes, self.axis)
        if function is not None and function.name == "prod":
            warn_of_meaning(
                "A product of attribution scores has no meaning: they are no probabilities or factors.\n"
                "  Use 'vnorm', 'sum' or 'mean'.",
            )

        def reduce(scores: ScoreArray) -> ScoreArray:
            return _reduced(scores, number + 2, attribution.axes[number], self.select_idx, function)

        axes = attribution.axes[:number] + attribution.axes[number + 1 :]
        # default_aggregation begins with the last axis
        from_end = len(attribution.axes) - 1 - number
        default = attribution.default_aggregation
        return _with_scores(
            attribution,
            reduce,
            axes=axes,
            default_aggregation=default[:from_end] + default[from_end + 1 :],
            normalize=bool(axes) and (attribution.normalize or (self.normalize is None and not self.rescale)),
            meaning=reduced_meaning(attribution.meaning, function),
            sequence_scores={
                name: reduce(scores) if scores.ndim == 2 + len(attribution.axes) else scores
                for name, scores in attribution.sequence_scores.items()
            },
        )

    def _function(self, attribution: FeatureAttributionSequenceOutput) -> NamedFunction | None:
        if isinstance(self.select_idx, (int, np.integer)):
            return None
        if self.aggregate_fn is not None:
            return find_function(self.aggregate_fn)
        if not attribution.axes:
            return None
        from_end = len(attribution.axes) - 1 - axis_number(attribution.axes, self.axis)
        default = attribution.default_aggregation
        return find_function(default[from_end] if from_end < len(default) else "mean")

    def _reduce_scalar(
        self, attribution: FeatureAttributionSequenceOutput, function: NamedFunction | None
    ) -> FeatureAttributionSequenceOutput:
        if self.select_idx is not None or self.axis is not None:
            raise InvalidArgumentError(
                f"select_idx={self.select_idx!r}, axis={self.axis!r}: the scores have no axis left."
            )
        if function is None:
            return attrs.evolve(attribution, normalize=False)
        return _with_scores(
            attribution,
            lambda scores: function(scores[..., None], -1),
            normalize=False,
            meaning=attribution.meaning
            if function.signed
            else attrs.evolve(attribution.meaning, signed=False, complete=False),
        )


def axis_number(axes: Sequence[str], axis: str | int | None) -> int:
    """Index among the trailing axes of a name, a number, or None for the last.

    Raises:
        UnknownNameError, InvalidArgumentError: there is no such axis.
    """
    if axis is None:
        return len(axes) - 1
    if isinstance(axis, str):
        if axis not in axes:
            raise unknown_name("axis", axis, list(axes), existing="There are")
        return list(axes).index(axis)
    if not _is_index(axis) or not -len(axes) <= axis < len(axes):
        raise invalid("axis", axis, f"one of the trailing axes {tuple(axes)}")
    return axis % len(axes)


def _reduced(
    scores: ScoreArray, axis: int, name: str, selection: Selection | None, function: NamedFunction | None
) -> ScoreArray:
    if selection is not None:
        scores = _selected(scores, axis, name, selection)
    if function is None:
        return scores
    reduced = function(scores, axis)
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    if reduced.shape != expected:
        raise InvalidArgumentError(
            f"Aggregation function {function.name!r} returned shape {reduced.shape} for {scores.shape} along"
            f" axis {axis}: expected {expected}."
        )
    return reduced


def _selected(scores: ScoreArray, axis: int, name: str, selection: Selection) -> ScoreArray:
    """Chosen entries of the axis ``name``; a single index takes the axis away."""
    size = scores.shape[axis]
    alone = _is_index(selection)
    given: Any = [selection] if alone else selection
    is_sound = isinstance(given, (list, tuple, np.ndarray)) and all(map(_is_index, given))
    indices = [int(i) for i in given] if is_sound else []
    chosen: Any = indices[0] if alone and indices else indices
    if isinstance(selection, tuple) and len(indices) == 2:
        chosen = slice(*indices)
        indices = list(range(size))[chosen] if -size <= indices[0] and indices[1] <= size else []
    if not indices or any(not -size <= i < size for i in indices):
        raise invalid(
            "select_idx",
            selection,
            f"an index, (start, end) or a list within the axis {name!r} of size {size}",
        )
    return scores[(slice(None),) * axis + (chosen,)]


def _is_index(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def reduced_meaning(meaning: ScoreMeaning, function: NamedFunction | None) -> ScoreMeaning:
    """What scores mean after a function over a trailing axis; None picked one entry."""
    if function is None:
        return attrs.evolve(meaning, complete=False, normalized=False)
    return ScoreMeaning(
        signed=meaning.signed and function.signed,
        additive=meaning.additive and function.additive,
        complete=meaning.complete and function.name == "sum",
    )


def normalized(attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
    """Each step divided by the sum of its absolute scores over source and target; zero stays zero."""
    if attribution.source_attributions is None and attribution.target_attributions is None:
        return attribution
    totals: Any = 0.0
    for scores in (attribution.source_attributions, attribution.target_attributions):
        if scores is not None:
            totals = totals + absolute_total(scores, 0)
    divisor = np.where(totals == 0, 1.0, totals)
    return _with_scores(
        attribution,
        lambda scores: _divided(scores, divisor),
        normalize=False,
        meaning=attrs.evolve(attribution.meaning, normalized=True, complete=False),
    )


def rescaled(attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
    """Everything divided by the largest finite absolute score."""
    largest = max(attribution.maximum, -attribution.minimum)
    if largest == 0:
        return attrs.evolve(attribution, normalize=False)
    return _with_scores(
        attribution,
        lambda scores: _divided(scores, np.float64(largest)),
        normalize=False,
        meaning=attrs.evolve(attribution.meaning, normalized=False, complete=False),
    )


def weighted(
    attribution: FeatureAttributionSequenceOutput, step_score: str
) -> FeatureAttributionSequenceOutput:
    """Each step's scores multiplied by its step score.

    Raises:
        UnknownNameError: no such step score.
    """
    if not isinstance(step_score, str) or step_score not in attribution.step_scores:
        raise unknown_name("step score", step_score, sorted(attribution.step_scores), existing="There are")
    weights = attribution.step_scores[step_score].reshape(1, -1, *[1] * len(attribution.axes))
    return _with_scores(
        attribution,
        lambda scores: np.multiply(scores, weights, dtype=np.result_type(scores.dtype, np.float32)),
        normalize=False,
        meaning=attrs.evolve(attribution.meaning, normalized=False, complete=False),
    )


def _divided(scores: ScoreArray, divisor: Any) -> ScoreArray:
    dtype = np.result_type(scores.dtype, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # inf / inf is NaN: an infinite score has no share
        return np.divide(scores, divisor.astype(dtype), dtype=dtype)


def _with_scores(
    attribution: FeatureAttributionSequenceOutput, change: Any, **changes: Any
) -> FeatureAttributionSequenceOutput:
    source, target = attribution.source_attributions, attribution.target_attributions
    return attrs.evolve(
        attribution,
        source_attributions=None if source is None else change(source),
        target_attributions=None if target is None else change(target),
        **changes,
    )
