from __future__ import annotations

from collections.abc import Iterator

import pytest

from inseq_core.hooks import get_host
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import ADAPTER, BagModel


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The toy framework, for the time of a test."""
    get_host().adapters.register(ADAPTER)
    yield
    get_host().adapters.unregister(ADAPTER.name)


@pytest.fixture
def lm() -> AttributionModel:
    """A decoder-only toy."""
    return AttributionModel(BagModel(), "dummy")
