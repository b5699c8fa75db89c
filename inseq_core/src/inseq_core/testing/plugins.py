"""A whole plugin under test: what it is installed as, and everything that it provides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inseq_core.errors import unknown_name
from inseq_core.hooks import KINDS, Entry, PluginReport, get_host
from inseq_core.hooks.discovery import canonical


class PluginUnderTest:
    """An installed plugin, or what was registered in this session.

    Args:
        report: what the host says about it.
    """

    def __init__(self, report: PluginReport) -> None:
        self.report = report
        self.arguments: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Its entry point."""
        return self.report.name

    @property
    def title(self) -> str:
        """What reports call it."""
        package = f"{self.report.distribution} {self.report.version}".strip()
        return f"plugin {self.name!r} ({package or 'registered in this session'})"

    def entries(self) -> Iterator[Entry[Any]]:
        """Everything that it provides."""
        for kind in KINDS:
            for entry in get_host().registry(kind.key).entries():
                source = entry.provenance
                if (source.plugin, source.distribution) == (self.report.name, self.report.distribution):
                    yield entry


def plugins_named(name: str) -> list[PluginUnderTest]:
    """The plugins with an entry point or distribution of this name.

    Raises:
        UnknownNameError: there is none.
    """
    reports = get_host().plugins()
    wanted = canonical(name)
    found = [r for r in reports if wanted in (canonical(r.name), canonical(r.distribution))]
    if not found:
        names = [r.name for r in reports] + [r.distribution for r in reports if r.distribution]
        raise unknown_name("plugin", name, sorted(set(names)))
    return [PluginUnderTest(report) for report in found]
