"""Who takes which argument.

Every keyword of a call has an owner: the call itself, the method, the attributed function or a step score.
One that several take goes to all of them, unless it is given through the dict of one of them; one that nobody
takes is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.guard import Guard, shown
from inseq_core.errors import (
    InseqError,
    InvalidArgumentError,
    PluginError,
    invalid,
    listed,
    unknown_argument,
)
from inseq_core.hooks import Entry, methods, step_functions
from inseq_core.hooks.parameters import Parameter, parameters_of
from inseq_core.hooks.specs import MethodSpec


@attrs.frozen(kw_only=True, eq=False)
class Taker:
    """Somebody who takes arguments.

    Attributes:
        owner: in words ("method 'saliency'").
        parameters: what it takes.
        source: name of the dict that is for it ("attribution_args").
        given: what that dict holds.
        defaults: what it gets where nothing else is said (arguments given when the model was loaded).
    """

    owner: str
    parameters: tuple[Parameter, ...]
    source: str
    given: Mapping[str, Any] = attrs.field(factory=dict)
    defaults: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, owner: str, target: Callable[..., Any], source: str, given: Mapping[str, Any]) -> Taker:
        """What ``target`` (a method's class, a step function) takes."""
        return cls(owner=owner, parameters=parameters_of(target), source=source, given=given)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its parameters."""
        return tuple(p.name for p in self.parameters)

    def take(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Its own among ``keywords``, its dict before them, its defaults after them."""
        mine = {name: value for name, value in keywords.items() if name in self.names}
        given = {name: value for name, value in self.given.items() if name in self.names}
        return {name: plain_number(value) for name, value in {**self.defaults, **mine, **given}.items()}


def share_out(
    where: str, keywords: Mapping[str, Any], takers: Sequence[Taker], own: Sequence[str] = ()
) -> tuple[dict[str, Any], ...]:
    """The arguments of each taker, in their order.

    Args:
        where: the call, for errors ("attribute()").
        keywords: what was given beyond the call's own parameters.
        takers: everyone else who takes arguments.
        own: the call's own parameters, for suggestions.

    Raises:
        UnknownArgumentError: a keyword, or an entry of a dict, that nobody takes.
        InvalidArgumentError: a required parameter that was not given.
    """
    accepted = {taker.owner: taker.names for taker in takers}
    for name in keywords:
        if not any(name in names for names in accepted.values()):
            raise unknown_argument(
                name, where, {**accepted, where: own} if own else accepted, others_that_take(name)
            )
    for source in dict.fromkeys(taker.source for taker in takers):
        sharing = [taker for taker in takers if taker.source == source]
        for name in {name: None for taker in sharing for name in taker.given}:
            if not any(name in taker.names for taker in sharing):
                takes = {taker.owner: taker.names for taker in sharing}
                raise unknown_argument(name, source, takes, others_that_take(name))
    shares = tuple(taker.take(keywords) for taker in takers)
    for taker, share in zip(takers, shares, strict=True):
        missing = [p.name for p in taker.parameters if p.is_required and p.name not in share]
        if missing:
            raise InvalidArgumentError(
                f"{taker.owner} needs {listed(missing)}.\n  Give {where} {missing[0]}=…, or "
                f"{taker.source}={{{missing[0]!r}: …}}."
            )
    return shares


def others_that_take(name: str) -> str:
    """The installed methods and step functions that have a parameter ``name``, in words; "" for none."""
    parts = []
    for kind, entries in (("method", methods().entries()), ("step function", step_functions().entries())):
        found = list(dict.fromkeys(entry.name for entry in entries if name in _names_of(entry)))
        if found:
            parts.append(f"the {kind}{'s' * (len(found) > 1)} {listed(found, 8)}")
    return " and of ".join(parts)


def _names_of(entry: Entry[Any]) -> tuple[str, ...]:
    """Names of the parameters of what an entry stands for; none where it cannot be loaded."""
    try:
        return tuple(p.name for p in parameters_of(entry.load()))
    except InseqError:
        return ()


def with_own_method(method: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a call beside the name of its method, where ``method`` among them is a parameter of that method.

    Integrated gradients have such a parameter, the quadrature: it moves to ``attribution_args``.
    """
    given = dict(keywords)
    if "method" in given and any(p.name == "method" for p in parameters_of(methods().get(method).load())):
        own = {"method": given.pop("method")}
        given["attribution_args"] = {
            **own,
            **argument_dict("attribution_args", given.get("attribution_args")),
        }
    return given


def plain_number(value: Any) -> Any:
    """A number or flag of numpy's as Python's own, which parameters are checked for; all else as it is."""
    return value.item() if isinstance(value, (np.number, np.bool_)) else value


def argument_dict(name: str, value: Any) -> dict[str, Any]:
    """``value`` as a dict of arguments; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise invalid(name, value, "a dict of arguments by name")
    return dict(value)


_FIELD_AT_START = re.compile(r"^['\"]?(\w+)['\"]?\s*(.*)$", re.DOTALL)


def construct(owner: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """``factory(**arguments)``, with the parameter and its value named where it refuses one.

    Raises:
        InvalidArgumentError: a validator of the class refused a value.
    """
    try:
        return factory(**arguments)
    except InseqError:
        raise
    except (TypeError, ValueError) as error:
        reason = _reason(error)
        match = _FIELD_AT_START.match(reason)
        name = match.group(1) if match else ""
        shows_value = match is not None and match.group(2).lstrip().startswith(("=", ":="))
        if match and name in arguments and not shows_value:
            value = arguments[name]
            raise InvalidArgumentError(
                f"{owner}: {name} = {_shown(value)} ({type(value).__name__}): {match.group(2)}"
            ) from error
        raise InvalidArgumentError(f"{owner}: {reason}") from error


_TYPES: Mapping[type, str] = {bool: "True or False", int: "an integer", str: "a text", dict: "a dict"}


def made_method(entry: Entry[MethodSpec], arguments: Mapping[str, Any]) -> Any:
    """A method with its parameters filled in.

    Raises:
        InvalidArgumentError: it refuses a value.
        PluginError: it fails otherwise, or is no method.
    """
    whose = f"The method {entry.name!r} ({entry.provenance})"
    advice = "This is a defect of the method: tell its authors, or run its conformance checks."
    with Guard(PluginError, f"{whose} cannot be made", advice=advice):
        made = construct(f"method {entry.name!r}", entry.load(), arguments)
        is_method = callable(getattr(made, "attribute", None))
    if not is_method:
        raise PluginError(
            f"{whose} is made as {type(made).__name__}, which has no attribute(ctx).\n  {advice}"
        )
    return made


def _reason(error: Exception) -> str:
    """What an error says, without the names of Python's classes where a validator of attrs wanted a type."""
    if (
        len(error.args) == 4
        and isinstance(error.args[1], attrs.Attribute)
        and isinstance(error.args[2], type)
    ):
        _, field, wanted, value = error.args
        expected = _TYPES.get(wanted, f"a {wanted.__name__}")
        return f"{field.name} = {_shown(value)} ({type(value).__name__}): expected {expected}."
    if len(error.args) == 4 and isinstance(error.args[1], attrs.Attribute):  # one of a few values
        _, field, options, value = error.args
        if isinstance(options, Collection) and not isinstance(options, str):
            expected = listed(map(repr, options), 30)
            return f"{field.name} = {_shown(value)} ({type(value).__name__}): expected one of {expected}."
    return str(error.args[0]) if error.args else str(error)


def _shown(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 80 else text[:77] + "…"
