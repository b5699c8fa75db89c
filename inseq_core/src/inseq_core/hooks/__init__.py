"""Hooks, spec records, the plugin host and its registries.

The one idea: listing is light. A registry knows names, summaries and lazy paths of everything that plugins
provide; what is behind a path is imported by ``Entry.load`` when someone wants to use it.
"""

from __future__ import annotations

from inseq_core.hooks.hookspecs import hookimpl, hookspec
from inseq_core.hooks.host import PluginHost, get_host, use_host
from inseq_core.hooks.kinds import KINDS, Kind
from inseq_core.hooks.loading import HOOKS
from inseq_core.hooks.provenance import SESSION, Failure, Provenance
from inseq_core.hooks.registry import Entry, Registry, resolve
from inseq_core.hooks.report import PluginReport
from inseq_core.hooks.specs import (
    AdapterSpec,
    AggregationFunctionSpec,
    AggregatorSpec,
    AnySpec,
    Capability,
    CommandSpec,
    LazyObject,
    MethodSpec,
    ModelConfigSpec,
    ModelSpec,
    Need,
    StepFunctionSpec,
    ViewerSpec,
)

__all__ = [
    "HOOKS",
    "KINDS",
    "SESSION",
    "AdapterSpec",
    "AggregationFunctionSpec",
    "AggregatorSpec",
    "AnySpec",
    "Capability",
    "CommandSpec",
    "Entry",
    "Failure",
    "Kind",
    "LazyObject",
    "MethodSpec",
    "ModelConfigSpec",
    "ModelSpec",
    "Need",
    "PluginHost",
    "PluginReport",
    "Provenance",
    "Registry",
    "StepFunctionSpec",
    "ViewerSpec",
    "adapters",
    "aggregation_functions",
    "aggregators",
    "commands",
    "get_host",
    "hookimpl",
    "hookspec",
    "methods",
    "model_configs",
    "models",
    "resolve",
    "step_functions",
    "use_host",
    "viewers",
]


def methods() -> Registry[MethodSpec]:
    """Attribution methods by name."""
    return get_host().methods


def adapters() -> Registry[AdapterSpec]:
    """Frameworks by name."""
    return get_host().adapters


def models() -> Registry[ModelSpec]:
    """Models that plugins carry, by id."""
    return get_host().models


def step_functions() -> Registry[StepFunctionSpec]:
    """Step functions by name."""
    return get_host().step_functions


def aggregators() -> Registry[AggregatorSpec]:
    """Aggregators by name."""
    return get_host().aggregators


def aggregation_functions() -> Registry[AggregationFunctionSpec]:
    """Aggregation functions by name."""
    return get_host().aggregation_functions


def viewers() -> Registry[ViewerSpec]:
    """Viewers by name."""
    return get_host().viewers


def commands() -> Registry[CommandSpec]:
    """Sub-commands of the ``inseq`` program by name."""
    return get_host().commands


def model_configs() -> Registry[ModelConfigSpec]:
    """Module names of model types, by model type."""
    return get_host().model_configs
