"""Registers the core's own methods."""

from __future__ import annotations

from collections.abc import Iterator

from inseq_core.hooks.hookspecs import hookimpl
from inseq_core.hooks.specs import Capability, MethodSpec


@hookimpl
def inseq_attribution_methods() -> Iterator[MethodSpec]:
    """The core's own methods."""
    yield MethodSpec(
        name="dummy",
        factory="inseq_core.methods.dummy:Dummy",
        summary="No attribution: step scores alone.",
        needs={Capability.SCORES},
        normalize=False,
        passes="0",
        when="To compute step scores without attributing anything.",
    )
