from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import pytest

from inseq_core.data.result import MethodOutput
from inseq_core.hooks import Capability, MethodSpec, get_host
from inseq_core.model import AttributionModel
from inseq_core.testing import toys


@attrs.frozen(kw_only=True)
class LeaveOut:
    """What the score loses when one feature goes. sign: 1 or -1."""

    sign: float = attrs.field(default=1.0, validator=attrs.validators.in_((1.0, -1.0)))
    n_steps: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def attribute(self, ctx):
        n = len(ctx.features)
        kept = np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)])
        scores = ctx.removal_scores(kept)
        return ctx.feature_output(self.sign * (scores[:1] - scores[1:]).T, notes={"passes": n + 1})


@attrs.frozen
class Positional:
    """Scores that say where they stand: 100 · position of the step + input position, in two trailing axes."""

    def attribute(self, ctx):
        sides = {}
        for side, shape in (("source", ctx.source_shape), ("target", ctx.target_shape)):
            if shape is not None:
                grid = 100.0 * ctx.grid.position[:, None] + np.arange(shape[1])[None, :]
                sides[side] = grid[:, :, None, None] * np.ones((2, 3))
        return ctx.output(**sides, step_scores={"position": ctx.grid.position.astype(float)})


@attrs.frozen(kw_only=True)
class Quadrature(LeaveOut):
    """Leave one out. method: how, whatever that is."""

    method: str = "slow"


@attrs.frozen
class Broken:
    """Returns what it is told to."""

    output: object = None

    def attribute(self, ctx):
        return self.output(ctx) if callable(self.output) else self.output


@attrs.frozen
class NeedsGradients:
    """Cannot run on a toy."""

    def attribute(self, ctx):
        return MethodOutput()


METHODS = (
    MethodSpec(name="leave_out", factory=LeaveOut, summary="Leave one out.", per_text=True, additive=True),
    MethodSpec(
        name="positional",
        factory=Positional,
        summary="Where a score stands.",
        trailing_axes=("layer", "hidden"),
        default_aggregation=("sum", "mean"),
    ),
    MethodSpec(name="quadrature", factory=Quadrature, summary="Leave one out.", per_text=True, additive=True),
    MethodSpec(name="broken", factory=Broken, summary="Returns what it is told to."),
    MethodSpec(
        name="steep", factory=NeedsGradients, summary="Needs gradients.", needs={Capability.GRADIENTS}
    ),
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The toy framework and some methods, for the time of a test."""
    host = get_host()
    host.adapters.register(toys.ADAPTER)
    for spec in METHODS:
        host.methods.register(spec)
    yield
    host.adapters.unregister(toys.ADAPTER.name)
    for spec in METHODS:
        host.methods.unregister(spec.name)


@pytest.fixture
def lm() -> AttributionModel:
    """A decoder-only toy."""
    return AttributionModel(toys.BagModel(), "leave_out")


@pytest.fixture
def translator() -> AttributionModel:
    """An encoder–decoder toy."""
    return AttributionModel(toys.BagModel(is_encoder_decoder=True), "leave_out")
