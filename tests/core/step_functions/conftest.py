from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import pytest

from inseq_core.hooks import MethodSpec, get_host
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import ADAPTER, BagModel


@attrs.frozen
class LeaveOut:
    """What the attributed function loses when one token goes."""

    def attribute(self, ctx):
        n = len(ctx.features)
        scores = ctx.removal_scores(np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)]))
        return ctx.feature_output((scores[:1] - scores[1:]).T)


SPEC = MethodSpec(name="leave_out", factory=LeaveOut, summary="Leave one out.", per_text=True, additive=True)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The toy framework and one method that removes, for the time of a test."""
    host = get_host()
    host.adapters.register(ADAPTER)
    host.methods.register(SPEC)
    yield
    host.adapters.unregister(ADAPTER.name)
    host.methods.unregister(SPEC.name)


@pytest.fixture
def lm() -> AttributionModel:
    """A decoder-only toy."""
    return AttributionModel(BagModel(), "leave_out")


@pytest.fixture
def translator() -> AttributionModel:
    """An encoder–decoder toy."""
    return AttributionModel(BagModel(is_encoder_decoder=True), "leave_out")
