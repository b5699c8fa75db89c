"""What is there: the functions behind ``inseq.list_…``. Sorted ids; nothing heavy is imported."""

from __future__ import annotations

from inseq_core.hooks.host import get_host
from inseq_core.hooks.report import PluginReport


def list_feature_attribution_methods() -> list[str]:
    """Ids of the attribution methods, in alphabetical order."""
    return get_host().methods.names()


def list_step_functions() -> list[str]:
    """Ids of the step functions, in alphabetical order."""
    return get_host().step_functions.names()


def list_aggregators() -> list[str]:
    """Ids of the aggregators, in alphabetical order."""
    return get_host().aggregators.names()


def list_aggregation_functions() -> list[str]:
    """Ids of the aggregation functions, in alphabetical order."""
    return get_host().aggregation_functions.names()


def list_supported_frameworks() -> list[str]:
    """Ids of the frameworks whose models can be loaded, in alphabetical order."""
    return get_host().adapters.names()


def list_models() -> list[str]:
    """Ids of the models that plugins carry: those that load without a hub. In alphabetical order."""
    return get_host().models.names()


def list_viewers() -> list[str]:
    """Ids of the viewers, in alphabetical order."""
    return get_host().viewers.names()


def list_plugins() -> tuple[PluginReport, ...]:
    """A report on each installed plugin: what it provides, whether it works, and why not."""
    return get_host().plugins()
