"""Checks of what every kind of thing says about itself: its lazy path, its words, its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from inseq_core.errors import AggregatorFailedError, InseqError, MethodFailedError
from inseq_core.hooks.parameters import parameters_of
from inseq_core.run.binding import construct
from inseq_core.testing.checks import demand, refuse

_ENDS_BARE = "<nonsense> ends in a bare {}: {}; give the field a validator"


class Nonsense:
    """A value that no parameter can have meant."""

    def __repr__(self) -> str:
        return "<nonsense>"


def must_load(subject: Any, attribute: str = "") -> Any:
    """The object behind a subject's lazy path, which must be callable and have ``attribute`` where it is a class."""
    loaded = subject.entry.load()
    demand(
        callable(loaded),
        f"{subject.entry.spec.LAZY} leads to {type(loaded).__name__}, which cannot be called",
    )
    if attribute and inspect.isclass(loaded):
        has_it = callable(getattr(loaded, attribute, None))
        demand(has_it, f"{loaded.__name__} has no method {attribute}()")
    return loaded


def must_document(factory: Callable[..., Any]) -> None:
    """Every parameter has a text of its own."""
    silent = [p.name for p in parameters_of(factory) if not p.doc.strip()]
    demand(
        not silent,
        f"nothing is said about {', '.join(silent)}: write 'name: what it does' into the docstring's Args",
    )


def must_be_frozen(factory: Any, arguments: dict[str, Any]) -> None:
    """An attrs record that cannot be changed once it is made."""
    if not inspect.isclass(factory):
        return
    demand(
        attrs.has(factory),
        f"{factory.__name__} is no attrs class: decorate it with @attrs.frozen(kw_only=True)",
    )
    instance = construct("it", factory, arguments)
    for field in attrs.fields(type(instance)):
        try:
            setattr(instance, field.name, None)
        except attrs.exceptions.FrozenError:
            continue
        refuse(f"{field.name} can be changed after it was checked: use @attrs.frozen")


def must_refuse_nonsense(
    subject: Any, factory: Callable[..., Any], run: Callable[[dict[str, Any]], Any]
) -> None:
    """A nonsense value of any parameter ends in an ``InseqError``, when it is constructed or when it runs.

    Args:
        run: uses the subject with some arguments in place of its usual ones.
    """
    for parameter in parameters_of(factory):
        arguments = {**subject.arguments, parameter.name: Nonsense()}
        try:
            construct(f"{subject.entry.kind.word} {subject.name!r}", factory, arguments)
            run(arguments)
        except (
            MethodFailedError,
            AggregatorFailedError,
        ) as error:  # it failed by itself, and was named for it
            cause = error.__cause__ or error
            refuse(f"{parameter.name}={_ENDS_BARE.format(type(cause).__name__, cause)}")
        except InseqError:
            continue
        except Exception as error:
            refuse(f"{parameter.name}={_ENDS_BARE.format(type(error).__name__, error)}")
        refuse(f"{parameter.name}=<nonsense> is accepted; give the field a validator")
