"""No attribution: for step scores alone, and for trying out everything around a method."""

from __future__ import annotations

import attrs

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.result import MethodOutput


@attrs.frozen
class Dummy:
    """Scores nothing: the result has tokens, positions and step scores only. Costs no model pass."""

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """No scores for any input."""
        return ctx.output()
