"""Aggregators by name, one after the other: what commands and procedures are told in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inseq_core.aggregate.chain import pipeline
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.errors import InvalidArgumentError, listed


def aggregated_in_order(
    out: FeatureAttributionOutput,
    names: Sequence[str] = (),
    selectors: Sequence[int] = (),
    *,
    normalize: bool = False,
    rescale: bool = False,
) -> FeatureAttributionOutput:
    """The result after each aggregator in turn; after the default one without names.

    Args:
        names: aggregators or aggregation functions.
        selectors: index to pick from the last axis, one for each aggregator.
        normalize, rescale: asked of the last aggregator. Without names and without either, the default
            aggregation decides.

    Raises:
        InvalidArgumentError: an aggregator that cannot pick, normalise or rescale, asked to.
    """
    last = {
        name: True for name, is_wanted in (("normalize", normalize), ("rescale", rescale)) if is_wanted
    }  # of the whole, so only in the end
    if not names:
        return out.aggregate(**last, **_picked(selectors, 0))
    for i, name in enumerate(names):
        accepted = pipeline(name).stages[-1].accepted()
        wanted = {**(last if i == len(names) - 1 else {}), **_picked(selectors, i)}
        for parameter in wanted:
            if parameter not in accepted:
                raise InvalidArgumentError(
                    f"The aggregator {name!r} does not take {parameter}.\n"
                    f"  It takes: {listed(accepted) or 'nothing'}."
                )
        if "normalize" in accepted and not wanted.get("rescale"):
            wanted.setdefault("normalize", False)
        out = out.aggregate(name, **wanted)
    return out


def _picked(selectors: Sequence[int], i: int) -> dict[str, Any]:
    return {"select_idx": selectors[i]} if i < len(selectors) else {}
