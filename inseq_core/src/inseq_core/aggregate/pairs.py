"""Pairs: two attributions of the same shape compared cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import numpy as np

from inseq_core.aggregate.functions import find_function
from inseq_core.aggregate.record import AggregatorRecord, optional_function, warn_of_meaning
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreArray, ScoreMeaning
from inseq_core.data.token import TokenSequence, TokenWithId
from inseq_core.errors import InvalidArgumentError, invalid

Compare = Callable[[ScoreArray, ScoreArray], Any]


@attrs.frozen(kw_only=True, repr=False)
class PairAggregator(AggregatorRecord):
    """Compares an attribution with another one (aggregator ``pair``; ``a - b``).

    Tokens that differ are labelled ``a → b``.

    Attributes:
        paired_attr: the other attribution, of the same shape.
        aggregate_fn: None for the difference, this minus the other; ``fn(a, b)``; or the id of an
            aggregation function of the two values.
    """

    name: ClassVar[str] = "pair"

    paired_attr: FeatureAttributionSequenceOutput | None = attrs.field(default=None, eq=False)
    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.paired_attr, FeatureAttributionSequenceOutput):
            raise invalid("paired_attr", self.paired_attr, "the attribution to compare with, of one text")

    def __repr__(self) -> str:
        return f"{self.name}({self.paired_attr!r})"

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The comparison, with the attribution's own positions and segments.

        Raises:
            InvalidArgumentError: the two differ in shape.
        """
        other = self.paired_attr
        if other is None:
            raise invalid("paired_attr", other, "the attribution to compare with")
        _check_shapes(attribution, other)
        if attribution.meaning != other.meaning:
            warn_of_meaning(
                f"The two attributions do not mean the same: {attribution.meaning} and {other.meaning}.\n"
                "  Aggregate and normalise both in the same way before comparing them.",
            )
        compare = self._compare()
        source, target = attribution.source_attributions, attribution.target_attributions
        return attrs.evolve(
            attribution,
            source=_paired_tokens(attribution.source, other.source),
            target=_paired_tokens(attribution.target, other.target),
            source_attributions=_both(compare, source, other.source_attributions),
            target_attributions=_both(compare, target, other.target_attributions),
            step_scores=_compared(compare, attribution.step_scores, other.step_scores),
            sequence_scores=_compared(compare, attribution.sequence_scores, other.sequence_scores),
            normalize=attribution.normalize and attribution.is_granular,
            meaning=ScoreMeaning(
                signed=True,
                additive=attribution.meaning.additive
                and other.meaning.additive
                and self.aggregate_fn is None,
                complete=attribution.meaning.complete
                and other.meaning.complete
                and self.aggregate_fn is None,
            ),
        )

    def _compare(self) -> Compare:
        if self.aggregate_fn is None:
            return _difference
        if isinstance(self.aggregate_fn, str):
            function = find_function(self.aggregate_fn)
            return lambda a, b: function(np.stack([a, b]), 0)
        return self.aggregate_fn


def _both(compare: Compare, a: ScoreArray | None, b: ScoreArray | None) -> ScoreArray | None:
    return None if a is None or b is None else compare(a, b)


def _difference(a: ScoreArray, b: ScoreArray) -> ScoreArray:
    with np.errstate(invalid="ignore"):  # inf - inf is NaN
        return a - b


def _check_shapes(a: FeatureAttributionSequenceOutput, b: FeatureAttributionSequenceOutput) -> None:
    for name, shape, other in (
        ("source tokens", len(a.source), len(b.source)),
        ("target tokens", len(a.target), len(b.target)),
        ("attributed positions", (a.attr_pos_start, a.attr_pos_end), (b.attr_pos_start, b.attr_pos_end)),
        ("source_attributions", _shape(a.source_attributions), _shape(b.source_attributions)),
        ("target_attributions", _shape(a.target_attributions), _shape(b.target_attributions)),
        ("step scores", _shapes(a.step_scores), _shapes(b.step_scores, a.step_scores)),
        ("sequence scores", _shapes(a.sequence_scores), _shapes(b.sequence_scores, a.sequence_scores)),
    ):
        if shape != other:
            raise InvalidArgumentError(
                f"The two attributions differ in {name}: {shape} and {other}.\n"
                "  Pair attributions of texts of the same length, or merge spans or words first."
            )


def _shape(scores: ScoreArray | None) -> tuple[int, ...] | None:
    return None if scores is None else scores.shape


def _shapes(
    scores: Mapping[str, ScoreArray], wanted: Mapping[str, ScoreArray] | None = None
) -> dict[str, tuple[int, ...]]:
    return {name: scores[name].shape for name in sorted(scores) if wanted is None or name in wanted}


def _compared(
    compare: Compare, a: Mapping[str, ScoreArray], b: Mapping[str, ScoreArray]
) -> dict[str, ScoreArray]:
    return {name: compare(scores, b[name]) for name, scores in a.items()}


def _paired_tokens(a: TokenSequence, b: TokenSequence) -> TokenSequence:
    return TokenSequence(
        mine if mine.token == theirs.token else TokenWithId(f"{mine.token} → {theirs.token}")
        for mine, theirs in zip(a, b, strict=True)
    )
