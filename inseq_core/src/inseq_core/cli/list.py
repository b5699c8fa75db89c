"""``inseq list``: names of what plugins provide, with one line on each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from inseq_core.hooks import KINDS, get_host
from inseq_core.hooks.kinds import Kind, kind_named

_READABLE = 80
"""Characters of a summary's line, below which it takes too many of them."""


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
    head: tuple[str, ...] = ("kind", "names")
    rows: list[tuple[str, ...]] = [
        (each.plural, ", ".join(get_host().registry(each.key).names()) or "none") for each in asked
    ]
    if kind is not None:
        head = ("name", "summary", "package")
        rows = [
            (entry.name, entry.spec.summary, entry.provenance.distribution)
            for entry in get_host().registry(asked[0].key).entries()
        ]
    _show(head, rows) if rows else click.echo(f"No {asked[0].plural}.")


def _show(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table on a terminal; elsewhere one line a row, for grep and the like."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        console.print(_table(head, rows, console.width))
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)]
    for row in rows:
        padded = [f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)]
        console.print("  ".join(padded).rstrip(), markup=False, soft_wrap=True)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], width: int) -> Any:
    """Whose a name is stands in a column where that leaves room for what it is, else it is left out."""
    from rich.table import Table
    from rich.text import Text

    names, packages = (max(len(row[i]) for row in rows) for i in (0, -1))
    is_wide = width - names - packages - 4 >= _READABLE
    shown = head if len(head) < 3 or is_wide else head[:2]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name, style in zip(shown, ("bold", "", "dim"), strict=False):
        table.add_column(name, style=style, no_wrap=bool(style))
    for row in rows:
        table.add_row(*map(Text, row[: len(shown)]))
    return table


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
