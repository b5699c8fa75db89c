"""Reports: what there is to say about each plugin. What ``inseq plugins`` shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from inseq_core.hooks.discovery import canonical, is_disabled
from inseq_core.hooks.kinds import KINDS
from inseq_core.hooks.loading import LoadedPlugins
from inseq_core.hooks.provenance import SESSION, Failure, Provenance
from inseq_core.hooks.registry import Entry


@attrs.frozen(kw_only=True)
class PluginReport:
    """What there is to say about one plugin.

    Attributes:
        name, distribution, version: as in ``Provenance``.
        path: value of its entry point.
        status: ``"ready"``, ``"failed"`` (nothing or not everything of it works) or ``"disabled"``.
        provides: kind (``"methods"`` …) -> names.
        observes: hooks that it implements beyond those that list things.
        conflicts: kind -> names that another plugin provides too.
        failures: what of it failed, and why.
    """

    name: str
    distribution: str = ""
    version: str = ""
    path: str = ""
    status: str = "ready"
    provides: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    observes: tuple[str, ...] = ()
    conflicts: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    failures: tuple[Failure, ...] = ()


def reports_on(
    plugins: LoadedPlugins, entries: Iterable[Entry[Any]], disabled: Collection[str]
) -> tuple[PluginReport, ...]:
    """A report on each plugin, by distribution and name; the session last, if anything was registered in it.

    Args:
        plugins: installed and loaded ones.
        entries: everything in the registries.
        disabled: names of disabled plugins and distributions.
    """
    entries = list(entries)
    listing = {kind.hook for kind in KINDS}
    paths: dict[Provenance, str] = {c.provenance: c.path for c in plugins.candidates}
    for source in (*plugins.sources.values(), *(failure.source for failure in plugins.failures)):
        paths.setdefault(source, "")
    reports = []
    for source in sorted(paths, key=lambda s: (canonical(s.distribution), s.plugin)):
        failures = tuple(failure for failure in plugins.failures if failure.source == source)
        status = "failed" if failures else "ready"
        reports.append(
            PluginReport(
                name=source.plugin,
                distribution=source.distribution,
                version=source.version,
                path=paths[source],
                status="disabled" if is_disabled(source, disabled) else status,
                provides=_names(entry for entry in entries if entry.provenance == source),
                observes=tuple(hook for hook in plugins.hooks_of(source) if hook not in listing),
                conflicts=_names(_contested(entries, source)),
                failures=failures,
            )
        )
    session = _names(entry for entry in entries if entry.provenance == SESSION)
    if session:
        reports.append(PluginReport(name=SESSION.plugin, provides=session))
    return tuple(reports)


def _contested(entries: list[Entry[Any]], source: Provenance) -> list[Entry[Any]]:
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        counts[entry.kind.key, entry.name] = counts.get((entry.kind.key, entry.name), 0) + 1
    return [e for e in entries if e.provenance == source and counts[e.kind.key, e.name] > 1]


def _names(entries: Iterable[Entry[Any]]) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        if entry.name not in names.get(entry.kind.key, ()):
            names[entry.kind.key] = (*names.get(entry.kind.key, ()), entry.name)
    return names
