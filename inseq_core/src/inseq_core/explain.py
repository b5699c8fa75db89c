"""Explain: what a method, step function, aggregator or anything else with a name is, and who provides it.

Everything is said by the spec and the parameters of what is behind it; nothing is known here about any one of
them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Any

from inseq_core.errors import (
    InseqError,
    PluginConflictError,
    UnknownNameError,
    closest,
    invalid,
    listed,
    unknown_name,
)
from inseq_core.hooks import KINDS, Entry, get_host
from inseq_core.hooks.known import KNOWN
from inseq_core.hooks.parameters import parameters_of
from inseq_core.hooks.specs import (
    AdapterSpec,
    AggregationFunctionSpec,
    AnySpec,
    CommandSpec,
    MethodSpec,
    ModelConfigSpec,
    ModelSpec,
    StepFunctionSpec,
    ViewerSpec,
)

_WIDTH = 100
_LABEL = 14


def explain(identifier: str) -> None:
    """Print what a name stands for: meaning, provider, paper, formula, needs, cost and parameters.

    Args:
        identifier: a method, step function, aggregator, aggregation function, framework, model, viewer or
            command. A name that several kinds share is explained for each.

    Raises:
        UnknownNameError: nothing has the name.
    """
    from rich.console import Console

    Console(soft_wrap=True).print(explanation(identifier), markup=False, highlight=False, emoji=False)


def explanation(identifier: str) -> str:
    """The text that ``explain`` prints.

    Raises:
        InvalidArgumentError: no name. UnknownNameError: nothing has the name.
    """
    if not isinstance(identifier, str):
        raise invalid("identifier", identifier, "one name, such as 'saliency'")
    host = get_host()
    parts = []
    for kind in KINDS:
        registry = host.registry(kind.key)
        if identifier not in registry and str(identifier).partition(":")[0] not in registry:
            continue
        try:
            parts.append(_of_entry(registry.get(identifier)))
        except UnknownNameError:  # a family of this name, without such variants
            continue
        except PluginConflictError as conflict:
            parts.append(f"{identifier}: {kind.word}\n{textwrap.indent(str(conflict), '  ')}")
    if not parts:
        raise _unknown(identifier)
    return "\n\n".join(parts)


def _unknown(identifier: object) -> InseqError:
    """What is near and what to install, over all kinds; in words of the nearest name's kind."""
    host = get_host()
    registries = [host.registry(kind.key) for kind in KINDS]
    for registry in registries:
        if identifier in KNOWN.get(registry.kind.key, {}):
            return registry.unknown(identifier)
    every = sorted({name for registry in registries for name in registry})
    near = closest(str(identifier), every)
    for registry in registries:
        if near is not None and near in registry:
            return registry.unknown(identifier)
    return unknown_name("method, step function, aggregator or other thing", identifier, every)


def _of_entry(entry: Entry[Any]) -> str:
    fixed = "".join(f", with {name} = {value!r}" for name, value in entry.preset.items())
    lines = [f"{entry.name}: {entry.kind.word}{fixed}", *_wrapped(entry.spec.summary, "  ")]
    for label, text in (("Provided by", str(entry.provenance)), *_facts(entry.spec)):
        if text:
            lines += _wrapped(text, " " * (_LABEL + 2), first=f"  {label:<{_LABEL}}")
    return "\n".join([*lines, *_parameters(entry)])


def _facts(spec: AnySpec) -> Iterable[tuple[str, str]]:
    match spec:
        case MethodSpec():
            yield "Paper", spec.paper
            yield "Formula", spec.formula
            yield "Needs", _sorted_words(spec.needs)
            yield "Runs on", _frameworks_for(spec)
            yield "Cost", _cost_of(spec.passes)
            yield "Result", _result_of(spec)
            yield "When", spec.when
        case StepFunctionSpec():
            yield "Paper", spec.paper
            yield "Formula", spec.formula
            yield "Unit", spec.unit
            yield "Range", spec.range
            yield "Needs", _sorted_words(spec.needs)
            yield "Aggregation", ", ".join(f"{k}: {v}" for k, v in sorted(spec.aggregate_map.items()))
            yield "Explained by", "every method" if spec.differentiable else "methods that need no gradients"
            yield "Cost", "one evaluation a step: it mixes rows" if spec.rowwise is False else ""
        case AdapterSpec():
            yield "Can do", _sorted_words(spec.capabilities)
        case AggregationFunctionSpec():
            yield "Result", f"{_yes(spec.signed, 'signed')}, {_yes(spec.additive, 'additive')}"
        case ModelSpec():
            yield "Framework", spec.framework
            yield "Task", spec.task
            yield "Load it with", f'inseq.load_model("{spec.name}")'
        case ViewerSpec():
            yield "Media", spec.media
        case CommandSpec():
            yield "Options", f"inseq {spec.name} --help"
        case ModelConfigSpec():
            yield "Modules", ", ".join(f"{k}: {v}" for k, v in spec.fields.items())
        case _:
            pass


def _cost_of(passes: str) -> str:
    """A formula gets its unit; a phrase has said it."""
    is_phrase = re.search(r"[a-z] [a-z]", passes) is not None
    return passes if is_phrase else f"{passes} model pass{'' if passes == '1' else 'es'}"


def _result_of(spec: MethodSpec) -> str:
    shape = f"one number per {' and '.join(spec.trailing_axes)}" if spec.trailing_axes else "one number"
    steps = [
        f"{f} over {axis}"
        for f, axis in zip(spec.default_aggregation, reversed(spec.trailing_axes), strict=False)
    ]
    steps += ["L1 per step"] if spec.normalize else []
    aggregated = f"; by default {', then '.join(steps)}" if steps else ""
    words = (
        _yes(spec.signed, "signed"),
        _yes(spec.complete, "complete"),
        _yes(spec.additive, "additive"),
        _yes(spec.deterministic, "deterministic"),
    )
    function = "" if spec.uses_function else "; the same for every attributed function"
    return f"{shape} for each input token and step{aggregated}; {', '.join(words)}{function}"


def _frameworks_for(spec: MethodSpec) -> str:
    entries = get_host().adapters.entries()
    return listed(sorted({entry.name for entry in entries if spec.needs <= entry.spec.capabilities}))


def _parameters(entry: Entry[Any]) -> list[str]:
    """The parameters; for what takes none by its contract, nothing."""
    if not isinstance(
        entry.spec, (AdapterSpec, AggregationFunctionSpec, CommandSpec, ModelConfigSpec, ModelSpec)
    ):
        try:
            parameters = [p for p in parameters_of(entry.load()) if p.name not in entry.preset]
        except InseqError as error:
            return _wrapped(f"unknown: {error}", " " * (_LABEL + 2), first=f"  {'Parameters':<{_LABEL}}")
        if not parameters:
            return [f"  {'Parameters':<{_LABEL}}none"]
        lines = ["  Parameters"]
        for parameter in parameters:
            lines.append(f"    {parameter}")
            lines += _wrapped(parameter.doc, " " * 8) if parameter.doc else []
        return lines
    return []


def _sorted_words(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values))) or "nothing"


def _yes(value: bool, word: str) -> str:
    return word if value else f"not {word}"


def _wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        _WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
