"""Aggregators by name, one after the other: what commands and procedures are told in words."""

from __future__ import annotations

from collections.abc import Sequence

from inseq_core.aggregate.chain import AggregatorPipeline, reduced
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.shortcuts import mapped
from inseq_core.errors import InvalidArgumentError
from inseq_core.hooks import methods


def check_order(names: Sequence[str], selectors: Sequence[int], method: str) -> None:
    """Refuse what can be seen to be wrong before anything is worked out.

    Raises:
        UnknownNameError: no such aggregator or function. InvalidArgumentError: an aggregator that needs parameters,
            or indices to pick of the scores of a method without axes.
    """
    AggregatorPipeline(names).bound({})
    if selectors and not methods().get(method).spec.trailing_axes:
        raise InvalidArgumentError(
            f"attribution_selectors takes at most one index for each axis, and scores of {method!r} have none.\n"
            "  Leave it out, or use a method with layers, heads or dimensions."
        )


def aggregated_in_order(
    out: FeatureAttributionOutput,
    names: Sequence[str] = (),
    selectors: Sequence[int] = (),
    *,
    normalize: bool | None = None,
    rescale: bool = False,
) -> FeatureAttributionOutput:
    """What ``out.aggregate(names)`` gives, with an index to pick of each axis; the default without names.

    Axes that no aggregator reduces stay, unless something is asked of the whole (``normalize``, ``rescale``),
    or picked of them: then the default reduces them.

    Args:
        names: aggregators or aggregation functions.
        selectors: index to pick of each axis that is reduced, the last axis first.
        normalize, rescale: of the whole, in the end; None: as the aggregators do by themselves.

    Raises:
        UnknownNameError: no such aggregator or function. InvalidArgumentError: an index that is not there.
    """
    chosen, left = AggregatorPipeline(names).picking(selectors)
    whole = {"normalize": normalize, "rescale": rescale or None}
    if names and not left and normalize is None and not rescale:
        return out.aggregate(chosen)
    return mapped(out, lambda sequence: reduced(sequence, chosen, selections=left, **whole))
