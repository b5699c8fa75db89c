"""Aggregation: one attribution to a smaller or differently cut one.

Aggregators are frozen records with a pure ``aggregate``; aggregation functions take an array and an axis.
The built-in ones are registered by the same hooks as a stranger's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.aggregate.chain import AggregatorPipeline as AggregatorPipeline
    from inseq_core.aggregate.chain import aggregate as aggregate
    from inseq_core.aggregate.chain import reduced as reduced
    from inseq_core.aggregate.chain import weight as weight
    from inseq_core.aggregate.pairs import PairAggregator as PairAggregator
    from inseq_core.aggregate.scores import SequenceAttributionAggregator as SequenceAttributionAggregator
    from inseq_core.aggregate.slices import SliceAggregator as SliceAggregator
    from inseq_core.aggregate.spans import ContiguousSpanAggregator as ContiguousSpanAggregator
    from inseq_core.aggregate.spans import merge_spans as merge_spans
    from inseq_core.aggregate.subwords import SubwordAggregator as SubwordAggregator
    from inseq_core.aggregate.texts import SegmentAggregator as SegmentAggregator
    from inseq_core.aggregate.texts import SentenceAggregator as SentenceAggregator
    from inseq_core.aggregate.texts import StringSplitAggregator as StringSplitAggregator
    from inseq_core.aggregate.texts import WordAggregator as WordAggregator

_NAMES = {
    "inseq_core.aggregate.chain": ("AggregatorPipeline", "aggregate", "reduced", "weight"),
    "inseq_core.aggregate.pairs": ("PairAggregator",),
    "inseq_core.aggregate.scores": ("SequenceAttributionAggregator",),
    "inseq_core.aggregate.slices": ("SliceAggregator",),
    "inseq_core.aggregate.spans": ("ContiguousSpanAggregator", "merge_spans"),
    "inseq_core.aggregate.subwords": ("SubwordAggregator",),
    "inseq_core.aggregate.texts": (
        "SegmentAggregator",
        "SentenceAggregator",
        "StringSplitAggregator",
        "WordAggregator",
    ),
}

__getattr__, __dir__ = lazy_names(
    __name__, {name: module for module, names in _NAMES.items() for name in names}
)
