"""Subjects: from a name, a spec record or a live object to what the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inseq_core.errors import invalid, unknown_name
from inseq_core.hooks import KINDS, SESSION, Entry, get_host
from inseq_core.hooks.kinds import METHODS, kind_named
from inseq_core.testing.checks import word_for
from inseq_core.testing.methods import MethodUnderTest

_SUBJECTS: Mapping[str, Callable[..., Any]] = {METHODS.key: MethodUnderTest}
"""Kind -> its subject, made from an entry and arguments."""


def checkable_kinds() -> tuple[str, ...]:
    """Kinds of which the kit has checks."""
    return tuple(_SUBJECTS)


def entry_of(given: Any, kind: str) -> Entry[Any]:
    """The entry of a name, of a spec record that nobody registered, or an entry itself.

    Raises:
        UnknownNameError: nothing of the kind has the name.
        InvalidArgumentError: it is none of these.
    """
    described = kind_named(kind)
    if isinstance(given, Entry):
        return given
    if isinstance(given, described.spec):
        return Entry(spec=given, provenance=SESSION, kind=described)
    if isinstance(given, str):
        return get_host().registry(described.key).get(given)
    raise invalid("what is checked", given, f"a name, or a {described.spec.__name__}")


def kinds_of(given: Any) -> tuple[str, ...]:
    """Kinds of things that the kit can check and that a name, spec or entry is one of.

    Raises:
        UnknownNameError: nothing has the name.
    """
    if isinstance(given, Entry):
        return (given.kind.key,)
    found = tuple(
        kind.key
        for kind in KINDS
        if kind.key in _SUBJECTS
        and (isinstance(given, kind.spec) or (isinstance(given, str) and _has(kind.key, given)))
    )
    if not found:
        every = sorted({name for key in _SUBJECTS for name in get_host().registry(key).names()})
        raise unknown_name("method, step function, aggregator, viewer or framework", given, every)
    return found


def _has(kind: str, name: str) -> bool:
    registry = get_host().registry(kind)
    return name in registry or name.partition(":")[0] in registry


def subject_of(given: Any, kind: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """What the checks of a kind look at."""
    return _SUBJECTS[kind_named(kind).key](entry_of(given, kind), arguments)


def describe(subject: Any) -> str:
    """A subject in words: ``attribution method 'saliency' of inseq-captum 0.1.0``."""
    entry = subject.entry
    return f"{word_for(entry.kind.key)} {entry.name!r} ({entry.provenance})"
