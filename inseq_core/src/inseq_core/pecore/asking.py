"""What a person at the terminal is asked, on standard error: standard output is for results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from inseq_core.errors import InvalidArgumentError

Answer = TypeVar("Answer")


def ask_output_context(output: str, candidate: str | None) -> str | None:
    """Which beginning of a generated output is its context; None for none.

    Args:
        output: what the model generated.
        candidate: the beginning that is probably meant.

    Raises:
        InvalidArgumentError: nobody answers.
    """

    def ask() -> str | None:
        click.echo(f"The model generated: {output}", err=True)
        if candidate is not None and click.confirm(f"Is {candidate!r} its context?", default=True, err=True):
            return candidate
        while True:
            answer: str = click.prompt(
                "The part of it that is its context (nothing for none)", default="", err=True
            )
            if output.startswith(answer):
                return answer or None
            click.echo("The output does not begin with that.", err=True)

    return _answered(
        ask, "Give output_context_text, or handle_output_context_strategy='auto' to split it by itself."
    )


def ask_next_token(prefix: str, token: str) -> str | None:
    """What to compare a context-sensitive token with; None for what the model says without context.

    Args:
        prefix: the output before it.
        token: the token itself.

    Raises:
        InvalidArgumentError: nobody answers.
    """

    def ask() -> str | None:
        click.echo(f"After {prefix!r} the model writes {token!r} with the context.", err=True)
        answer: str = click.prompt(
            "A word to compare with (nothing for the model's own)", default="", err=True
        )
        return answer.strip() or None

    return _answered(ask, "Give contextless_output_next_tokens, or leave the choice to the model.")


def _answered(ask: Callable[[], Answer], otherwise: str) -> Answer:
    try:
        return ask()
    except (click.Abort, EOFError) as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Ctrl-C, which click hides
            raise error.__context__ from None
        raise InvalidArgumentError(f"There was no answer.\n  {otherwise}") from error
