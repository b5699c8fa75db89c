"""Spec records: what a hook returns.

A record says what a thing is called, what it is for and where it lives, without importing it: ``factory`` and
its like are *lazy paths* ``"package.module:object"`` (a live object is accepted too, for notebooks and
tests).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

LazyObject = str | Callable[..., Any]
"""``"package.module:object"``, imported on first use, or the object itself."""


class Capability(enum.Enum):
    """What a model adapter can do, and what a method needs of it."""

    SCORES = "scores"
    GENERATE = "generate"
    GRADIENTS = "gradients"
    ATTENTIONS = "attentions"
    HIDDEN_STATES = "hidden_states"
    INTERVENTIONS = "interventions"

    def __str__(self) -> str:
        return self.value


Need = Capability


def _identifier(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip() or any(c.isspace() for c in value):
        raise ValueError(f"{type(instance).__name__}.name must be a word without spaces, got {value!r}.")


def _sentence(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{type(instance).__name__} {instance.name!r} needs a one-line summary, got {value!r}."
        )


def _lazy(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if callable(value):
        return
    module, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not (module and name and all(p.isidentifier() for p in (*module.split("."), *name.split(".")))):
        raise ValueError(
            f"{type(instance).__name__} {instance.name!r}: {attribute.name} must be 'package.module:object' "
            f"or a callable, got {value!r}."
        )


@attrs.frozen(kw_only=True)
class MethodSpec:
    """An attribution method.

    Attributes:
        name: its id.
        factory: lazy path of a frozen attrs class whose fields are the method's parameters.
        summary: one line.
        paper: address or citation; "" where there is none.
        formula: the definition, in plain text or TeX.
        needs: capabilities of the adapter it runs on.
        trailing_axes: names of the axes after (position, step) in its raw result.
        default_aggregation: aggregation functions applied one after the other to the trailing axes, last axis
            first.
        normalize: whether the default aggregation also normalises each step (L1, jointly over source and
            target).
        signed: scores below zero mean something.
        complete: scores of a step sum to a difference of the attributed function.
        additive: scores of tokens may be summed into the score of a span.
        deterministic: the same call gives the same numbers without a seed.
        passes: cost in model passes, as a short formula in its parameters ("n_steps").
        per_text: works on one text at a time (removal methods: the batch is filled with versions of the
            text).
        all_steps: wants every step of a text in one context, instead of chunks of steps on their prefixes.
        when: when to use it, and when not.
    """

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    paper: str = ""
    formula: str = ""
    needs: frozenset[Capability] = attrs.field(
        default=frozenset({Capability.SCORES}), converter=frozenset[Capability]
    )
    trailing_axes: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    default_aggregation: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    normalize: bool = True
    signed: bool = True
    complete: bool = False
    additive: bool = False
    deterministic: bool = True
    passes: str = "1"
    per_text: bool = False
    all_steps: bool = False
    when: str = ""


@attrs.frozen(kw_only=True)
class AdapterSpec:
    """A framework: how a kind of model is loaded and run.

    Attributes:
        factory: lazy path of ``load(model, **options) -> ModelAdapter``.
        capabilities: what its models can do at best.
    """

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    capabilities: frozenset[Capability] = attrs.field(
        default=frozenset({Capability.SCORES, Capability.GENERATE}), converter=frozenset[Capability]
    )


@attrs.frozen(kw_only=True)
class ModelSpec:
    """A model that a plugin carries or knows: an id that ``load_model`` takes without a hub.

    Attributes:
        location: lazy path of a function without arguments that returns what the framework loads (a folder,
            say).
        framework: name of the adapter that loads it.
        task: what it does, in a few words.
    """

    LAZY: ClassVar[str | None] = "location"

    name: str = attrs.field(validator=_identifier)
    location: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    framework: str
    task: str = ""


@attrs.frozen(kw_only=True)
class StepFunctionSpec:
    """A step function: the model's output at each step to one number a step.

    Attributes:
        function: lazy path of ``fn(args, **own) -> (R,)``, or of the documented keyword form.
        aggregate_map: aggregator name -> aggregation function for its values ({"spans": "prod"}).
        rowwise: the value of a row depends on that row alone; False makes the engine run it row by row.
        differentiable: gradient methods can explain it.
        needs: capabilities beyond scores.
        check: lazy path of ``check(arguments: Mapping, request) -> None`` that refuses bad arguments before
            any model work.
        unit, range, formula: for ``explain``.
    """

    LAZY: ClassVar[str | None] = "function"

    name: str = attrs.field(validator=_identifier)
    function: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    paper: str = ""
    formula: str = ""
    unit: str = ""
    range: str = ""
    aggregate_map: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    rowwise: bool = True
    differentiable: bool = True
    needs: frozenset[Capability] = attrs.field(
        default=frozenset({Capability.SCORES}), converter=frozenset[Capability]
    )
    check: LazyObject | None = attrs.field(default=None, validator=attrs.validators.optional(_lazy))


@attrs.frozen(kw_only=True)
class AggregatorSpec:
    """An aggregator: one attribution to a smaller or differently cut one. ``factory`` takes its parameters."""

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)


@attrs.frozen(kw_only=True)
class AggregationFunctionSpec:
    """An aggregation function: ``fn(array, axis) -> array`` without that axis, NaN ignored.

    Attributes:
        signed: the result of signed scores is still signed.
        additive: the result of additive scores is still additive.
    """

    LAZY: ClassVar[str | None] = "function"

    name: str = attrs.field(validator=_identifier)
    function: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    signed: bool = True
    additive: bool = False


@attrs.frozen(kw_only=True)
class ViewerSpec:
    """A view: an attribution to something one looks at. ``media`` is "terminal", "html", "image" …"""

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    media: str = "terminal"


@attrs.frozen(kw_only=True)
class CommandSpec:
    """A sub-command of the ``inseq`` program: ``command`` is the lazy path of a click command."""

    LAZY: ClassVar[str | None] = "command"

    name: str = attrs.field(validator=_identifier)
    command: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)


@attrs.frozen(kw_only=True)
class ModelConfigSpec:
    """Names of the modules of a model type that an internals method needs (``register_model_config``)."""

    LAZY: ClassVar[str | None] = None

    name: str = attrs.field(validator=_identifier)
    fields: Mapping[str, Any] = attrs.field(factory=dict, eq=False)
    summary: str = "Module names of a model type."


AnySpec = (
    MethodSpec
    | AdapterSpec
    | ModelSpec
    | StepFunctionSpec
    | AggregatorSpec
    | AggregationFunctionSpec
    | ViewerSpec
    | CommandSpec
    | ModelConfigSpec
)
