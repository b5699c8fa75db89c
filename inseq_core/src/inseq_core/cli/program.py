"""The ``inseq`` program: a click group whose sub-commands are found by the hook ``inseq_commands``.

Help lists names and summaries from the specs; a command's module is imported when that command runs.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import click

from inseq_core.cli.commands import command_typed, spelling_conflicts
from inseq_core.cli.main import last_words
from inseq_core.errors import InseqError, PluginError
from inseq_core.hooks import commands
from inseq_core.hooks.provenance import one_line

TRACEBACK_VARIABLE = "INSEQ_TRACEBACK"


class Program(click.Group):
    """The group: sub-commands from the registry, errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the sub-commands."""
        return commands().names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command with this name, written with hyphens or underscores; None where there is none."""
        entry = command_typed(cmd_name)
        if entry is None:
            return None
        command = entry.load()
        if not isinstance(command, click.Command):
            raise PluginError(
                f"Command {entry.name!r} of {entry.provenance} is {type(command).__name__}, no click command.\n"
                "  Its authors have to decorate it with @click.command()."
            )
        return _with_traceback(command)

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
        twice = [entry.name for found in spelling_conflicts().values() for entry in found]
        for name in (*commands().conflicts(), *twice):
            rows[name] = "(provided more than once: see inseq plugins)"
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(sorted(rows.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the beginning of the command line."""
        with _interrupts_named():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command; an ``InseqError`` becomes its message and exit status 1.

        So does what the operating system refuses (a full disk behind ``> file``), and a defect of the command,
        with whose it is; a reader that has gone (``| head``) is click's own business.
        """
        try:
            with _interrupts_named():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params.get("traceback") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise click.ClickException(_told(error, ctx.invoked_subcommand)) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program, warnings on one line each."""
        with _short_warnings():
            return super().main(*args, **kwargs)


def interrupted(interrupt: KeyboardInterrupt, advice: str = "") -> click.exceptions.Exit:
    """The end of the program by Ctrl-C or a signal: one line is said, and the exit has the status of shells."""
    text, status = last_words(interrupt)
    with contextlib.suppress(OSError):  # a terminal that is gone
        click.echo(f"{text} {advice}".rstrip(), err=True)
    return click.exceptions.Exit(status)


@contextlib.contextmanager
def _interrupts_named() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise interrupted(interrupt) from interrupt
    except click.Abort as abort:  # at a prompt, where click hides which of the two it was
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise interrupted(abort.__context__) from abort
        raise


def _told(error: Exception, name: str | None) -> str:
    """What is said of an error that ends the program."""
    if isinstance(error, InseqError):
        return str(error)
    reason = one_line(error)
    if isinstance(error, OSError):
        reason = str(error)
    elif name is not None and (entry := command_typed(name)) is not None:
        reason = f"The command {entry.name!r} of {entry.provenance} failed: {reason}"
    return f"{reason}\n  --traceback shows where it comes from."


def _with_traceback(command: click.Command) -> click.Command:
    """The command with an option --traceback like the program's, where it has none of its own."""
    if any("--traceback" in parameter.opts for parameter in command.params):
        return command
    extended = copy.copy(command)
    extended.params = [*command.params, _traceback_option()]
    return extended


def _note_traceback(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().params["traceback"] = True


def _traceback_option() -> click.Option:
    return click.Option(
        ["--traceback"],
        is_flag=True,
        expose_value=False,
        callback=_note_traceback,
        help=f"Show where an error comes from (also: {TRACEBACK_VARIABLE}=1).",
    )


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


def run(args: Sequence[str] | None = None) -> None:
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
