"""Values of options that are names."""

from __future__ import annotations

import attrs
import click
import pytest

from inseq_core.cli.options import Registered
from inseq_core.hooks import MethodSpec, get_host, methods


@attrs.frozen(kw_only=True)
class Family:
    """Several methods in one. kind: which."""

    kind: str = "plain"


@pytest.fixture
def family():
    """A method whose name is followed by a variant."""
    registry = get_host().methods
    registry.register(MethodSpec(name="family", factory=Family, summary="Several in one.", variants="kind"))
    yield
    registry.unregister("family")


@pytest.mark.parametrize("name", ["family", "family:rare"])
def test_a_method_is_named_with_its_variant_or_without(family, name):
    """As in Python: what follows the colon is the method's own business."""
    assert Registered(methods).convert(name, None, None) == name


@pytest.mark.parametrize("name", ["familie", "family:", "dummy:rare"])
def test_a_name_that_is_none_is_answered_by_its_registry(family, name):
    """With the nearest one."""
    with pytest.raises(click.BadParameter, match="No attribution method named"):
        Registered(methods).convert(name, None, None)
