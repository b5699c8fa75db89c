from __future__ import annotations

import itertools
from collections.abc import Iterator

import attrs
import numpy as np
import pytest

from inseq_core.hooks import MethodSpec, ModelSpec, get_host
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import ADAPTER, BagModel, BagWeights


@attrs.frozen
class LeaveOut:
    """What the attributed function loses when one token goes."""

    def attribute(self, ctx):
        n = len(ctx.features)
        scores = ctx.removal_scores(np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)]))
        return ctx.feature_output((scores[:1] - scores[1:]).T)


@attrs.frozen(kw_only=True)
class Layers:
    """100 · target position of the step + input position, in two layers of which the second is ten times it."""

    scale: float = 1.0

    def attribute(self, ctx):
        sides = {}
        for side, shape in (("source", ctx.source_shape), ("target", ctx.target_shape)):
            if shape is not None:
                grid = self.scale * (100.0 * ctx.grid.position[:, None] + np.arange(shape[1])[None, :])
                sides[side] = np.stack([grid, 10 * grid], axis=-1)
        return ctx.output(**sides)


SPECS = (
    MethodSpec(name="leave_out", factory=LeaveOut, summary="Leave one out.", per_text=True, additive=True),
    MethodSpec(
        name="layers",
        factory=Layers,
        summary="Where a score stands.",
        trailing_axes=("layer",),
        default_aggregation=("mean",),
    ),
)
MODELS = ("toy-lm", "toy-translator")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The toy framework with its models, and two methods, for the time of a test."""
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


@pytest.fixture
def lm() -> AttributionModel:
    """A decoder-only toy."""
    return AttributionModel(BagModel(), "leave_out")


@pytest.fixture
def translator() -> AttributionModel:
    """An encoder–decoder toy."""
    return AttributionModel(BagModel(is_encoder_decoder=True), "leave_out")


@pytest.fixture
def parrot() -> AttributionModel:
    """A translator that always says "the dog . a cat ." whatever it reads: each word decides the next."""
    said = ["<s>", "the", "dog", ".", "a", "cat", "!", "</s>"]
    words = ("the", "dog", ".", "a", "cat", "!", "red")
    size = len(words) + 4
    weights = BagWeights(
        bias=np.zeros(size), target=np.zeros((size, size)), source=np.zeros((size, size)), decay=0.01
    )
    model = BagModel(words, weights=weights, is_encoder_decoder=True)
    for word, following in itertools.pairwise(said):
        weights.target[model.ids[word], model.ids[following]] = 9.0
    return AttributionModel(model, "leave_out")
