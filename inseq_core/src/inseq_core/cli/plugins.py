"""``inseq plugins``: what is installed, what it provides, what failed and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import click

from inseq_core.cli.commands import spelling_conflict, spelling_conflicts
from inseq_core.hooks import get_host
from inseq_core.hooks.discovery import DISABLE_VARIABLE
from inseq_core.hooks.kinds import COMMANDS
from inseq_core.hooks.report import PluginReport

_STYLES = {"ready": "green", "failed": "red", "disabled": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print plain data, for programs.")
@click.option("--verbose", "-v", is_flag=True, help="Show the tracebacks of what failed.")
def plugins(as_json: bool, verbose: bool) -> None:
    """Show installed plugins, what each provides, and what failed.

    A plugin is left out by INSEQ_DISABLE_PLUGINS=NAME (its own name or its distribution's, several separated
    by commas); INSEQ_TRACE_PLUGINS=1 prints what plugins are asked and answer.
    """
    host = get_host()
    reports = tuple(_with_spellings(report) for report in host.plugins())
    if as_json:
        click.echo(json.dumps([attrs.asdict(report) for report in reports], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    for block in _blocks(reports):
        console.print(block)
    for failure in host.failures:
        console.print(f"Failed: {failure}", style="red", markup=False, soft_wrap=True)
        if verbose and failure.traceback:
            console.print(failure.traceback.rstrip(), markup=False, soft_wrap=True)
    for registry in (host.registry(key) for key in sorted({key for r in reports for key in r.conflicts})):
        for name in registry.conflicts():
            both = " and ".join(map(str, registry.conflicts()[name]))
            console.print(
                f"Conflict: the {registry.kind.word} {name!r} is provided by {both}; "
                f"disable one with {DISABLE_VARIABLE}.",
                style="red",
                markup=False,
            )
    for found in spelling_conflicts().values():
        console.print(
            f"Conflict: {spelling_conflict(found)} Disable one with {DISABLE_VARIABLE}.",
            style="red",
            markup=False,
        )
    for name in host.disabled_but_absent():
        console.print(
            f"Note: {DISABLE_VARIABLE} names {name!r}, which is not installed.", style="yellow", markup=False
        )


def _with_spellings(report: PluginReport) -> PluginReport:
    """The report, with commands that another plugin provides in the other spelling among its conflicts."""
    source = (report.name, report.distribution)
    names = tuple(
        entry.name
        for found in spelling_conflicts().values()
        for entry in found
        if (entry.provenance.plugin, entry.provenance.distribution) == source
    )
    if not names:
        return report
    contested = (*report.conflicts.get(COMMANDS.key, ()), *names)
    return attrs.evolve(report, conflicts={**report.conflicts, COMMANDS.key: tuple(dict.fromkeys(contested))})


def _blocks(reports: tuple[PluginReport, ...]) -> Iterator[Any]:
    from rich.padding import Padding
    from rich.text import Text

    width = max(len(report.name) for report in reports) if reports else 0
    for report in reports:
        package = f"{report.distribution} {report.version}".strip() or "registered in this session"
        status = Text(report.status, style=_STYLES[report.status])
        yield Text.assemble((f"{report.name:<{width}}", "bold"), f"  {package}  ", status)
        provided = [f"{key.replace('_', ' ')}: {', '.join(names)}" for key, names in report.provides.items()]
        provided += [f"observes: {', '.join(report.observes)}"] if report.observes else []
        for line in provided or ["provides nothing"] * (report.status == "ready"):
            yield Padding(Text(line), (0, 0, 0, 4))
