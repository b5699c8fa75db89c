"""``inseq explain``: what a name stands for."""

from __future__ import annotations

import click

from inseq_core.explain import explain


@click.command(name="explain")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def explain_name(names: tuple[str, ...]) -> None:
    """Explain a method, step function, aggregator, framework, model, viewer or command by its NAME."""
    for i, name in enumerate(names):
        if i:
            click.echo()
        explain(name)
