"""Spec records: what a hook returns.

A record says what a thing is called, what it is for and where it lives, without importing it: ``factory`` and
its like are *lazy paths* ``"package.module:object"`` (a live object is accepted too, for notebooks and
tests).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import attrs

from inseq_core.contracts.guard import inert
from inseq_core.errors import InvalidArgumentError, invalid

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


_IDENTIFIER = re.compile(r"\w[\w.+@/-]*")


def _refuse(instance: Any, field: str, value: object, expected: str) -> InvalidArgumentError:
    name = getattr(instance, "name", None)
    owner = f"{type(instance).__name__} {name!r}" if isinstance(name, str) else type(instance).__name__
    return invalid(f"{owner}: {field}", value, expected)


def _identifier(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise _refuse(instance, attribute.name, value, "one word of letters, digits and _ - . + @ /")


def _sentence(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip() or "\n" in value.strip() or inert(value) != value:
        raise _refuse(instance, attribute.name, value, "a summary of one line, without control characters")


def _lazy(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if callable(value):
        return
    module, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise _refuse(instance, attribute.name, value, "'package.module:object' or a callable")


def _text(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or inert(value) != value:
        raise _refuse(instance, attribute.name, value, "text without control characters")


def _flag(instance: Any, attribute: attrs.Attribute[bool], value: bool) -> None:
    if not isinstance(value, bool):
        raise _refuse(instance, attribute.name, value, "True or False")


def _words(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(word, str) and word for word in value):
        raise _refuse(instance, attribute.name, value, "a tuple of names")


def _capabilities(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, frozenset) or not all(isinstance(one, Capability) for one in value):
        shown = set(value) if isinstance(value, frozenset) else value
        raise _refuse(instance, attribute.name, shown, f"a set of {', '.join(map(str, Capability))}")


def _names_to_names(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    words = [*value, *value.values()] if isinstance(value, Mapping) else [None]
    if not all(isinstance(word, str) for word in words):
        raise _refuse(instance, attribute.name, value, "a dict of names to names")


def _arguments(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _refuse(instance, attribute.name, value, "a dict of arguments by name")


def _plain(value: Any) -> Any:
    """Text as Python's own ``str``: a class of somebody else's may compare, or hash, as it likes."""
    return str.__str__(value) if isinstance(value, str) else value


def _plain_dict(value: Any) -> Any:
    return {_plain(k): _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _plain_texts(spec: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Every field without a converter of its own keeps texts as plain ones."""
    return [field if field.converter is not None else field.evolve(converter=_plain) for field in fields]


def _trial() -> Any:
    """Arguments of a quick trial run."""
    return attrs.field(factory=dict, eq=False, validator=_arguments)


def _tuple(value: Any) -> Any:
    """A tuple, but of a lone word (whose letters are no names) and of what cannot be walked through."""
    is_several = isinstance(value, Iterable) and not isinstance(value, str)
    return tuple(map(_plain, value)) if is_several else _plain(value)


def _set(value: Any) -> Any:
    """A frozen set of capabilities, which may be given by their words; what is none stays, to be refused."""
    if isinstance(value, (Capability, str)):
        value = [value]
    words = {str(one): one for one in Capability}
    try:
        return frozenset(words.get(one, one) if isinstance(one, str) else one for one in value)
    except TypeError:  # it cannot be walked through, or something in it has no hash
        return value


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
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
        variants: name of the parameter that takes what follows a colon in the name that a user gives
            ("captum:DeepLift" is captum with algorithm="DeepLift"); "" for methods without variants.
        all_steps: wants every step of a text in one context, instead of chunks of steps on their prefixes.
        sums_steps: can explain a sum of steps; False for methods that look at the position of each step.
        uses_function: its scores depend on the attributed function; False for methods that only look inside.
        one_sided: scores the side that it looks at alone (that of a module, say), whichever is attributed.
        trial: arguments of a quick trial run, for the conformance kit and examples: where a parameter has no
            default, or the default takes long.
        when: when to use it, and when not.
    """

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    paper: str = attrs.field(default="", validator=_text)
    formula: str = attrs.field(default="", validator=_text)
    needs: frozenset[Capability] = attrs.field(
        default=frozenset({Capability.SCORES}), converter=_set, validator=_capabilities
    )
    trailing_axes: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_words)
    default_aggregation: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_words)
    normalize: bool = attrs.field(default=True, validator=_flag)
    signed: bool = attrs.field(default=True, validator=_flag)
    complete: bool = attrs.field(default=False, validator=_flag)
    additive: bool = attrs.field(default=False, validator=_flag)
    deterministic: bool = attrs.field(default=True, validator=_flag)
    passes: str = attrs.field(default="1", validator=_text)
    per_text: bool = attrs.field(default=False, validator=_flag)
    all_steps: bool = attrs.field(default=False, validator=_flag)
    sums_steps: bool = attrs.field(default=True, validator=_flag)
    uses_function: bool = attrs.field(default=True, validator=_flag)
    one_sided: bool = attrs.field(default=False, validator=_flag)
    trial: Mapping[str, Any] = _trial()
    variants: str = attrs.field(default="", validator=_text)
    when: str = attrs.field(default="", validator=_text)


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
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
        default=frozenset({Capability.SCORES, Capability.GENERATE}),
        converter=_set,
        validator=_capabilities,
    )


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
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
    framework: str = attrs.field(validator=_identifier)
    task: str = attrs.field(default="", validator=_text)


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
class StepFunctionSpec:
    """A step function: the model's output at each step to one number a step.

    Attributes:
        function: lazy path of ``fn(args, **own) -> (R,)``, or of the documented keyword form.
        aggregate_map: aggregator name -> aggregation function for its values ({"spans": "prod"}).
        rowwise: True where the value of a row depends on that row alone; False makes the engine run the
            function row by row. None: not said, the engine finds out.
        differentiable: gradient methods can explain it.
        needs: capabilities beyond scores.
        check: lazy path of ``check(arguments, request, is_attributed_fn) -> None`` that refuses bad arguments
            before any model work.
        prepare: lazy path of ``prepare(call, arguments, is_attributed_fn) -> Prepared``: work that is done
            once a call, when the texts are in ids and before the first evaluation.
        compares_distributions: a contrast is compared as a whole distribution, not by its token, so that
            there is nothing to compare on the text's own input.
        unit, range, formula: for ``explain``.
        trial: arguments of a quick trial run on two texts, where a parameter has no default; a list has one
            value for each text.
    """

    LAZY: ClassVar[str | None] = "function"

    name: str = attrs.field(validator=_identifier)
    function: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    paper: str = attrs.field(default="", validator=_text)
    formula: str = attrs.field(default="", validator=_text)
    unit: str = attrs.field(default="", validator=_text)
    range: str = attrs.field(default="", validator=_text)
    aggregate_map: Mapping[str, str] = attrs.field(
        factory=dict, eq=False, converter=_plain_dict, validator=_names_to_names
    )
    rowwise: bool | None = attrs.field(default=None, validator=attrs.validators.optional(_flag))
    differentiable: bool = attrs.field(default=True, validator=_flag)
    compares_distributions: bool = attrs.field(default=False, validator=_flag)
    needs: frozenset[Capability] = attrs.field(
        default=frozenset({Capability.SCORES}), converter=_set, validator=_capabilities
    )
    check: LazyObject | None = attrs.field(default=None, validator=attrs.validators.optional(_lazy))
    prepare: LazyObject | None = attrs.field(default=None, validator=attrs.validators.optional(_lazy))
    trial: Mapping[str, Any] = _trial()


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
class AggregatorSpec:
    """An aggregator: one attribution to a smaller or differently cut one. ``factory`` takes parameters.

    Attributes:
        trial: arguments of a quick trial run, where a parameter has no default.
    """

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    trial: Mapping[str, Any] = _trial()


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
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
    signed: bool = attrs.field(default=True, validator=_flag)
    additive: bool = attrs.field(default=False, validator=_flag)


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
class ViewerSpec:
    """A view: an attribution to something one looks at. ``media`` is "terminal", "html", "image" …"""

    LAZY: ClassVar[str | None] = "factory"

    name: str = attrs.field(validator=_identifier)
    factory: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)
    media: str = attrs.field(default="terminal", validator=_identifier)


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
class CommandSpec:
    """A sub-command of the ``inseq`` program: ``command`` is the lazy path of a click command."""

    LAZY: ClassVar[str | None] = "command"

    name: str = attrs.field(validator=_identifier)
    command: LazyObject = attrs.field(validator=_lazy)
    summary: str = attrs.field(validator=_sentence)


@attrs.frozen(kw_only=True, field_transformer=_plain_texts)
class ModelConfigSpec:
    """Names of the modules of a model type that an internals method needs (``register_model_config``)."""

    LAZY: ClassVar[str | None] = None

    name: str = attrs.field(validator=_identifier)
    fields: Mapping[str, Any] = attrs.field(factory=dict, eq=False)
    summary: str = attrs.field(default="Module names of a model type.", validator=_sentence)


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
