"""Specs registered under a name of the kit's own, for the time of a ``with`` block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import attrs

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.result import MethodOutput
from inseq_core.hooks import Capability, MethodSpec, get_host
from inseq_core.hooks.kinds import Kind


@contextlib.contextmanager
def registered(kind: Kind[Any], spec: Any, **changes: Any) -> Iterator[str]:
    """A spec with changes, registered as ``NAME@kit``; gives that name."""
    registry = get_host().registry(kind.key)
    renamed = attrs.evolve(spec, name=f"{spec.name}@kit", **changes)
    registry.register(renamed, overwrite=True)
    try:
        yield renamed.name
    finally:
        registry.unregister(renamed.name)


@attrs.frozen
class NoScores:
    """A method that scores nothing: for step scores alone."""

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Nothing."""
        return ctx.output()


@attrs.frozen
class LeaveOneOut:
    """What a score loses with each feature: the plainest removal method."""

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """(R, F) on tokens."""
        import numpy as np

        n = len(ctx.features)
        scores = ctx.removal_scores(np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)]))
        return ctx.feature_output((scores[:1] - scores[1:]).T)


@attrs.frozen
class Gradient:
    """The derivative itself: the plainest gradient method."""

    def attribute(self, ctx: Any) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        output: MethodOutput = ctx.output(ctx.step_gradients())
        return output


NO_SCORES = MethodSpec(name="no_scores", factory=NoScores, summary="Nothing.", passes="0")
LEAVE_ONE_OUT = MethodSpec(name="plain_removal", factory=LeaveOneOut, summary="Leave one out.", per_text=True)
GRADIENT = MethodSpec(
    name="plain_gradient",
    factory=Gradient,
    summary="The derivative.",
    needs={Capability.GRADIENTS},
    trailing_axes=("hidden",),
    default_aggregation=("vnorm",),
)
