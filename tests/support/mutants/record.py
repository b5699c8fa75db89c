"""A mutant: something that a plugin could provide, broken in one way, and the check that must notice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import attrs

from inseq_core.hooks import SESSION, Entry
from inseq_core.hooks.kinds import kind_named
from inseq_core.testing.subjects import subjects


@attrs.frozen(kw_only=True)
class Mutant:
    """A broken thing.

    Attributes:
        check: id of the check that must fail.
        defect: what is broken, in a few words.
        make: gives what the check is to look at.
        around: a ``with`` block in which it looks.
    """

    check: str
    defect: str
    make: Callable[[], Any] = attrs.field(repr=False)
    around: Callable[[], contextlib.AbstractContextManager[Any]] = attrs.field(
        default=contextlib.nullcontext, repr=False
    )


def looked_at(kind: str, spec: Any, **arguments: Any) -> Any:
    """What checks of a kind look at, for a spec that nobody registered."""
    entry = Entry(spec=spec, provenance=SESSION, kind=kind_named(kind))
    (subject,) = subjects(entry, kind, arguments=arguments)
    return subject.looked_at
