"""Spans: neighbouring positions become one.

A span of target positions merges rows (what was looked at) and, where it holds attributed steps, columns
(what was explained). Columns are merged first, then rows. A cell without any score stays NaN; where a merged
step was explained partly by its own earlier pieces, that is kept on its own row, so that sums are preserved.
Axes: S source positions, L target positions, T attributed steps, then the trailing axes; G groups of
positions.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from inseq_core.aggregate.functions import NamedFunction, find_function
from inseq_core.aggregate.record import AggregatorRecord, optional_function, warn_of_meaning
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreArray, ScoreMeaning
from inseq_core.data.token import Segment, TokenSequence, TokenWithId
from inseq_core.errors import invalid

Span = tuple[int, int]
Spans = tuple[Span, ...]

DEFAULT_FUNCTION = "absmax"
_BLOCK = 1 << 19


def as_spans(value: Any) -> Spans | None:
    """``(start, end)`` or a sequence of such pairs as a tuple of pairs; None kept.

    Raises:
        InvalidArgumentError: something else.
    """
    if value is None:
        return None
    try:
        spans = list(value)
        if spans and not isinstance(spans[0], Iterable):
            spans = [spans]
        return tuple((operator.index(start), operator.index(end)) for start, end in spans)
    except (TypeError, ValueError):
        raise invalid("spans", value, "(start, end) or a list of such pairs of positions") from None


def checked_spans(spans: Spans | None, length: int, name: str) -> Spans:
    """The spans, if they are not empty, in ascending order, apart from each other and within ``length``
    positions.

    Raises:
        InvalidArgumentError: they are not.
    """
    previous = 0
    for start, end in spans or ():
        if not previous <= start < end <= length:
            raise invalid(
                name, spans, f"spans within {length} positions, not empty, ascending and without overlap"
            )
        previous = end
    return spans or ()


@attrs.frozen(kw_only=True, repr=False)
class ContiguousSpanAggregator(AggregatorRecord):
    """Merges given spans (aggregator ``spans``).

    Attributes:
        aggregate_fn: function for attributions, and for step scores without an aggregate map. Default
            ``absmax``: the score farthest from zero, with its sign.
        source_spans, target_spans: ``(start, end)`` or a list of them, end exclusive. Where the source was
            not attributed (decoder-only), ``source`` repeats the prompt and its spans follow the target's.
    """

    name: ClassVar[str] = "spans"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    source_spans: Spans | None = attrs.field(default=None, converter=as_spans)
    target_spans: Spans | None = attrs.field(default=None, converter=as_spans)

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution with each span as one position.

        Raises:
            InvalidArgumentError: spans that are empty, overlap or lie outside the text.
        """
        return merge_spans(
            attribution,
            self.source_spans,
            self.target_spans,
            function=self.aggregate_fn,
            aggregator=self.name,
        )


def merge_spans(
    attribution: FeatureAttributionSequenceOutput,
    source_spans: Spans | None,
    target_spans: Spans | None,
    *,
    function: Any = None,
    aggregator: str = "spans",
) -> FeatureAttributionSequenceOutput:
    """Positions of each span merged into one, with step scores, segments and positions following.

    Args:
        attribution: what to merge in.
        source_spans, target_spans: pairs ``(start, end)``; None merges nothing there, except that an
            unattributed source, which repeats the prompt, follows the target.
        function: aggregation function of the attributions; None is ``absmax``.
        aggregator: whose entry of the step scores' aggregate maps applies; ``spans`` is the fallback of all.
    """
    n_source, length = len(attribution.source), len(attribution.target)
    target_spans = checked_spans(target_spans, length, "target_spans")
    if source_spans is None and attribution.source_attributions is None:
        clipped = ((start, min(end, n_source)) for start, end in target_spans if start < n_source)
        source_spans = tuple((start, end) for start, end in clipped if end - start > 1)
    source_spans = checked_spans(source_spans, n_source, "source_spans")
    source, target = _Groups.of(n_source, source_spans), _Groups.of(length, target_spans)
    steps = target.within(attribution.attr_pos_start, attribution.attr_pos_end)
    if not (source.merges or target.merges):
        return attribution
    chosen = find_function(function or DEFAULT_FUNCTION)
    _warn_if_meaningless(attribution, chosen, aggregator)
    start, end = target.range_of(attribution.attr_pos_start, attribution.attr_pos_end)
    return attrs.evolve(
        attribution,
        source=_merged_tokens(attribution.source, source),
        target=_merged_tokens(attribution.target, target),
        source_attributions=_merged(attribution.source_attributions, source, steps, chosen),
        target_attributions=_merged(attribution.target_attributions, target, steps, chosen),
        step_scores={
            name: merged_axis(scores, 0, steps, step_function(attribution, name, aggregator, function))
            for name, scores in attribution.step_scores.items()
        },
        sequence_scores={
            name: _merged_sequence_score(attribution, name, scores, source, target, steps, chosen)
            for name, scores in attribution.sequence_scores.items()
        },
        attr_pos_start=start,
        attr_pos_end=end,
        meaning=_merged_meaning(attribution.meaning, chosen, steps.merges),
        segments=_merged_segments(attribution.segments, {"source": source, "target": target}),
        source_word_starts=_first(attribution.source_word_starts, source),
        target_word_starts=_first(attribution.target_word_starts, target),
        source_special=_every(attribution.source_special, source),
        target_special=_every(attribution.target_special, target),
    )


@attrs.frozen
class _Groups:
    """A partition of positions into G runs.

    Attributes:
        bounds: (G) ``[start, end)`` of each run, in order and without gaps.
    """

    bounds: tuple[Span, ...]

    @classmethod
    def of(cls, length: int, spans: Iterable[Span]) -> _Groups:
        """Each span one run, every other position a run of its own."""
        bounds: list[Span] = []
        position = 0
        for start, end in spans:
            bounds += [(i, i + 1) for i in range(position, start)]
            bounds.append((start, end))
            position = end
        bounds += [(i, i + 1) for i in range(position, length)]
        return cls(tuple(bounds))

    @property
    def merges(self) -> bool:
        return any(end - start > 1 for start, end in self.bounds)

    def within(self, start: int, end: int) -> _Groups:
        """The runs inside ``[start, end)``, cut to it and counted from ``start``."""
        cut = ((max(a, start) - start, min(b, end) - start) for a, b in self.bounds)
        return _Groups(tuple((a, b) for a, b in cut if a < b))

    def range_of(self, start: int, end: int) -> Span:
        """The runs that ``[start, end)`` touches."""
        first = sum(1 for _, b in self.bounds if b <= start)
        return first, first + len(self.within(start, end).bounds)


def merged_axis(scores: ScoreArray, axis: int, groups: _Groups, function: NamedFunction) -> ScoreArray:
    """The runs of an axis merged; runs of one are copied."""
    if not groups.merges:
        return scores
    shape = list(scores.shape)
    shape[axis] = len(groups.bounds)
    merged = np.empty(shape, dtype=np.result_type(scores.dtype, np.float32))
    before: tuple[Any, ...] = (slice(None),) * axis
    # Runs of one lie side by side: copy each stretch of them at once.
    stretch: list[int] = []

    def copy() -> None:
        if stretch:
            first, last = groups.bounds[stretch[0]][0], groups.bounds[stretch[-1]][1]
            merged[(*before, slice(stretch[0], stretch[-1] + 1))] = scores[(*before, slice(first, last))]
            stretch.clear()

    for g, (start, end) in enumerate(groups.bounds):
        if end - start == 1:
            stretch.append(g)
            continue
        copy()
        merged[(*before, g)] = function(scores[(*before, slice(start, end))], axis)
    copy()
    return merged


def _merged(
    scores: ScoreArray | None, rows: _Groups, columns: _Groups, function: NamedFunction
) -> ScoreArray | None:
    """Columns, then rows merged, some rows at a time: beside the input only the result is held."""
    if scores is None or not (rows.merges or columns.merges):
        return scores
    merged = np.empty(
        (len(rows.bounds), len(columns.bounds), *scores.shape[2:]),
        dtype=np.result_type(scores.dtype, np.float32),
    )
    width = max(1, scores[:1].size)
    g = 0
    while g < len(rows.bounds):
        first, last = g, g + 1
        begin = rows.bounds[first][0]
        while last < len(rows.bounds) and (rows.bounds[last][1] - begin) * width <= _BLOCK:
            last += 1
        block = merged_axis(scores[begin : rows.bounds[last - 1][1]], 1, columns, function)
        inner = _Groups(tuple((a - begin, b - begin) for a, b in rows.bounds[first:last]))
        merged[first:last] = merged_axis(block, 0, inner, function)
        g = last
    return merged


def _merged_sequence_score(
    attribution: FeatureAttributionSequenceOutput,
    name: str,
    scores: ScoreArray,
    source: _Groups,
    target: _Groups,
    steps: _Groups,
    function: NamedFunction,
) -> ScoreArray:
    """(S or L, T, …), or (S, S, …) and (L, L, …) by name; anything of another shape stays as it is."""
    rows = target if attribution.source_attributions is None else source
    columns = steps
    if name.startswith("encoder"):
        rows = columns = source
    elif name.startswith("decoder"):
        rows = columns = target
    sizes = tuple(groups.bounds[-1][1] if groups.bounds else 0 for groups in (rows, columns))
    if scores.shape[:2] != sizes:
        return scores
    merged = _merged(scores, rows, columns, function)
    return scores if merged is None else merged


def step_function(
    attribution: FeatureAttributionSequenceOutput, step_score: str, aggregator: str, explicit: Any
) -> NamedFunction:
    """How a step score follows merged steps: its aggregate map, else what was asked for, else ``absmax``."""
    by_aggregator = attribution.step_aggregation.get(step_score, {})
    return find_function(
        by_aggregator.get(aggregator) or by_aggregator.get("spans") or explicit or DEFAULT_FUNCTION
    )


def _warn_if_meaningless(
    attribution: FeatureAttributionSequenceOutput, function: NamedFunction, aggregator: str
) -> None:
    if attribution.source_attributions is None and attribution.target_attributions is None:
        return
    if attribution.is_spread and function.name == "sum":
        return  # the shares of a feature sum to its score
    if function.name == "sum" and not attribution.meaning.additive:
        kind = "signed scores" if attribution.meaning.signed else "unsigned scores (sizes, such as norms)"
        warn_of_meaning(
            f"{aggregator} with 'sum' adds {kind} that are not additive: the sum grows with the number of"
            " tokens and is not the contribution of the span.\n"
            "  Use 'absmax', 'max' or 'mean', or additive scores (such as input x gradient summed over its"
            " dimensions).",
        )
    elif function.name == "sum" and attribution.feature_kind != "token":
        warn_of_meaning(
            f"{aggregator} with 'sum' counts scores twice: a {attribution.feature_kind} was scored as one,"
            " and its score stands at each of its tokens.\n"
            "  Use 'absmax', or merge with 'segments' first."
        )
    if function.name == "prod":
        warn_of_meaning(
            f"{aggregator} with 'prod' multiplies attribution scores, which are no probabilities.\n"
            "  Use 'absmax', 'sum' or 'mean'; step scores follow their own function.",
        )


def _merged_meaning(meaning: ScoreMeaning, function: NamedFunction, steps_merged: bool) -> ScoreMeaning:
    is_sum = function.name == "sum"
    return ScoreMeaning(
        signed=meaning.signed and function.signed,
        additive=meaning.additive and function.additive,
        complete=meaning.complete and is_sum and not steps_merged,
        normalized=meaning.normalized and is_sum and not meaning.signed and not steps_merged,
    )


def _merged_tokens(tokens: TokenSequence, groups: _Groups) -> TokenSequence:
    return TokenSequence(
        tokens[start] if end - start == 1 else joined_token(tokens[start:end]) for start, end in groups.bounds
    )


def joined_token(tokens: Sequence[TokenWithId]) -> TokenWithId:
    """The pieces as one token without an id, the mark of a continuing WordPiece piece (``##``) left out."""
    first, *others = (str(token) for token in tokens)
    return TokenWithId(first + "".join(t[2:] if t.startswith("##") and len(t) > 2 else t for t in others))


def _merged_segments(segments: Iterable[Segment], groups: dict[str, _Groups]) -> list[Segment]:
    """Segments in merged positions; a merged position belongs to the segment that holds its first token."""
    moved = []
    for segment in segments:
        starts = [a for a, _ in groups[segment.side].bounds]
        start, end = (sum(1 for a in starts if a < limit) for limit in (segment.start, segment.end))
        if start < end or segment.start == segment.end:
            moved.append(attrs.evolve(segment, start=start, end=end))
    return moved


def _first(flags: Sequence[bool] | None, groups: _Groups) -> tuple[bool, ...] | None:
    return None if flags is None else tuple(flags[start] for start, _ in groups.bounds)


def _every(flags: Sequence[bool] | None, groups: _Groups) -> tuple[bool, ...] | None:
    return None if flags is None else tuple(all(flags[start:end]) for start, end in groups.bounds)
