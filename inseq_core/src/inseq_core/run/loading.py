"""Which framework loads a model, and which arguments are the framework's and which the method's.

Names and arguments are checked before anything is loaded.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

import attrs

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.guard import Guard
from inseq_core.errors import (
    CapabilityError,
    MissingPackageError,
    ModelLoadError,
    PluginError,
    closest,
    invalid,
    listed,
    with_article,
)
from inseq_core.hooks import Entry, adapters, get_host, methods, models
from inseq_core.hooks.known import KNOWN
from inseq_core.hooks.specs import AdapterSpec, MethodSpec, ModelSpec
from inseq_core.run.binding import Taker, made_method, share_out

WHERE = "load_model()"
OWN = ("model", "attribution_method", "framework")


def load_adapter(
    model: Any, method: str | None, framework: str | None, keywords: Mapping[str, Any]
) -> tuple[ModelAdapter, dict[str, Any]]:
    """A loaded model, and the arguments that are the method's; see ``load_model``."""
    location, entry = _find_framework(model, framework)
    load = entry.load()
    loader = Taker.of(f"framework {entry.name!r}", load, "", {})
    first = next(iter(inspect.signature(load).parameters), None)  # the model itself
    if first is None:
        raise PluginError(
            f"The framework {entry.name!r} ({entry.provenance}) takes no arguments, so it cannot be told which "
            "model to load.\n  Its authors have to write it as load(model, **options)."
        )
    loader = attrs.evolve(loader, parameters=tuple(p for p in loader.parameters if p.name != first))
    if method is None:
        (options,) = share_out(WHERE, keywords, [loader], OWN)
        return _loaded(entry, model, location, options), {}
    chosen = _fitting_method(method, entry)
    options, arguments = share_out(WHERE, keywords, [loader, optional_taker(chosen)], OWN)
    taker = Taker.of(f"method {chosen.name!r}", chosen.load(), "", {})
    if all(p.name in arguments for p in taker.parameters if p.is_required):
        made_method(chosen, arguments)
    return _loaded(entry, model, location, options), arguments


def optional_taker(method: Entry[MethodSpec]) -> Taker:
    """A method that takes arguments now, and those that are missing with each call."""
    taker = Taker.of(f"method {method.name!r}", method.load(), "", {})
    return attrs.evolve(taker, parameters=tuple(attrs.evolve(p, default=None) for p in taker.parameters))


def _fitting_method(method: Any, framework: Entry[AdapterSpec]) -> Entry[MethodSpec]:
    if not isinstance(method, str):
        raise invalid("attribution_method", method, "the id of an attribution method")
    entry = methods().get(method)
    missing = sorted(map(str, entry.spec.needs - framework.spec.capabilities))
    if missing:
        fitting = [e.name for e in methods().entries() if e.spec.needs <= framework.spec.capabilities]
        raise CapabilityError(
            f"{method!r} needs {listed(missing)}, which models of {framework.name!r} do not give.\n"
            f"  Methods that fit: {listed(fitting, 30) or 'none is installed'}."
        )
    return entry


def _find_framework(model: Any, framework: str | None) -> tuple[Any, Entry[AdapterSpec]]:
    """What the framework is to load, and the framework."""
    if isinstance(model, str) and not model.strip():
        raise invalid("model", model, "an id, a folder or a loaded model")
    location = model
    if isinstance(model, str) and model in models():
        carried = models().get(model)
        framework = framework or carried.spec.framework
        location = _location(carried)
    if framework is not None:
        return location, adapters().get(framework)
    names = adapters().names()
    if not names:
        packages = sorted(set(KNOWN["adapters"].values()))
        raise MissingPackageError(
            f"No framework is installed that could load {model!r}.\n  pip install {packages[0]}"
            f" (all: {listed(packages)})"
        )
    chosen = get_host().choose_framework(model) or (names[0] if len(names) == 1 else None)
    if chosen is None:
        raise ModelLoadError(
            f"No installed framework knows {_shown(model)}: {listed(names)}.\n"
            "  Name the one to use: load_model(…, framework=…)."
        )
    return location, adapters().get(chosen)


def _location(carried: Entry[ModelSpec]) -> Any:
    """What the framework loads.

    Raises:
        PluginError: the plugin that carries the model failed to say it.
    """
    whose = f"The model {carried.name!r} of {carried.provenance}"
    advice = "Reinstall the package that provides it, or tell its authors."
    with Guard(PluginError, f"{whose} does not say where it is", advice=advice):
        return carried.load()()


def _loaded(
    framework: Entry[AdapterSpec], model: Any, location: Any, options: Mapping[str, Any]
) -> ModelAdapter:
    """The adapter; a model that is not found may be a slip of a carried one's id.

    Raises:
        ModelLoadError: the framework failed, also with an error of its own.
        PluginError: what it gave is no adapter.
    """
    whose = f"The framework {framework.name!r} ({framework.provenance})"
    try:
        with Guard(ModelLoadError, f"{whose} failed to load {_shown(model)}"):
            adapter = framework.load()(location, **options)
    except ModelLoadError as error:
        guess = closest(model, models().names()) if isinstance(model, str) else None
        if guess is None or guess == model:
            raise
        raise ModelLoadError(f"{error}\n  Did you mean {guess!r}, which is installed?") from error
    if not isinstance(adapter, ModelAdapter):
        raise PluginError(
            f"{whose} loaded {_shown(model)} as {type(adapter).__name__}, which is no ModelAdapter.\n"
            "  Tell its authors."
        )
    return adapter


_PLAIN = (int, float, bytes, os.PathLike, type(None))
"""Types of values that somebody may have given in the place of a model, and that print in a word."""


def _shown(model: Any) -> str:
    """An id or a folder as it is, a plain value with its type, of another object its class."""
    if isinstance(model, str):
        return repr(model)
    kind = type(model).__name__
    return f"{model!r} ({kind})" if isinstance(model, _PLAIN) else with_article(kind)
