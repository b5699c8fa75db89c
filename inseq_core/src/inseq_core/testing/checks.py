"""Checks: small named statements about something that a plugin provides, each a function of its own.

A check is given a *subject* (a method, step function, aggregator … under test), looks, and raises ``CheckFailure``
with what it found instead of what was promised. Its name is its id, the first line of its docstring what holds when
it passes, the rest why that matters.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from inseq_core.errors import InseqWarning, ModelChangedWarning
from inseq_core.hooks import KINDS

PLUGINS = "plugins"
"""The kind of subject that is a whole plugin; the others are those of the registries."""


class CheckFailure(AssertionError):
    """What a subject promised does not hold; the message says what was found."""


class NotApplicable(Exception):
    """A check has nothing to look at here, and why."""


@attrs.frozen(kw_only=True, eq=False)
class Check:
    """One check.

    Attributes:
        kind: of its subjects: "methods", "step_functions" …, or "plugins".
        id: its name.
        claim: what holds when it passes, one sentence.
        reason: why that matters.
        look: raises ``CheckFailure``.
        unless: why it does not apply to a subject, from what the subject declares; "" where it applies.
    """

    kind: str
    id: str
    claim: str
    reason: str
    look: Callable[[Any], None]
    unless: Callable[[Any], str]

    def __call__(self, subject: Any) -> None:
        """Look at a subject.

        Raises:
            CheckFailure: the claim does not hold, or looking at the subject raised something.
            NotApplicable: there is nothing to look at.
        """
        exempt = self.unless(subject)
        if exempt:
            raise NotApplicable(exempt)
        try:
            self.look(subject)
        except (CheckFailure, NotApplicable, KeyboardInterrupt):
            raise
        except Exception as error:
            raise CheckFailure(f"{type(error).__name__}: {error}") from error


def always(subject: Any) -> str:
    """For checks that apply to every subject of their kind."""
    return ""


def check_of(kind: str, *, unless: Callable[[Any], str] = always) -> Callable[[Callable[[Any], None]], Check]:
    """Make a check of a function that takes a subject.

    Args:
        kind: of its subjects.
        unless: see ``Check.unless``.
    """

    def make(function: Callable[[Any], None]) -> Check:
        claim, _, reason = (inspect.getdoc(function) or "").partition("\n")
        return Check(
            kind=kind,
            id=function.__name__,
            claim=claim.strip(),
            reason=" ".join(reason.split()),
            look=function,
            unless=unless,
        )

    return make


def demand(holds: bool, found: str) -> None:
    """Raise ``CheckFailure`` with what was found, unless ``holds``."""
    if not holds:
        raise CheckFailure(found)


def refuse(found: str) -> None:
    """Raise ``CheckFailure`` with what was found."""
    raise CheckFailure(found)


@contextmanager
def without_warnings() -> Iterator[None]:
    """inseq's warnings are not shown; the one that says that something changed the model is a failed check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InseqWarning)
        warnings.simplefilter("error", ModelChangedWarning)
        try:
            yield
        except ModelChangedWarning as changed:
            refuse(str(changed).splitlines()[0])


def word_for(kind: str) -> str:
    """What the field calls one subject of a kind."""
    return {k.key: k.word for k in KINDS}.get(kind, "plugin")
