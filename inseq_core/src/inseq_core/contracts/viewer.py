"""The viewer: an attribution to something one looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from inseq_core.data.output import FeatureAttributionOutput


@runtime_checkable
class Viewer(Protocol):
    """``render`` returns text, markup or a figure; it shows nothing by itself."""

    def render(self, attributions: FeatureAttributionOutput) -> Any:
        """What the viewer draws, for every sequence of ``attributions``."""
        ...
