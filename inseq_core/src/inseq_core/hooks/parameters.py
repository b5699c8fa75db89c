"""The parameters of a thing: what a user may set, as its class or signature says.

One answer for ``explain``, the command line and argument binding. Documentation of a parameter is read from
the field's metadata (``attrs.field(metadata={"doc": …})``) or from a ``name: text`` entry of the docstring.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import attrs

from inseq_core.contracts.guard import Guard, shown
from inseq_core.errors import PluginError


@attrs.frozen(kw_only=True)
class Parameter:
    """One parameter.

    Attributes:
        type: as it is written in the code; "" where it is not.
        default: its value; ``attrs.NOTHING`` where it must be given.
        doc: one paragraph; "" where there is none.
    """

    name: str
    type: str = ""
    default: Any = attrs.NOTHING
    doc: str = ""

    @property
    def is_required(self) -> bool:
        """True where there is no default."""
        return self.default is attrs.NOTHING

    def __str__(self) -> str:
        text = f"{self.name}: {self.type}" if self.type else self.name
        return text if self.is_required else f"{text} = {self.default!r}"


def parameters_of(factory: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of a method, aggregator, viewer or step function, in the order of its definition.

    Args:
        factory: a class (attrs or plain) or a function. What the engine gives to a step function is left out.

    Raises:
        PluginError: it has no signature, or cannot be read.
    """
    try:
        return _known(factory)
    except TypeError:  # it has no hash
        return _read(factory)


@lru_cache(maxsize=512)
def _known(factory: Callable[..., Any]) -> tuple[Parameter, ...]:
    return _read(factory)


def _read(factory: Callable[..., Any]) -> tuple[Parameter, ...]:
    with Guard(PluginError, f"The parameters of {shown(factory)} cannot be read"):  # defaults may be calls
        if inspect.isclass(factory):
            found = _of_attrs(factory) if attrs.has(factory) else _of_signature(factory, skip=())
        else:
            found = _of_signature(factory, skip=_given_by_engine(factory))
        docs = documented(inspect.getdoc(factory) or "", [p.name for p in found])
        if inspect.isclass(factory) and not attrs.has(factory):
            docs = documented(inspect.getdoc(factory.__init__) or "", [p.name for p in found]) | docs
        return tuple(attrs.evolve(p, doc=p.doc or docs.get(p.name, "")) for p in found)


def documented(docstring: str, names: Sequence[str]) -> dict[str, str]:
    """``name: text`` entries of a docstring for ``names``; ``a, b: text`` counts for both."""
    if not names or not docstring:
        return {}
    one = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    start = re.compile(
        rf"(?:(?<=^)|(?<=[\s(;]))`{{0,2}}(?P<names>(?:{one})(?:`{{0,2}},\s+`{{0,2}}(?:{one}))*)`{{0,2}}"
        rf"(?:\s*\([^()\n]*\))?:(?=\s)",
        re.MULTILINE,
    )
    found: dict[str, str] = {}
    matches = _entries(docstring, list(start.finditer(docstring)))
    ends = [*(match.start() for match in matches[1:]), len(docstring)]
    for match, end in zip(matches, ends, strict=False):
        text = docstring[match.end() : end]
        text = re.split(
            r"\n\s*\n|\n\s*(?:Returns|Raises|Yields|Example|Examples|Note|Source):", text, maxsplit=1
        )[0]
        for name in re.split(r"[`,\s]+", match["names"]):
            found.setdefault(name, " ".join(text.split()).rstrip(";"))
    return found


def _entries(docstring: str, matches: list[re.Match[str]]) -> list[re.Match[str]]:
    """The matches that begin an entry; "entries of the axis: one index" begins none if ``axis`` has a line."""

    def leads(match: re.Match[str]) -> bool:
        return not docstring[docstring.rfind("\n", 0, match.start()) + 1 : match.start()].strip()

    with_line = {name for match in matches if leads(match) for name in re.split(r"[`,\s]+", match["names"])}
    return [m for m in matches if leads(m) or with_line.isdisjoint(re.split(r"[`,\s]+", m["names"]))]


def _of_attrs(factory: type) -> list[Parameter]:
    return [
        Parameter(
            name=field.alias or field.name,
            type=_written(field.type),
            default=_default_of(field),
            doc=str(field.metadata.get("doc", "")),
        )
        for field in attrs.fields(factory)
        if field.init
    ]


def _default_of(field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    if not hasattr(default, "factory"):  # attrs.Factory is a class to attrs and a function to type checkers
        return default
    return None if default.takes_self else default.factory()


def _of_signature(function: Callable[..., Any], skip: Iterable[str]) -> list[Parameter]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"The parameters of {function!r} cannot be read: {error}\n  Wrap it in a function or class."
        ) from error
    skipped = set(skip)
    return [
        Parameter(
            name=parameter.name,
            type=_written(parameter.annotation),
            default=attrs.NOTHING if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in signature.parameters.values()
        if parameter.name not in skipped
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


def _given_by_engine(function: Callable[..., Any]) -> set[str]:
    """Names in the signature of a step function that are not its own."""
    from inseq_core.contracts.step_function import own_parameters

    try:
        return set(inspect.signature(function).parameters) - set(own_parameters(function))
    except (TypeError, ValueError):
        return set()


def _written(annotation: Any) -> str:
    if annotation is None or annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
