"""The aggregator: one attribution to a smaller or differently cut one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from inseq_core.data.attribution import FeatureAttributionSequenceOutput


@runtime_checkable
class Aggregator(Protocol):
    """A frozen record of parameters with a pure ``aggregate``."""

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """A new attribution; the given one is not changed."""
        ...
