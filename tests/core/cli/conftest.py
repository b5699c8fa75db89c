from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import pytest

from inseq_core.hooks import MethodSpec, ModelSpec, get_host
from inseq_core.testing.toys import ADAPTER


@attrs.frozen(kw_only=True)
class LeaveOut:
    """What the attributed function loses when one token goes. sign: 1 or -1."""

    sign: float = 1.0

    def attribute(self, ctx):
        n = len(ctx.features)
        scores = ctx.removal_scores(np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)]))
        return ctx.feature_output(self.sign * (scores[:1] - scores[1:]).T)


@attrs.frozen
class Positional:
    """The input position, in two layers of which the second is ten times it."""

    def attribute(self, ctx):
        sides = {}
        for side, shape in (("source", ctx.source_shape), ("target", ctx.target_shape)):
            if shape is not None:
                grid = np.ones(shape[:2]) * np.arange(shape[1])[None, :]
                sides[side] = np.stack([grid, 10 * grid], axis=-1)
        return ctx.output(**sides)


SPECS = (
    MethodSpec(name="leave_out", factory=LeaveOut, summary="Leave one out.", per_text=True, additive=True),
    MethodSpec(
        name="positional",
        factory=Positional,
        summary="Where a score stands.",
        trailing_axes=("layer",),
        default_aggregation=("mean",),
    ),
)
MODELS = ("toy-lm", "toy-translator")


@pytest.fixture
def toys() -> Iterator[None]:
    """Toy models and methods by names that the program knows."""
    host = get_host()
    host.adapters.register(ADAPTER)
    for spec in SPECS:
        host.methods.register(spec)
    for name in MODELS:
        host.models.register(
            ModelSpec(name=name, location=lambda name=name: name, summary="A toy.", framework="toy")
        )
    yield
    host.adapters.unregister(ADAPTER.name)
    for spec in SPECS:
        host.methods.unregister(spec.name)
    for name in MODELS:
        host.models.unregister(name)
