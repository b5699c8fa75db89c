"""The ``inseq`` program: a click group whose sub-commands are found by the hook ``inseq_commands``.

Help lists names and summaries from the specs; a command's module is imported when that command runs.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import click

from inseq_core.errors import InseqError, PluginError
from inseq_core.hooks import commands

TRACEBACK_VARIABLE = "INSEQ_TRACEBACK"


class Program(click.Group):
    """The group: sub-commands from the registry, errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the sub-commands."""
        return commands().names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command with this name, written with hyphens or underscores; None where there is none."""
        found = {_hyphens(name): name for name in commands()}.get(_hyphens(cmd_name))
        if found is None:
            return None
        entry = commands().get(found)
        command = entry.load()
        if not isinstance(command, click.Command):
            raise PluginError(
                f"Command {found!r} of {entry.provenance} is {type(command).__name__}, no click command.\n"
                "  Its authors have to decorate it with @click.command()."
            )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The sub-command that ``args`` begin with."""
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(str(commands().unknown(args[0])), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of sub-commands, without importing them."""
        rows = {entry.name: entry.spec.summary for entry in commands().entries()}
        rows |= {name: "(provided more than once: see inseq plugins)" for name in commands().conflicts()}
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(sorted(rows.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command; an ``InseqError`` becomes its message and exit status 1.

        So does what the operating system refuses (a full disk behind ``> file``); a reader that has gone
        (``| head``) is click's own business.
        """
        try:
            return super().invoke(ctx)
        except InseqError as error:
            if ctx.params.get("traceback"):
                raise
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if ctx.params.get("traceback") or error.errno == errno.EPIPE:
                raise
            raise click.ClickException(f"{error}\n  --traceback shows where it comes from.") from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program, warnings on one line each."""
        with _short_warnings():
            return super().main(*args, **kwargs)


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def _underscores(name: str) -> str:
    return name.replace("-", "_")


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Our warnings without the line of code that gave them; other libraries' as they are."""
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        from inseq_core.errors import InseqWarning

        if issubclass(category, InseqWarning):
            click.echo(f"{click.style('Warning:', fg='yellow')} {message}", err=True)
        else:
            usual(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from inseq_core.version import get_version

        click.echo(f"inseq {get_version()}")
        ctx.exit()


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _underscores},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option(
    "--traceback",
    is_flag=True,
    envvar=TRACEBACK_VARIABLE,
    help=f"Show where an error comes from (also: {TRACEBACK_VARIABLE}=1).",
)
def program(traceback: bool) -> None:
    """Which parts of the input made the model produce this token?

    Options are written --with_underscores or --with-hyphens.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the program and exit.

    Args:
        args: instead of the command line's.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows "?", and does not end the program.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    program.main(args=None if args is None else list(args), prog_name="inseq")
