"""The attribution of one text: what was scored, for which steps, with which numbers, and what these mean.

A column of the score arrays is one attributed step: column k explains the token at target position
``attr_pos_start + k`` by everything before it. Rows are input positions. Records are frozen: a method gives
a new one.
Axes: S source positions, L target positions, T attributed steps, then ``axes`` (layer, head, hidden).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from inseq_core.axes import TRAILING_AXES
from inseq_core.data.read_only import ReadOnlyDict
from inseq_core.data.scores import (
    ScoreArray,
    ScoreMeaning,
    optional_scores,
    same_mappings,
    same_scores,
    score_mapping,
)
from inseq_core.data.selection import find_span
from inseq_core.data.shortcuts import SequenceShortcuts
from inseq_core.data.token import Segment, TokenSequence, as_tokens
from inseq_core.errors import InvalidArgumentError, invalid

Flags = tuple[bool, ...]


def _flags(values: Iterable[Any] | None) -> Flags | None:
    return None if values is None else tuple(bool(v) for v in values)


def _aggregate_maps(values: Mapping[str, Mapping[str, str]] | None) -> dict[str, dict[str, str]]:
    maps = {str(name): ReadOnlyDict(functions) for name, functions in (values or {}).items()}
    return ReadOnlyDict(maps)


def _known_axes(instance: Any, attribute: Any, value: tuple[str, ...]) -> None:
    if len(set(value)) != len(value) or any(not isinstance(axis, str) for axis in value):
        raise invalid("axes", value, f"different names, such as {', '.join(TRAILING_AXES)}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FeatureAttributionSequenceOutput(SequenceShortcuts):
    """One text's attribution.

    Attributes:
        source: S input tokens (encoder–decoder), or the prompt's tokens (decoder-only).
        target: L tokens of the decoder side.
        source_attributions: (S, T, *axes), or None where the source was not attributed.
        target_attributions: (L, T, *axes), or None. NaN where a target position is at or after its step.
        step_scores: name -> (T,): numbers about each step.
        sequence_scores: name -> more scores of positions: (S or L, T, …) by default, (S, S, …) where the name
            begins with "encoder", (L, L, …) where it begins with "decoder".
        attr_pos_start, attr_pos_end: target positions of the attributed steps, end exclusive.
        axes: names of the axes after (position, step).
        default_aggregation: aggregation functions of the trailing axes, last axis first.
        normalize: whether the default aggregation makes the absolute scores of a step sum to one.
        meaning: what a score stands for.
        step_aggregation: step score -> {aggregator: aggregation function}: how it follows merged steps.
        segments: labelled spans of positions (chat turns, documents, features).
        source_word_starts, target_word_starts: True where a token begins a word, by the tokenizer; None:
            unknown.
        source_special, target_special: True for special tokens; None: unknown.
        feature_kind: what was scored: "token", or "word", "sentence", "segment" … The score of a feature of
            several tokens stands at each of them, and ``segments`` says which belong together.
        is_spread: each token of a feature has its share of the score instead, so that they sum to it.

    Raises:
        InvalidArgumentError: arrays, tokens and positions that do not fit each other.
    """

    source: TokenSequence = attrs.field(factory=TokenSequence, converter=as_tokens)
    target: TokenSequence = attrs.field(converter=as_tokens)
    source_attributions: ScoreArray | None = attrs.field(default=None, converter=optional_scores)
    target_attributions: ScoreArray | None = attrs.field(default=None, converter=optional_scores)
    step_scores: dict[str, ScoreArray] = attrs.field(factory=dict, converter=score_mapping)
    sequence_scores: dict[str, ScoreArray] = attrs.field(factory=dict, converter=score_mapping)
    attr_pos_start: int = 0
    attr_pos_end: int = attrs.field(default=attrs.Factory(lambda self: len(self.target), takes_self=True))
    axes: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...], validator=_known_axes)
    default_aggregation: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    normalize: bool = False
    meaning: ScoreMeaning = attrs.field(factory=ScoreMeaning)
    step_aggregation: dict[str, dict[str, str]] = attrs.field(factory=dict, converter=_aggregate_maps)
    segments: tuple[Segment, ...] = attrs.field(default=(), converter=tuple[Segment, ...])
    source_word_starts: Flags | None = attrs.field(default=None, converter=_flags)
    target_word_starts: Flags | None = attrs.field(default=None, converter=_flags)
    source_special: Flags | None = attrs.field(default=None, converter=_flags)
    target_special: Flags | None = attrs.field(default=None, converter=_flags)
    feature_kind: str = "token"
    is_spread: bool = False

    def __attrs_post_init__(self) -> None:
        start, end, length = self.attr_pos_start, self.attr_pos_end, len(self.target)
        if not 0 <= start <= end <= length:
            raise InvalidArgumentError(
                f"Attributed steps [{start}, {end}) of {length} target tokens:"
                f" expected 0 <= start <= end <= {length}."
            )
        for side, rows in (("source", len(self.source)), ("target", length)):
            scores = getattr(self, f"{side}_attributions")
            if scores is not None:
                self._check_shape(f"{side}_attributions", scores, rows)
            for flags in (f"{side}_word_starts", f"{side}_special"):
                values = getattr(self, flags)
                if values is not None and len(values) != rows:
                    raise InvalidArgumentError(f"{flags} has {len(values)} values for {rows} {side} tokens.")
        for name, scores in self.step_scores.items():
            if scores.shape != (self.n_steps,):
                raise InvalidArgumentError(
                    f"step score {name!r} has shape {scores.shape}, expected ({self.n_steps},):"
                    f" one value a step."
                )
        for segment in self.segments:
            limit = len(self.source) if segment.side == "source" else length
            if not 0 <= segment.start <= segment.end <= limit:
                raise InvalidArgumentError(
                    f"segment {segment.label!r} covers [{segment.start}, {segment.end}) of {limit}"
                    f" {segment.side} tokens."
                )

    def _check_shape(self, name: str, scores: ScoreArray, rows: int) -> None:
        expected = (rows, self.n_steps)
        if scores.ndim != 2 + len(self.axes) or scores.shape[:2] != expected:
            named = "".join(f", {axis}" for axis in self.axes)
            raise InvalidArgumentError(
                f"{name} has shape {scores.shape}, expected ({rows}, {self.n_steps}{named}): positions,"
                f" steps, then the trailing axes {self.axes}."
            )

    @property
    def n_steps(self) -> int:
        """T: the number of attributed steps."""
        return self.attr_pos_end - self.attr_pos_start

    @property
    def step_tokens(self) -> TokenSequence:
        """(T,) the attributed tokens."""
        return TokenSequence(self.target[self.attr_pos_start : self.attr_pos_end])

    @property
    def is_granular(self) -> bool:
        """Whether there are axes after (position, step)."""
        return bool(self.axes)

    @property
    def minimum(self) -> float:
        """The smallest finite attribution score, at most 0."""
        return min(0.0, *(_extreme(np.min, a) for a in (self.source_attributions, self.target_attributions)))

    @property
    def maximum(self) -> float:
        """The largest finite attribution score, at least 0."""
        return max(0.0, *(_extreme(np.max, a) for a in (self.source_attributions, self.target_attributions)))

    @property
    def step_attributions(self) -> tuple[FeatureAttributionStepOutput, ...]:
        """Step by step: each with the scores of what came before it."""
        return tuple(FeatureAttributionStepOutput.of(self, k) for k in range(self.n_steps))

    def __len__(self) -> int:
        """The number of attributed steps."""
        return self.n_steps

    def __getitem__(self, positions: slice | int | str | tuple[str, str]) -> FeatureAttributionSequenceOutput:
        """The input positions ``a:b``; every attributed step stays.

        Positions are of the source where it was attributed, else of the target before the first attributed
        step (what was generated always stays). ``seq["to", "ladies"]`` or ``seq["to":"ladies"]`` are the
        positions from the first such token through the next such one; ``seq["to"]`` and ``seq[3]`` are
        single positions.
        """
        tokens = self.target if self.source_attributions is None else self.source
        span = find_span(tokens, positions)
        side = "target_spans" if self.source_attributions is None else "source_spans"
        parameters: dict[str, Any] = {side: [span]}
        return self.aggregate("slices", **parameters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureAttributionSequenceOutput):
            return NotImplemented
        return (
            all(getattr(self, name) == getattr(other, name) for name in _PLAIN_FIELDS)
            and same_scores(self.source_attributions, other.source_attributions)
            and same_scores(self.target_attributions, other.target_attributions)
            and same_mappings(self.step_scores, other.step_scores)
            and same_mappings(self.sequence_scores, other.sequence_scores)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shapes = [
            f"{name}={scores.shape}"
            for name, scores in (
                ("source_attributions", self.source_attributions),
                ("target_attributions", self.target_attributions),
            )
            if scores is not None
        ]
        steps = " ".join(map(str, self.step_tokens))
        return (
            f"{type(self).__name__}({len(self.source)} source and {len(self.target)} target tokens, "
            f"{self.n_steps} steps {steps!r}, {', '.join([*shapes, f'axes={self.axes}'])}, "
            f"step_scores={sorted(self.step_scores)})"
        )


_ARRAY_FIELDS = ("source_attributions", "target_attributions", "step_scores", "sequence_scores")
_PLAIN_FIELDS = tuple(
    field.name for field in attrs.fields(FeatureAttributionSequenceOutput) if field.name not in _ARRAY_FIELDS
)


def _extreme(reduce: Any, scores: ScoreArray | None) -> float:
    if scores is None:
        return 0.0
    finite = scores[np.isfinite(scores)]
    return float(reduce(finite)) if finite.size else 0.0


@attrs.frozen(kw_only=True, eq=False)
class FeatureAttributionStepOutput:
    """One attributed step of one or more texts.

    Attributes:
        source, prefix, target: for each text, its source tokens, the target tokens before the step, the
            step's token.
        source_attributions: (B, S, *axes) or None; NaN-padded where texts have different lengths.
        target_attributions: (B, P, *axes) over the P prefix tokens, or None.
        step_scores: name -> (B,).
        sequence_scores: name -> (B, S or P, …).
    """

    source: tuple[TokenSequence, ...] = ()
    prefix: tuple[TokenSequence, ...] = ()
    target: tuple[TokenSequence, ...] = ()
    source_attributions: ScoreArray | None = attrs.field(default=None, converter=optional_scores)
    target_attributions: ScoreArray | None = attrs.field(default=None, converter=optional_scores)
    step_scores: dict[str, ScoreArray] = attrs.field(factory=dict, converter=score_mapping)
    sequence_scores: dict[str, ScoreArray] = attrs.field(factory=dict, converter=score_mapping)

    @classmethod
    def of(cls, sequence: FeatureAttributionSequenceOutput, step: int) -> FeatureAttributionStepOutput:
        """Column ``step`` of one text's attribution, as a batch of one."""
        position = sequence.attr_pos_start + step
        source, target = sequence.source_attributions, sequence.target_attributions
        per_step = {
            name: scores[None, : position if sequence.source_attributions is None else None, step]
            for name, scores in sequence.sequence_scores.items()
            if not name.startswith(("encoder", "decoder")) and scores.ndim >= 2
        }
        return cls(
            source=(sequence.source,),
            prefix=(TokenSequence(sequence.target[:position]),),
            target=(TokenSequence(sequence.target[position : position + 1]),),
            source_attributions=None if source is None else source[None, :, step],
            target_attributions=None if target is None else target[None, :position, step],
            step_scores={name: scores[step : step + 1] for name, scores in sequence.step_scores.items()},
            sequence_scores=per_step,
        )

    @classmethod
    def batched(
        cls, sequences: Iterable[FeatureAttributionSequenceOutput]
    ) -> tuple[FeatureAttributionStepOutput, ...]:
        """Step k of every text that has one, for k = 0, 1, … (``output_step_attributions=True``).

        Raises:
            InvalidArgumentError: the texts' scores have different trailing axes.
        """
        sequences = list(sequences)
        longest = max((s.n_steps for s in sequences), default=0)
        return tuple(_joined([cls.of(s, k) for s in sequences if k < s.n_steps]) for k in range(longest))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureAttributionStepOutput):
            return NotImplemented
        return (
            (self.source, self.prefix, self.target) == (other.source, other.prefix, other.target)
            and same_scores(self.source_attributions, other.source_attributions)
            and same_scores(self.target_attributions, other.target_attributions)
            and same_mappings(self.step_scores, other.step_scores)
            and same_mappings(self.sequence_scores, other.sequence_scores)
        )

    __hash__ = None  # type: ignore[assignment]


def _joined(steps: list[FeatureAttributionStepOutput]) -> FeatureAttributionStepOutput:
    if len(steps) == 1:
        return steps[0]
    first = steps[0]
    return FeatureAttributionStepOutput(
        source=tuple(s.source[0] for s in steps),
        prefix=tuple(s.prefix[0] for s in steps),
        target=tuple(s.target[0] for s in steps),
        source_attributions=_stacked([s.source_attributions for s in steps]),
        target_attributions=_stacked([s.target_attributions for s in steps]),
        step_scores={
            name: np.concatenate([s.step_scores[name] for s in steps]) for name in first.step_scores
        },
        sequence_scores={
            name: _stacked([s.sequence_scores[name] for s in steps]) for name in first.sequence_scores
        },
    )


def _stacked(batches: list[ScoreArray | None]) -> ScoreArray | None:
    """(1, N_i, …) each -> (B, max N, …), padded with NaN."""
    arrays = [a for a in batches if a is not None]
    if len(arrays) != len(batches):
        return None
    if len({a.shape[2:] for a in arrays}) > 1:
        raise InvalidArgumentError("Texts whose scores have different trailing axes have no steps in common.")
    length = max(a.shape[1] for a in arrays)
    stacked = np.full((len(arrays), length, *arrays[0].shape[2:]), np.nan, dtype=arrays[0].dtype)
    for i, array in enumerate(arrays):
        stacked[i, : array.shape[1]] = array[0]
    return stacked
