"""What the aggregate room of inseq-core registers."""

from __future__ import annotations

from collections.abc import Iterable

import inseq_core as ic

_ROOM = "inseq_core.aggregate"


@ic.hookimpl
def inseq_aggregators() -> Iterable[ic.AggregatorSpec]:
    """The aggregators of the core."""
    yield ic.AggregatorSpec(
        name="scores",
        factory=f"{_ROOM}.scores:SequenceAttributionAggregator",
        summary="Reduces the last axis (dimension, head, layer) to one number, then normalises each step.",
    )
    yield ic.AggregatorSpec(
        name="spans",
        factory=f"{_ROOM}.spans:ContiguousSpanAggregator",
        summary="Merges the given spans of source and target positions.",
    )
    yield ic.AggregatorSpec(
        name="subwords",
        factory=f"{_ROOM}.subwords:SubwordAggregator",
        summary="Merges the pieces that the tokenizer cut a word into.",
    )
    yield ic.AggregatorSpec(
        name="words",
        factory=f"{_ROOM}.texts:WordAggregator",
        summary="Merges the pieces of a word, and keeps punctuation apart from it.",
    )
    yield ic.AggregatorSpec(
        name="sentences",
        factory=f"{_ROOM}.texts:SentenceAggregator",
        summary="Merges the tokens of a sentence.",
    )
    yield ic.AggregatorSpec(
        name="segments",
        factory=f"{_ROOM}.texts:SegmentAggregator",
        summary="Merges labelled segments of the input: chat turns, documents, features.",
    )
    yield ic.AggregatorSpec(
        name="split",
        factory=f"{_ROOM}.texts:StringSplitAggregator",
        summary="Merges what lies between the matches of a regular expression.",
        trial={"split_pattern": "[.]"},
    )
    yield ic.AggregatorSpec(
        name="pair",
        factory=f"{_ROOM}.pairs:PairAggregator",
        summary="Compares two attributions of the same shape, by default as a difference.",
    )
    yield ic.AggregatorSpec(
        name="slices",
        factory=f"{_ROOM}.slices:SliceAggregator",
        summary="Keeps the given input positions and every attributed step.",
    )


@ic.hookimpl
def inseq_aggregation_functions() -> Iterable[ic.AggregationFunctionSpec]:
    """The aggregation functions of the core."""
    functions = f"{_ROOM}.functions"
    yield ic.AggregationFunctionSpec(
        name="mean", function=f"{functions}:mean", summary="The arithmetic mean.", additive=True
    )
    yield ic.AggregationFunctionSpec(
        name="max", function=f"{functions}:maximum", summary="The largest value."
    )
    yield ic.AggregationFunctionSpec(
        name="min", function=f"{functions}:minimum", summary="The smallest value."
    )
    yield ic.AggregationFunctionSpec(
        name="sum", function=f"{functions}:total", summary="The sum.", additive=True
    )
    yield ic.AggregationFunctionSpec(name="prod", function=f"{functions}:product", summary="The product.")
    yield ic.AggregationFunctionSpec(
        name="absmax",
        function=f"{functions}:absolute_maximum",
        summary="The value farthest from zero, with its sign.",
    )
    yield ic.AggregationFunctionSpec(
        name="vnorm",
        function=f"{functions}:vector_norm",
        summary="The Euclidean length of the vector of values.",
        signed=False,
    )
