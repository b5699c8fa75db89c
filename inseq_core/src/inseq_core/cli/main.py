"""The entry point of ``inseq``: what ends the program from outside, from its first moment on.

Importing this module imports next to nothing. The program is imported where an interrupt is one line and an
exit status; before, Ctrl-C in the first tenth of a second gave a traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

_WORDS = {"SIGINT": "Interrupted.", "SIGTERM": "Terminated.", "SIGHUP": "The terminal is gone."}


class Stopped(KeyboardInterrupt):
    """A signal that asks the program to end: an interrupt, so that whoever is at work cleans up behind it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(args: Sequence[str] | None = None) -> None:
    """Run the program and exit.

    Args:
        args: instead of the command line's.
    """
    try:
        _stop_when_asked()
        from inseq_core.cli.program import run

        run(args)
    except KeyboardInterrupt as interrupt:
        text, status = last_words(interrupt)
        with contextlib.suppress(OSError):  # a terminal that is gone
            sys.stderr.write(f"{text}\n")
        sys.exit(status)


def last_words(interrupt: KeyboardInterrupt) -> tuple[str, int]:
    """What is said of an interrupt, and its exit status: 128 and the number of the signal."""
    number = interrupt.number if isinstance(interrupt, Stopped) else signal.SIGINT
    return _WORDS[signal.Signals(number).name], 128 + number


def _stop_when_asked() -> None:
    """Have SIGTERM and SIGHUP raised in the program, unless somebody has decided otherwise (``nohup``).

    By themselves they end it on the spot, and what was half-written stays.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Stopped(number)
        signal.signal(number, signal.SIG_DFL)  # a forked worker ends as it would without us
        os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # SIGHUP is POSIX
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)
