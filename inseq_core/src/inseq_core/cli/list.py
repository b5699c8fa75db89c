"""``inseq list``: names of what plugins provide, with one line on each."""

from __future__ import annotations

import json
from typing import Any

import click

from inseq_core.hooks import KINDS, get_host
from inseq_core.hooks.kinds import Kind, kind_named


@click.command(name="list")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print plain data, for programs.")
def list_names(kind: str | None, as_json: bool) -> None:
    """List what plugins provide: names and summaries of one KIND, or the names of every kind.

    KIND is one of methods, step-functions, aggregators, aggregation-functions, adapters (or frameworks),
    models, viewers, commands, model-configs.
    """
    asked = KINDS if kind is None else (kind_named(kind),)
    if as_json:
        click.echo(json.dumps({k.key: _plain(k) for k in asked}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, emoji=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    if kind is None:
        for each in asked:
            names = ", ".join(get_host().registry(each.key).names())
            table.add_row(Text(each.plural, style="bold"), Text(names or "none"))
    else:
        table.add_column(no_wrap=True, style="dim")
        for entry in get_host().registry(asked[0].key).entries():
            table.add_row(
                Text(entry.name, style="bold"), Text(entry.spec.summary), Text(entry.provenance.distribution)
            )
    console.print(table if table.row_count else f"No {asked[0].plural}.", markup=False)


def _plain(kind: Kind[Any]) -> list[dict[str, str]]:
    return [
        {
            "name": entry.name,
            "summary": entry.spec.summary,
            "plugin": entry.provenance.plugin,
            "distribution": entry.provenance.distribution,
            "version": entry.provenance.version,
        }
        for entry in get_host().registry(kind.key).entries()
    ]
