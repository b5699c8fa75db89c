"""Units of text: words, sentences, labelled segments, and what lies between the matches of a pattern.

Each finds spans of positions and merges them. Words and sentences are read from the text that the tokens
spell, marks of the tokenizer taken for spaces.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import attrs

from inseq_core.aggregate.record import AggregatorRecord, flag, optional_function
from inseq_core.aggregate.spans import Spans, merge_spans
from inseq_core.aggregate.subwords import (
    BYTE_LEVEL,
    END_OF_WORD,
    SENTENCE_PIECE,
    WORD_PIECE,
    runs,
    special_flags,
    word_starts,
)
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.token import Segment, TokenSequence, TokenWithId
from inseq_core.errors import InvalidArgumentError, invalid, listed, unknown_name

# Scripts written without spaces: what a word is cannot be read from the text, so every token stays on its
# own.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+(?:['’\-](?:(?![{_UNSPACED}])\w)+)*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s+[^\sa-zß-öø-ÿа-я]|\s*$)|[。！？]+[」』”’]*|\n+")


@attrs.frozen(kw_only=True, repr=False)
class WordAggregator(AggregatorRecord):
    """Merges the pieces of each word; punctuation is on its own (aggregator ``words``).

    A word is a run of letters, digits and marks, with hyphens and apostrophes inside. A token that holds
    parts of two words joins neither. In scripts written without spaces every token stays on its own.

    Attributes:
        aggregate_fn: function for attributions; default ``absmax``.
        aggregate_source, aggregate_target: which sides to merge.
    """

    name: ClassVar[str] = "words"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    aggregate_source: bool = flag(True)
    aggregate_target: bool = flag(True)

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution with each word as one position."""
        return _merge_found(attribution, self, _word_spans)


@attrs.frozen(kw_only=True, repr=False)
class SentenceAggregator(AggregatorRecord):
    """Merges the tokens of each sentence (aggregator ``sentences``).

    A sentence ends with ``. ! ? …`` before a space and anything but a small letter, with ``。！？``, with a
    line break, at a special token, where a segment (a chat turn) ends, and where the attributed steps begin.
    Abbreviations before a capital ("Dr. Who") are
    cut: for those, give ``spans``.

    Attributes:
        aggregate_fn: function for attributions; default ``absmax``.
        aggregate_source, aggregate_target: which sides to merge.
    """

    name: ClassVar[str] = "sentences"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    aggregate_source: bool = flag(True)
    aggregate_target: bool = flag(True)

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution with each sentence as one position."""
        return _merge_found(attribution, self, _sentence_spans)


@attrs.frozen(kw_only=True, repr=False)
class SegmentAggregator(AggregatorRecord):
    """Merges labelled segments: chat turns, documents, features (aggregator ``segments``).

    A merged position is labelled with its segment's label.

    Attributes:
        aggregate_fn: function for attributions; default ``absmax``, and ``sum`` for features whose score is
            spread over their tokens.
        kind: which kind of segments, where the attribution has several ("turn", "content" …); None: the one
            that was scored, where that is a kind of segments, else all.
        aggregate_source, aggregate_target: which sides to merge.
        merge_steps: also merge attributed steps that lie in one segment; by default only what comes before
            them.
    """

    name: ClassVar[str] = "segments"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    kind: str | None = None
    aggregate_source: bool = flag(True)
    aggregate_target: bool = flag(True)
    merge_steps: bool = flag(False)

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution with each segment as one position.

        Raises:
            InvalidArgumentError: there are no segments, or some overlap. UnknownNameError: none of this kind.
        """
        sides = [
            side
            for side, wanted in (("source", self.aggregate_source), ("target", self.aggregate_target))
            if wanted
        ]
        found = [s for s in attribution.segments if s.side in sides and s.start < s.end]
        chosen = self._chosen(found, attribution.feature_kind)
        limit = len(attribution.target) if self.merge_steps else attribution.attr_pos_start
        by_side: dict[str, list[Segment]] = {"source": [], "target": []}
        for segment in chosen:
            end = segment.end if segment.side == "source" else min(segment.end, limit)
            if segment.start < end:
                by_side[segment.side].append(attrs.evolve(segment, end=end))
        spans = {side: _apart(segments) for side, segments in by_side.items()}
        is_whole = {s.kind for s in chosen} == {attribution.feature_kind}
        merged = merge_spans(
            attribution,
            None if attribution.source_attributions is None and not by_side["source"] else spans["source"],
            spans["target"],
            function=self.aggregate_fn or ("sum" if is_whole and attribution.is_spread else None),
            aggregator=self.name,
        )
        return attrs.evolve(
            merged,
            source=_labelled(merged.source, by_side["source"]),
            target=_labelled(merged.target, by_side["target"]),
            # what was scored is one position now, and its score stands there once
            feature_kind="token" if is_whole else attribution.feature_kind,
            is_spread=attribution.is_spread and not is_whole,
            meaning=attribution.meaning if is_whole and self.aggregate_fn is None else merged.meaning,
        )

    def _chosen(self, segments: list[Segment], scored: str) -> list[Segment]:
        kinds = list(dict.fromkeys(s.kind for s in segments))
        if not segments:
            raise InvalidArgumentError(
                "The attribution has no segments.\n  Segments come with chat messages and features; else use"
                " 'spans', 'sentences' or 'split'."
            )
        if self.kind is not None and self.kind not in kinds:
            raise unknown_name("kind of segments", self.kind, kinds, existing="There are")
        kind = scored if self.kind is None and scored in kinds else self.kind
        return segments if kind is None else [s for s in segments if s.kind == kind]


@attrs.frozen(kw_only=True, repr=False)
class StringSplitAggregator(AggregatorRecord):
    """Merges what lies between the matches of a regular expression (aggregator ``split``).

    The pattern is matched against the tokens as they are written, marks included, put together.

    Attributes:
        aggregate_fn: function for attributions; default ``absmax``.
        aggregate_source, aggregate_target: which sides to merge.
        split_pattern: regular expression of the separators.
        split_mode: "single": a separator is on its own; "start": it begins what follows; "end": it ends what
            precedes.
    """

    name: ClassVar[str] = "split"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    aggregate_source: bool = flag(True)
    aggregate_target: bool = flag(True)
    split_pattern: str | None = None
    split_mode: Literal["single", "start", "end"] = "single"

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.split_pattern, str) or not self.split_pattern:
            raise invalid("split_pattern", self.split_pattern, "a regular expression of what separates")
        if self.split_mode not in ("single", "start", "end"):
            raise invalid("split_mode", self.split_mode, "'single', 'start' or 'end'")
        try:
            re.compile(self.split_pattern)
        except re.error as error:
            raise InvalidArgumentError(f"split_pattern = {self.split_pattern!r}: {error}.") from error

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution cut at the matches."""
        return merge_spans(
            attribution,
            self._spans(attribution.source) if self.aggregate_source else (),
            self._spans(attribution.target) if self.aggregate_target else (),
            function=self.aggregate_fn,
            aggregator=self.name,
        )

    def _spans(self, tokens: Sequence[TokenWithId]) -> Spans:
        """Runs of tokens that touch the same match, or none, joined as the mode says."""
        texts = [str(token) for token in tokens]
        matches = [
            m.span() for m in re.finditer(self.split_pattern or "", "".join(texts)) if m.end() > m.start()
        ]
        if not matches:
            return ()
        touched = _touching(texts, matches)
        pieces = [(number is not None, len(list(group))) for number, group in itertools.groupby(touched)]
        bounds: list[tuple[int, int]] = []
        position, opened = 0, False
        for is_match, size in pieces:
            joins = bool(bounds) and (
                (self.split_mode == "start" and opened and not is_match)
                or (self.split_mode == "end" and is_match and not opened)
            )
            if joins:
                bounds[-1] = (bounds[-1][0], position + size)
            else:
                bounds.append((position, position + size))
            opened = is_match
            position += size
        return tuple((start, end) for start, end in bounds if end - start > 1)


def _touching(texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """For each text of a sequence, the first span of characters that it shares a character with."""
    touched: list[int | None] = []
    position, first = 0, 0
    for text in texts:
        end = position + len(text)
        while first < len(spans) and spans[first][1] <= position:
            first += 1
        shares = first < len(spans) and spans[first][0] < end
        touched.append(first if shares else None)
        position = end
    return touched


def plain_texts(tokens: Sequence[TokenWithId], starts: Sequence[bool], special: Sequence[bool]) -> list[str]:
    """What each token adds to the text: marks as spaces, special tokens as nothing."""
    plain = []
    for token, is_start, is_special in zip(tokens, starts, special, strict=True):
        text = str(token)
        if is_special:
            plain.append("")
            continue
        marked = text.startswith((*BYTE_LEVEL, *SENTENCE_PIECE)) or text[:1].isspace()
        text = text.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n").replace("ĉ", "\t")
        text = text[2:] if text.startswith(WORD_PIECE) and len(text) > 2 else text
        text = text.removesuffix(END_OF_WORD) if text != END_OF_WORD else text
        plain.append(f" {text}" if is_start and not marked and plain and any(plain) else text)
    return plain


def _merge_found(
    attribution: FeatureAttributionSequenceOutput, aggregator: Any, find: Any
) -> FeatureAttributionSequenceOutput:
    spans = {}
    for side, wanted in (("source", aggregator.aggregate_source), ("target", aggregator.aggregate_target)):
        tokens: TokenSequence = getattr(attribution, side)
        special = special_flags(attribution, side)
        starts = getattr(attribution, f"{side}_word_starts")
        if starts is None and wanted:
            starts = word_starts(tokens, special)
        edges = {p for s in attribution.segments if s.side == side for p in (s.start, s.end)}
        edges |= {attribution.attr_pos_start} if side == "target" else set()
        spans[side] = find(plain_texts(tokens, starts, special), special, edges) if wanted else ()
    return merge_spans(
        attribution,
        spans["source"],
        spans["target"],
        function=aggregator.aggregate_fn,
        aggregator=aggregator.name,
    )


def _word_spans(texts: Sequence[str], special: Sequence[bool], edges: Iterable[int]) -> Spans:
    words = [m.span() for m in _WORD.finditer("".join(texts))]
    starts: list[bool] = []
    position, w = 0, 0
    previous: int | None = None
    for text in texts:
        begin, end = position + len(text) - len(text.lstrip()), position + len(text.rstrip())
        while w < len(words) and words[w][1] <= begin:
            w += 1
        is_inside = begin < end and w < len(words) and words[w][0] <= begin and end <= words[w][1]
        word = w if is_inside else None
        starts.append(word is None or word != previous)
        previous = word
        position += len(text)
    return runs(starts, special)


def _sentence_spans(texts: Sequence[str], special: Sequence[bool], edges: Iterable[int]) -> Spans:
    ends = [m.end() for m in _SENTENCE_END.finditer("".join(texts))]
    starts, position, passed = [], 0, 0
    for i, text in enumerate(texts):
        begin = position + len(text) - len(text.lstrip())
        crossed = sum(1 for end in ends if end <= begin) if text.strip() else passed
        starts.append(crossed > passed or i in set(edges))
        passed = max(passed, crossed)
        position += len(text)
    return runs(starts, special)


def _apart(segments: list[Segment]) -> Spans:
    ordered = sorted(segments, key=lambda s: (s.start, s.end))
    for before, after in itertools.pairwise(ordered):
        if after.start < before.end:
            kinds = list(dict.fromkeys(s.kind for s in segments))
            hint = f"Choose a kind: {listed(kinds)}." if len(kinds) > 1 else "Merge 'spans' that do not."
            raise InvalidArgumentError(
                f"Segments {before.label!r} and {after.label!r} overlap: a position cannot be in both.\n  {hint}"
            )
    return tuple((s.start, s.end) for s in ordered)


def _labelled(tokens: TokenSequence, segments: list[Segment]) -> TokenSequence:
    """The tokens with each merged segment's label; ``segments`` are in positions before merging."""
    labels = list(tokens)
    removed = 0
    for segment in sorted(segments, key=lambda s: s.start):
        labels[segment.start - removed] = TokenWithId(segment.label)
        removed += segment.end - segment.start - 1
    return TokenSequence(labels)
