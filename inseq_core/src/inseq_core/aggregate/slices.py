"""Slices: fewer input positions, every attributed step.

Axes: S source positions, L target positions, T attributed steps, then the trailing axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.aggregate.record import AggregatorRecord
from inseq_core.aggregate.spans import Spans, as_spans, checked_spans
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreArray
from inseq_core.data.token import Segment, TokenSequence


@attrs.frozen(kw_only=True, repr=False)
class SliceAggregator(AggregatorRecord):
    """Keeps the given input positions and every attributed step (aggregator ``slices``).

    Attributes:
        source_spans: source positions to keep; None keeps all.
        target_spans: target positions before the first attributed step to keep; None keeps all. Attributed
            positions are always kept. Where the source was not attributed (decoder-only), ``source`` repeats
            the prompt, and spans of either side mean positions of the prompt.
    """

    name: ClassVar[str] = "slices"

    source_spans: Spans | None = attrs.field(default=None, converter=as_spans)
    target_spans: Spans | None = attrs.field(default=None, converter=as_spans)

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution of the chosen positions.

        Raises:
            InvalidArgumentError: spans that are empty, overlap or lie outside the text.
        """
        n_source, length = len(attribution.source), len(attribution.target)
        source_spans, target_spans = self.source_spans, self.target_spans
        if attribution.source_attributions is None:
            target_spans = source_spans if target_spans is None else target_spans
            checked_spans(target_spans, length, "target_spans")
            source_spans = _clipped(target_spans, n_source)
        source = _positions(n_source, checked_spans(source_spans, n_source, "source_spans"), source_spans)
        target = _positions(length, checked_spans(target_spans, length, "target_spans"), target_spans)
        if target_spans is not None:
            steps = np.arange(attribution.attr_pos_start, attribution.attr_pos_end)
            target = np.union1d(target[target < attribution.attr_pos_end], steps)
        start = int(np.searchsorted(target, attribution.attr_pos_start))
        is_smaller = len(source) < n_source or len(target) < length
        kept_meaning = attrs.evolve(attribution.meaning, complete=False, normalized=False)
        return attrs.evolve(
            attribution,
            source=_taken_tokens(attribution.source, source),
            target=_taken_tokens(attribution.target, target),
            source_attributions=_rows(attribution.source_attributions, source),
            target_attributions=_rows(attribution.target_attributions, target),
            sequence_scores={
                name: _sliced_sequence_score(attribution, name, scores, source, target)
                for name, scores in attribution.sequence_scores.items()
            },
            attr_pos_start=start,
            attr_pos_end=start + attribution.n_steps,
            meaning=kept_meaning if is_smaller else attribution.meaning,
            segments=_sliced_segments(attribution.segments, {"source": source, "target": target}),
            source_word_starts=_taken(attribution.source_word_starts, source),
            target_word_starts=_taken(attribution.target_word_starts, target),
            source_special=_taken(attribution.source_special, source),
            target_special=_taken(attribution.target_special, target),
        )


Positions = NDArray[np.int64]


def _clipped(spans: Spans | None, length: int) -> Spans | None:
    if spans is None:
        return None
    return tuple((start, min(end, length)) for start, end in spans if start < length)


def _positions(length: int, spans: Spans, given: Spans | None) -> Positions:
    if given is None:
        return np.arange(length)
    return np.array([i for start, end in spans for i in range(start, end)], dtype=np.int64)


def _rows(scores: ScoreArray | None, positions: Positions) -> ScoreArray | None:
    if scores is None or len(positions) == len(scores):
        return scores
    if len(positions) and positions[-1] - positions[0] + 1 == len(positions):
        return scores[positions[0] : positions[-1] + 1]
    return scores[positions]


def _sliced_sequence_score(
    attribution: FeatureAttributionSequenceOutput,
    name: str,
    scores: ScoreArray,
    source: Positions,
    target: Positions,
) -> ScoreArray:
    """(S or L, T, …), or (S, S, …) and (L, L, …) by name; anything of another shape stays as it is."""
    is_square = name.startswith(("encoder", "decoder"))
    of_source = not name.startswith("decoder") and (
        name.startswith("encoder") or attribution.source_attributions is not None
    )
    positions = source if of_source else target
    size = len(attribution.source) if of_source else len(attribution.target)
    if scores.shape[:2] != (size, size if is_square else attribution.n_steps):
        return scores
    return scores[positions][:, positions] if is_square else scores[positions]


def _taken_tokens(tokens: TokenSequence, positions: Positions) -> TokenSequence:
    return TokenSequence(tokens[i] for i in positions)


def _taken(flags: Sequence[bool] | None, positions: Positions) -> tuple[bool, ...] | None:
    return None if flags is None else tuple(flags[i] for i in positions)


def _sliced_segments(segments: Iterable[Segment], positions: dict[str, Any]) -> list[Segment]:
    kept = []
    for segment in segments:
        start, end = np.searchsorted(positions[segment.side], [segment.start, segment.end])
        if start < end:
            kept.append(attrs.evolve(segment, start=int(start), end=int(end)))
    return kept
