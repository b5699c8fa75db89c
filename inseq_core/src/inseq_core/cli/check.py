"""``inseq check``: the conformance kit on the command line."""

from __future__ import annotations

import json
from typing import Any

import attrs
import click

from inseq_core.cli.options import JsonDict


@click.command(name="check")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--kind", metavar="KIND", help="Of the NAME, where several kinds have it (inseq list).")
@click.option("--model", "-m", metavar="ID", help="For a framework: what it loads to be checked.")
@click.option("--arguments", type=JsonDict(), help="Arguments of what is checked, in every run.")
@click.option(
    "--known", multiple=True, metavar="CHECK=REASON", help="A check that is known to fail, and why."
)
@click.option("--verbose", "-v", is_flag=True, help="Show checks that passed or did not apply, too.")
@click.option("--json", "as_json", is_flag=True, help="Print plain data, for programs.")
def check_names(
    names: tuple[str, ...],
    kind: str | None,
    model: str | None,
    arguments: dict[str, Any] | None,
    known: tuple[str, ...],
    verbose: bool,
    as_json: bool,
) -> None:
    """Check what a plugin provides by what it means, on models small enough to be solved by hand.

    NAME is a method, step function, aggregator, viewer or framework; or a plugin or distribution, which is
    checked with everything that it provides. Exits with status 1 if a check fails.

    Example: inseq check saliency
    """
    from inseq_core.testing.report import Report
    from inseq_core.testing.run import run_checks

    findings: list[Any] = []
    reasons = dict(_reason(text) for text in known)
    with _progress(as_json) as tell:
        for name in names:
            report = run_checks(
                name, kind, arguments=arguments, model=model, known_failures=reasons, tell=tell
            )
            findings += report.findings
    whole = Report(findings)
    if as_json:
        click.echo(json.dumps([attrs.asdict(f) for f in whole.findings], indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        Console(highlight=False, emoji=False).print(whole.rich(verbose=verbose))
    if not whole.passed:
        raise click.exceptions.Exit(1)


def _reason(text: str) -> tuple[str, str]:
    identifier, equals, reason = text.partition("=")
    if not equals:
        raise click.UsageError(f"--known {text!r}: write CHECK=REASON.")
    return identifier.strip(), reason.strip()


def _progress(is_quiet: bool) -> Any:
    """A line on a terminal that says what is being checked; gives what to call with each finding."""
    import contextlib

    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)

    @contextlib.contextmanager
    def telling() -> Any:
        if is_quiet or not console.is_terminal:
            yield None
            return
        with console.status("checking") as status:
            yield lambda finding: status.update(escape(f"{finding.subject}: {finding.check}"))

    return telling()
