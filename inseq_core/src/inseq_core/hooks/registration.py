"""Registration at run time: the functions behind ``inseq.register_…``, for notebooks and scripts.

What is registered has the rights and the checks of what a plugin gives, and the provenance "registered in
this session".
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from inseq_core.errors import (
    InvalidArgumentError,
    UnknownNameError,
    invalid,
    listed,
    unknown_argument,
    with_article,
)
from inseq_core.hooks.host import get_host
from inseq_core.hooks.registry import Entry, Registry
from inseq_core.hooks.specs import (
    AggregationFunctionSpec,
    AggregatorSpec,
    AnySpec,
    MethodSpec,
    ModelConfigSpec,
    StepFunctionSpec,
)

SpecT = TypeVar("SpecT", bound=AnySpec)

MODEL_CONFIG_FIELDS = ("self_attention_module", "cross_attention_module", "value_vector")
"""What ``register_model_config`` can be told about a model type."""


def register_step_function(
    fn: Callable[..., Any],
    identifier: str,
    aggregate_map: Mapping[str, str] | None = None,
    overwrite: bool = False,
    **fields: Any,
) -> Entry[StepFunctionSpec]:
    """Make a function usable as attributed function and as step score.

    Args:
        fn: ``fn(args, **own) -> (R,)``, or the documented keyword form
            ``fn(attribution_model, forward_output, target_ids, …, **kwargs) -> (R,)``; one value an
            attributed step.
        identifier: its id.
        aggregate_map: aggregator -> aggregation function for its values, such as ``{"spans": "prod"}``.
        overwrite: replace what has this id, for this session.
        fields: other fields of ``StepFunctionSpec`` (``summary``, ``unit``, ``rowwise`` …).

    Raises:
        AlreadyRegisteredError: the id is taken.
        InvalidArgumentError: ``fn`` is not callable, or a field has a wrong value.
        UnknownNameError: ``aggregate_map`` names an aggregator or an aggregation function that nothing provides.
    """
    if callable(fn) and not _takes_anything(fn):
        raise InvalidArgumentError(
            f"The step function {identifier!r} takes no arguments, so it cannot look at the model's output.\n"
            "  Write it as fn(args), or with documented keywords as fn(forward_output, target_ids, **kwargs)."
        )
    if aggregate_map is not None:
        fields["aggregate_map"] = _checked_map(aggregate_map)
    spec = _spec(StepFunctionSpec, "register_step_function()", fn, identifier, fields)
    return get_host().step_functions.register(spec, overwrite=overwrite)


def register_attribution_method(
    method: type | Callable[..., Any] | MethodSpec,
    identifier: str | None = None,
    overwrite: bool = False,
    **fields: Any,
) -> Entry[MethodSpec]:
    """Make a class usable as attribution method.

    Args:
        method: a class with ``attribute(ctx)`` whose fields are the method's parameters, or a whole
            ``MethodSpec``.
        identifier: its id; the name of the class in snake case where it is not given.
        overwrite: replace what has this id, for this session.
        fields: other fields of ``MethodSpec`` (``summary``, ``needs``, ``trailing_axes``,
            ``default_aggregation`` …).

    Raises:
        AlreadyRegisteredError: the id is taken.
        InvalidArgumentError: the class has no ``attribute``, or a field has a wrong value.
        UnknownNameError: ``default_aggregation`` names a function that nothing provides.
    """
    if inspect.isclass(method) and not callable(getattr(method, "attribute", None)):
        raise InvalidArgumentError(
            f"{method.__name__} has no method attribute(ctx), so it is no attribution method.\n"
            "  Give it one that returns ctx.output(...)."
        )
    spec = _spec(MethodSpec, "register_attribution_method()", method, identifier, fields)
    for name in spec.default_aggregation:
        if name not in get_host().aggregation_functions:
            raise UnknownNameError(f"default_aggregation: {get_host().aggregation_functions.unknown(name)}")
    return get_host().methods.register(spec, overwrite=overwrite)


def register_aggregator(
    aggregator: type | Callable[..., Any] | AggregatorSpec,
    identifier: str | None = None,
    overwrite: bool = False,
    **fields: Any,
) -> Entry[AggregatorSpec]:
    """Make a class with ``aggregate(attribution)``, or a function of the attribution, usable as aggregator.

    Args:
        aggregator: the class, whose fields are its parameters; a function ``fn(attribution, **own)``, whose
            other arguments are; or a whole ``AggregatorSpec``.
        identifier: its id; the name of the class or function in snake case where it is not given.
        overwrite: replace what has this id, for this session.
        fields: other fields of ``AggregatorSpec``.

    Raises:
        AlreadyRegisteredError: the id is taken.
        InvalidArgumentError: the class has no ``aggregate``, or a field has a wrong value.
    """
    if inspect.isclass(aggregator) and not callable(getattr(aggregator, "aggregate", None)):
        raise InvalidArgumentError(
            f"{aggregator.__name__} has no method aggregate(attribution), so it is no aggregator.\n"
            "  Give it one that returns a new attribution."
        )
    if inspect.isfunction(aggregator) or inspect.ismethod(aggregator):
        aggregator = _aggregator_of(aggregator)
    spec = _spec(AggregatorSpec, "register_aggregator()", aggregator, identifier, fields)
    return get_host().aggregators.register(spec, overwrite=overwrite)


def register_aggregation_function(
    fn: Callable[..., Any] | AggregationFunctionSpec,
    identifier: str | None = None,
    overwrite: bool = False,
    **fields: Any,
) -> Entry[AggregationFunctionSpec]:
    """Make ``fn(array, axis)``, which reduces that axis and ignores NaN, usable as aggregation function.

    Args:
        fn: the function, or a whole ``AggregationFunctionSpec``.
        identifier: its id; the name of the function where it is not given.
        overwrite: replace what has this id, for this session.
        fields: other fields of ``AggregationFunctionSpec`` (``signed``, ``additive`` …).

    Raises:
        AlreadyRegisteredError: the id is taken.
        InvalidArgumentError: ``fn`` is not callable, or a field has a wrong value.
    """
    spec = _spec(AggregationFunctionSpec, "register_aggregation_function()", fn, identifier, fields)
    return get_host().aggregation_functions.register(spec, overwrite=overwrite)


def register_model_config(
    model_type: str, config: Mapping[str, Any], overwrite: bool = False, allow_partial: bool = False
) -> Entry[ModelConfigSpec]:
    """Tell internals methods the names of a model type's modules, where they cannot find them by themselves.

    Args:
        model_type: the model type (for transformers, ``config.model_type``).
        config: ``self_attention_module``, ``cross_attention_module`` and ``value_vector``; None for what a
            model has not.
        overwrite: replace what is registered for this type.
        allow_partial: accept a config without some of the fields; they become None.

    Raises:
        AlreadyRegisteredError: the type is registered (a ``ValueError``).
        InvalidArgumentError: a field is missing or unknown (a ``ValueError``).
    """
    if not isinstance(config, Mapping):
        raise invalid("config", config, f"a dict with the keys {listed(MODEL_CONFIG_FIELDS)}")
    for field, value in config.items():
        if field not in MODEL_CONFIG_FIELDS:
            raise unknown_argument(str(field), "register_model_config()", {"config": MODEL_CONFIG_FIELDS})
        if value is not None and not isinstance(value, str):
            raise invalid(f"config[{field!r}]", value, "the name of a module or variable, or None")
    missing = [field for field in MODEL_CONFIG_FIELDS if field not in config]
    if missing and not allow_partial:
        raise InvalidArgumentError(
            f"The config of {model_type!r} lacks {listed(missing)}.\n"
            "  Add the fields (None for what the model has not), or pass allow_partial=True."
        )
    fields = {field: config.get(field) for field in MODEL_CONFIG_FIELDS}
    spec = ModelConfigSpec(name=model_type, fields=fields)
    return get_host().model_configs.register(spec, overwrite=overwrite)


def unregister(kind: str, identifier: str) -> None:
    """Take back what was registered in this session.

    Args:
        kind: ``"methods"``, ``"step_functions"``, ``"aggregators"``, ``"aggregation_functions"``,
            ``"model_configs"`` …
        identifier: its id.
    """
    registry: Registry[Any] = get_host().registry(kind)
    registry.unregister(identifier)


@attrs.frozen
class FunctionAggregator:
    """An aggregator that is a function.

    Attributes:
        function: ``fn(attribution, **own)`` that returns a new attribution.
        own: its other arguments.
    """

    function: Callable[..., Any]
    own: Mapping[str, Any] = attrs.field(factory=dict)

    def aggregate(self, attribution: Any) -> Any:
        """What the function makes of it."""
        return self.function(attribution, **self.own)


def _aggregator_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an attribution, as what makes aggregators of its other arguments; one that needs no argument makes
    them itself.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or not _is_needed(parameters[0]):
        return function

    @functools.wraps(function)
    def make(**own: Any) -> FunctionAggregator:
        return FunctionAggregator(function, own)

    own = [
        p.replace(kind=p.KEYWORD_ONLY)
        for p in parameters[1:]
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    make.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return make


def _is_needed(first: inspect.Parameter) -> bool:
    return first.kind is not first.KEYWORD_ONLY and first.default is first.empty


def _spec(spec: type[SpecT], where: str, given: Any, identifier: str | None, fields: dict[str, Any]) -> SpecT:
    """A spec made of a live object and the fields that a user gave beside it."""
    if isinstance(given, spec):
        changes = {**fields, **({"name": identifier} if identifier is not None else {})}
        return attrs.evolve(given, **changes) if changes else given
    if not callable(given):
        raise invalid(
            f"{where[:-2]}'s first argument", given, f"something callable, or {with_article(spec.__name__)}"
        )
    accepted = [field.name for field in attrs.fields(spec) if field.name not in ("name", spec.LAZY)]
    for field in fields:
        if field not in accepted:
            raise unknown_argument(field, where, {spec.__name__: accepted})
    name = (
        identifier
        if identifier is not None
        else _snake_case(getattr(given, "__name__", type(given).__name__))
    )
    fields.setdefault("summary", _first_line(given) or f"{name}, registered in this session.")
    return spec(**{"name": name, str(spec.LAZY): given, **fields})


def _checked_map(aggregate_map: Any) -> dict[str, str]:
    """Both sides of it exist: a misspelt one would only be noticed at an ``aggregate`` much later."""
    if not isinstance(aggregate_map, Mapping):
        raise invalid("aggregate_map", aggregate_map, "a dict: aggregator -> aggregation function")
    host = get_host()
    for aggregator, function in aggregate_map.items():
        for registry, name in ((host.aggregators, aggregator), (host.aggregation_functions, function)):
            if not isinstance(name, str):
                raise invalid("aggregate_map", aggregate_map, "names: aggregator -> aggregation function")
            if name not in registry:
                raise UnknownNameError(f"aggregate_map: {registry.unknown(name)}")
    return dict(aggregate_map)


def _takes_anything(fn: Callable[..., Any]) -> bool:
    try:
        return bool(inspect.signature(fn).parameters)
    except (TypeError, ValueError):  # functions written in C may have no signature
        return True


def _first_line(given: Any) -> str:
    own = given.__dict__.get("__doc__") if inspect.isclass(given) else getattr(given, "__doc__", None)
    lines = inspect.cleandoc(own).splitlines() if isinstance(own, str) else []
    return lines[0].strip() if lines else ""


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
