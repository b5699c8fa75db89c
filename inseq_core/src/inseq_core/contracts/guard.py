"""Code that is not ours: what it raises becomes one error that names it.

Plugins and functions that users write may raise anything, call ``sys.exit()``, and raise errors whose own message
cannot be made. Whoever calls such code does so inside a ``Guard``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import TracebackType
from typing import Any

import attrs

from inseq_core.errors import InseqError, InseqWarning

FOREIGN = (Exception, SystemExit, GeneratorExit)
"""What ends a plugin, not the program. An interrupt is the user's and goes through."""

_OURS = (InseqError, InseqWarning, MemoryError)
"""What is left as it is: our own errors, our warnings where they are made errors, and memory that ran out."""

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, colour it, or turn a line around; lines and tabs are left."""


@attrs.frozen
class Guard:
    """A ``with`` block around a call of code that is not ours.

    Errors and warnings of inseq's own, memory that ran out and interrupts are left as they are.

    Attributes:
        error: class of the error that everything else becomes.
        failed: what failed, and whose it is ("step function 'loud' failed").
        advice: what to do about it; "" where there is nothing to say.
        passes: says which other errors are left as they are (``ModelAdapter.is_out_of_memory``).
    """

    error: type[InseqError]
    failed: str
    advice: str = attrs.field(default="", kw_only=True)
    passes: Callable[[BaseException], bool] | None = attrs.field(default=None, kw_only=True)

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, FOREIGN) or isinstance(error, _OURS):
            return
        if self.passes is not None and _is_passed(self.passes, error):
            return
        advice = f"\n  {self.advice}" if self.advice else ""
        raise self.error(f"{self.failed}: {told(error)}{advice}") from error


def _is_passed(passes: Callable[[BaseException], bool], error: BaseException) -> bool:
    try:
        return passes(error)
    except FOREIGN:  # it reads the message, which cannot be made
        return False


def inert(text: str) -> str:
    """``text`` with what would act on a terminal written out (``\\x1b``)."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def told(error: BaseException) -> str:
    """``ErrorType: its message``, also for errors whose message cannot be made."""
    message = _message(error)
    name = type(error).__name__
    return inert(f"{name}: {message}" if message else name)


def one_line(error: BaseException) -> str:
    """The first line of what ``told`` says."""
    lines = _message(error).splitlines()
    name = type(error).__name__
    return inert(f"{name}: {lines[0]}" if lines else name)


def _message(error: BaseException) -> str:
    try:
        return str(error).strip()
    except FOREIGN:
        return "(its message could not be shown)"


def shown(value: Any) -> str:
    """``repr(value)``; the name of its class where that fails."""
    try:
        return repr(value)
    except FOREIGN:
        return f"a {type(value).__name__}"
