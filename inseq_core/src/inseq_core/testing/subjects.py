"""Subjects: from a name, a spec record or a live object to what the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.errors import invalid, unknown_name
from inseq_core.hooks import KINDS, SESSION, Entry, get_host
from inseq_core.hooks.kinds import (
    ADAPTERS,
    AGGREGATION_FUNCTIONS,
    AGGREGATORS,
    METHODS,
    STEP_FUNCTIONS,
    VIEWERS,
    kind_named,
)
from inseq_core.model import AttributionModel
from inseq_core.testing.adapters import AdapterUnderTest, carried_models
from inseq_core.testing.aggregators import AggregatorUnderTest, UnderTest, ViewerUnderTest
from inseq_core.testing.checks import PLUGINS
from inseq_core.testing.methods import MethodUnderTest
from inseq_core.testing.plugins import PluginUnderTest, plugins_named
from inseq_core.testing.step_functions import StepFunctionUnderTest

_MADE_FROM_ENTRIES: Mapping[str, Callable[..., Any]] = {
    METHODS.key: MethodUnderTest,
    STEP_FUNCTIONS.key: StepFunctionUnderTest,
    AGGREGATORS.key: AggregatorUnderTest,
    AGGREGATION_FUNCTIONS.key: UnderTest,
    VIEWERS.key: ViewerUnderTest,
}
CHECKABLE = (*_MADE_FROM_ENTRIES, ADAPTERS.key)
"""Kinds of registered things that the kit has checks of."""


@attrs.frozen(kw_only=True, eq=False)
class Subject:
    """Something to check.

    Attributes:
        kind: "methods", …, or "plugins".
        looked_at: what the checks are given.
    """

    kind: str
    looked_at: Any

    @property
    def title(self) -> str:
        """What reports call it."""
        return str(self.looked_at.title)


def subjects(
    given: Any, kind: str | None = None, *, arguments: Mapping[str, Any] | None = None, model: Any = None
) -> list[Subject]:
    """What is to be checked.

    Args:
        given: a registered name, the name of a plugin or distribution, a spec record that need not be
            registered, an entry, a loaded model or its adapter.
        kind: of it; by default every kind that has the name.
        arguments: of the thing itself.
        model: for frameworks: what to load; by default the models that plugins carry for it.

    Raises:
        UnknownNameError: nothing has the name.
        InvalidArgumentError: nothing that could be checked.
    """
    if isinstance(given, AttributionModel):
        given = given.adapter
    if isinstance(given, ModelAdapter):
        return [Subject(kind=ADAPTERS.key, looked_at=AdapterUnderTest(None, arguments, given))]
    found: list[Subject] = []
    for each in (_kind(kind),) if kind is not None else kinds_of(given):
        if each == PLUGINS:
            for plugin in plugins_named(given):
                found += _everything_of(plugin)
        else:
            found += _of_entry(entry_of(given, each), arguments, model)
    return found


def _kind(kind: str) -> str:
    return PLUGINS if kind in (PLUGINS, "plugin") else kind_named(kind).key


def _of_entry(
    entry: Entry[Any], arguments: Mapping[str, Any] | None = None, model: Any = None
) -> list[Subject]:
    kind = entry.kind.key
    if kind == ADAPTERS.key:
        chosen: list[Any] = [model] if model is not None else [*carried_models(entry.name)] or [None]
        return [Subject(kind=kind, looked_at=AdapterUnderTest(entry, arguments, one)) for one in chosen]
    if kind not in _MADE_FROM_ENTRIES:
        raise invalid("kind", kind, f"one of {', '.join(CHECKABLE)}")
    return [Subject(kind=kind, looked_at=_MADE_FROM_ENTRIES[kind](entry, arguments))]


def _everything_of(plugin: PluginUnderTest) -> list[Subject]:
    """A plugin, and what it provides."""
    found = [Subject(kind=PLUGINS, looked_at=plugin)]
    for entry in plugin.entries():
        if entry.kind.key in CHECKABLE:
            found += _of_entry(entry)
    return found


def entry_of(given: Any, kind: str) -> Entry[Any]:
    """The entry of a name, of a spec record that nobody registered, or an entry itself.

    Raises:
        UnknownNameError: nothing of the kind has the name.
        InvalidArgumentError: it is none of these.
    """
    described = kind_named(kind)
    if isinstance(given, Entry):
        return given
    if isinstance(given, described.spec):
        return Entry(spec=given, provenance=SESSION, kind=described)
    if isinstance(given, str):
        found: Entry[Any] = get_host().registry(described.key).get(given)
        return found
    raise invalid("what is checked", given, f"a name, or a {described.spec.__name__}")


def kinds_of(given: Any) -> tuple[str, ...]:
    """Kinds of things that the kit can check and that a name, spec or entry is one of.

    Raises:
        UnknownNameError: nothing has the name.
        InvalidArgumentError: it is no name, spec or entry.
    """
    if isinstance(given, Entry):
        return (given.kind.key,)
    if not isinstance(given, str):
        found = tuple(k.key for k in KINDS if k.key in CHECKABLE and isinstance(given, k.spec))
        if not found:
            raise invalid("what is checked", given, "a name, a spec record, a loaded model or its adapter")
        return found
    host = get_host()
    named = tuple(key for key in CHECKABLE if _has(key, given))
    if named:
        return named
    if any(given in (report.name, report.distribution) for report in host.plugins()):
        return (PLUGINS,)
    every = {name for key in CHECKABLE for name in host.registry(key).names()}
    every |= {name for report in host.plugins() for name in (report.name, report.distribution) if name}
    raise unknown_name("method, step function, aggregator, viewer, framework or plugin", given, sorted(every))


def _has(kind: str, name: str) -> bool:
    registry = get_host().registry(kind)
    return name in registry or (":" in name and name.partition(":")[0] in registry)
