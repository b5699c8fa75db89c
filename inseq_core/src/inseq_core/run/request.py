"""The request: one call of ``attribute()``, checked.

Everything that can be wrong with a call is found here, before the model does any work: texts, names, values,
arguments that nobody takes, and methods that ask more of a model than it can give. What comes out is frozen,
is shown to the ``inseq_before_attribute`` hooks, and is all that the rooms after it read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from inseq_core.aggregate.record import warn_of_meaning
from inseq_core.contracts.adapter import EncodedInput, ModelAdapter, ModelProfile, TokenTexts
from inseq_core.contracts.guard import Guard
from inseq_core.contracts.step_function import BoundStepFunction
from inseq_core.data.plain import items_of
from inseq_core.data.texts import InputText, as_inputs, as_texts
from inseq_core.errors import (
    InvalidArgumentError,
    MethodFailedError,
    StepFunctionError,
    UnknownArgumentError,
    invalid,
    listed,
)
from inseq_core.hooks import Entry, aggregation_functions, methods, step_functions
from inseq_core.hooks.specs import MethodSpec, StepFunctionSpec
from inseq_core.run.binding import Taker, argument_dict, made_method, share_out
from inseq_core.run.checks import check_capabilities, check_reductions, check_request
from inseq_core.run.options import Options
from inseq_core.run.positions import check_pieces, check_positions

if TYPE_CHECKING:
    from inseq_core.model import AttributionModel

WHERE = "attribute()"
DEFAULT_FUNCTION = "probability"


@attrs.frozen(kw_only=True, eq=False)
class BoundMethod:
    """A method with its parameters filled in.

    Attributes:
        entry: its spec, and who provides it.
        instance: the method itself.
        arguments: every parameter, defaults included.
    """

    entry: Entry[MethodSpec]
    instance: Any
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its id."""
        return self.entry.spec.name

    @property
    def spec(self) -> MethodSpec:
        """What it declares."""
        return self.entry.spec

    def guard(self, part: str, adapter: ModelAdapter) -> Guard:
        """What names the method, where it or a part of it ("check") fails; memory is the planner's."""
        what = f"The {part} of the method" if part else "The method"
        return Guard(
            MethodFailedError,
            f"{what} {self.name!r} ({self.entry.provenance}) failed on {adapter.profile.name}",
            advice="If the model runs well with other methods, tell the authors of this one.",
            passes=adapter.is_out_of_memory,
        )


@attrs.frozen(kw_only=True, eq=False)
class AttributeRequest:
    """One checked call of ``attribute()``.

    Attributes:
        input_texts: texts, or chats as tuples of messages.
        generated_texts: forced outputs (prefixes of outputs for ``options.generate_from_target_prefix``), or
            None.
        method, attributed, step_functions: bound to their arguments.
        starts, ends: one attributed position a text, None for the default.
        pieces: for each text the piece of its output whose steps are attributed, or None.
        weight_by: the step score that the scores are multiplied by.
        options: the other keywords of the call.
        adapter, attribution_model: the model, from its two sides.
    """

    input_texts: tuple[InputText, ...]
    generated_texts: tuple[str, ...] | None
    method: BoundMethod
    attributed: BoundStepFunction
    step_functions: tuple[BoundStepFunction, ...]
    starts: tuple[int | None, ...]
    ends: tuple[int | None, ...]
    pieces: tuple[str | None, ...] = ()
    weight_by: str | None = None
    options: Options
    adapter: ModelAdapter
    attribution_model: Any = attrs.field(repr=False)

    @property
    def profile(self) -> ModelProfile:
        """Plain facts about the model."""
        return self.adapter.profile

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether the model has a source."""
        return self.adapter.is_encoder_decoder

    @property
    def is_forced(self) -> bool:
        """Whether outputs are given, so that nothing is generated."""
        return self.generated_texts is not None and not self.options.generate_from_target_prefix

    @property
    def is_summed(self) -> bool:
        """Whether one sum over the steps of each text is explained, instead of each step."""
        return self.options.steps != "each"

    def functions(self) -> tuple[BoundStepFunction, ...]:
        """The attributed function and the step scores."""
        return (self.attributed, *self.step_functions)

    def show(self, ids: Sequence[int], shown: TokenTexts | None = None) -> list[str]:
        """The tokens of target ids as results write them.

        Args:
            shown: what the adapter says of the ids, where it was asked already.
        """
        tokens = list((shown or self.adapter.token_texts(ids, "target")).tokens)
        if not self.options.clean_special_chars:
            return tokens
        texts = [self.adapter.decode([i], skip_special_tokens=False).strip() for i in ids]
        # A piece of a character has no text of its own.
        return [
            text if text and "\ufffd" not in text else token
            for text, token in zip(texts, tokens, strict=True)
        ]

    def encode(self, text: InputText) -> EncodedInput:
        """An input in ids, as the options say.

        Raises:
            InvalidArgumentError: nothing is left of it without its special tokens.
        """
        adapter, options = self.adapter, self.options
        if not isinstance(text, str):
            return adapter.encode_chat(text, **options.chat_template_args)
        given = adapter.encode_input(text, truncate=options.truncation)
        if not options.skip_special_tokens:
            return given
        special = adapter.token_texts(given.ids, "source" if adapter.is_encoder_decoder else "target").special
        ids = tuple(i for i, s in zip(given.ids, special, strict=True) if not s)
        if not ids:
            raise InvalidArgumentError(
                f"skip_special_tokens = True leaves no token of the input {text!r}: it has special tokens "
                f"only."
            )
        return attrs.evolve(given, ids=ids, segments=())


def build_request(
    model: AttributionModel,
    input_texts: Any,
    generated_texts: Any,
    *,
    method: str | None,
    attributed_fn: str | Callable[..., Any] | None,
    step_scores: Any,
    options: Options,
    keywords: Mapping[str, Any],
    own: Sequence[str] = (),
) -> AttributeRequest:
    """Check a call, and give every keyword to its owner.

    Args:
        model: whom it was called on.
        options: keywords of the call itself, checked one by one.
        keywords: all others, the three dicts of arguments among them.
        own: names of the call's own keywords, for suggestions.

    Raises:
        InvalidArgumentError, UnknownArgumentError, UnknownNameError, CapabilityError: what was wrong, and
            what to do.
    """
    inputs = as_inputs("input_texts", input_texts)
    forced = _forced_texts(inputs, generated_texts)
    entry, defaults = model.method_entry(method)
    check_capabilities(entry.spec, model.adapter)
    check_reductions(entry)
    dicts = {
        name: argument_dict(name, keywords.get(name))
        for name in ("attribution_args", "attributed_fn_args", "step_scores_args")
    }
    keywords = {name: value for name, value in keywords.items() if name not in dicts}
    factory = entry.load()
    attributed = find_function(attributed_fn if attributed_fn is not None else model.default_attributed_fn_id)
    names = _as_names(step_scores)
    if not (options.weight_by is None or isinstance(options.weight_by, str) or callable(options.weight_by)):
        raise invalid("weight_by", options.weight_by, "the id of a step function, or a function")
    if options.weight_by is not None and options.weight_by not in names:
        names = [*names, *_as_names([options.weight_by])]
    scores = [find_function(name) for name in names]
    _check_names(scores)
    takers = [
        attrs.evolve(
            Taker.of(f"method {entry.name!r}", factory, "attribution_args", dicts["attribution_args"]),
            defaults={**defaults, **entry.preset},
        ),
        Taker.of(
            f"attributed function {attributed.name!r}",
            attributed.function,
            "attributed_fn_args",
            dicts["attributed_fn_args"],
        ),
        *(
            Taker.of(f"step score {f.name!r}", f.function, "step_scores_args", dicts["step_scores_args"])
            for f in scores
        ),
    ]
    if dicts["step_scores_args"] and not scores:
        raise invalid("step_scores_args", dicts["step_scores_args"], "nothing, without step_scores")
    try:
        shares = share_out(WHERE, keywords, takers, own)
    except UnknownArgumentError as error:
        if "Did you mean" in str(error) or "It is an argument of" in str(error):
            raise
        raise UnknownArgumentError(
            f"{error}\n  Arguments of the model's generation go into generation_args={{…}}."
        ) from error
    instance = made_method(entry, shares[0])
    starts, ends = options.attr_pos_start, options.attr_pos_end
    if isinstance(options.steps, tuple):
        if starts is not None or ends is not None:
            raise invalid(
                "steps", options.steps, "'sum', where attr_pos_start and attr_pos_end say over which steps"
            )
        starts, ends = options.steps
    request = AttributeRequest(
        input_texts=inputs,
        generated_texts=forced,
        method=BoundMethod(entry=entry, instance=instance, arguments=_all_arguments(instance, shares[0])),
        attributed=attrs.evolve(attributed, arguments=shares[1]),
        step_functions=tuple(attrs.evolve(f, arguments=s) for f, s in zip(scores, shares[2:], strict=True)),
        starts=check_positions("attr_pos_start", starts, len(inputs)),
        ends=check_positions("attr_pos_end", ends, len(inputs)),
        pieces=check_pieces(
            options.attribute_span, len(inputs), with_positions=starts is not None or ends is not None
        ),
        weight_by=None if options.weight_by is None else find_function(options.weight_by).name,
        options=options,
        adapter=model.adapter,
        attribution_model=model,
    )
    check_request(request)
    is_default = attributed_fn in (None, model.default_attributed_fn_id)
    if not is_default and not entry.spec.uses_function:
        # one that costs no pass has looked at no function
        fitting = [e.name for e in methods().entries() if e.spec.uses_function and e.spec.passes != "0"]
        warn_of_meaning(
            f"{entry.name!r} looks inside the model and is the same for every attributed function:"
            f" {attributed.name!r} changes nothing.\n  Methods that explain a function: {listed(fitting, 30)}."
        )
    return request


def find_function(function: str | Callable[..., Any]) -> BoundStepFunction:
    """A step function by its id, or any callable.

    Raises:
        UnknownNameError: no step function has the id.
        StepFunctionError: its values are merged by an aggregation function that nothing provides.
    """
    if isinstance(function, str):
        entry: Entry[StepFunctionSpec] = step_functions().get(function)
        spec = entry.spec
        for aggregator, way in spec.aggregate_map.items():
            if way not in aggregation_functions():
                raise StepFunctionError(
                    f"The step function {spec.name!r} of {entry.provenance} is merged over {aggregator} by "
                    f"{way!r}: {aggregation_functions().unknown(way)}"
                )
        return BoundStepFunction(
            name=spec.name,
            function=entry.load(),
            aggregate_map=spec.aggregate_map,
            rowwise=spec.rowwise,
            differentiable=spec.differentiable,
            spec=spec,
            origin="" if entry.provenance.is_session else str(entry.provenance),
            keeps_inputs=entry.provenance.is_core,
        )
    if not callable(function):
        raise invalid("step function", function, "the id of a step function, or a function")
    return BoundStepFunction(name=getattr(function, "__name__", type(function).__name__), function=function)


def _forced_texts(inputs: tuple[InputText, ...], generated_texts: Any) -> tuple[str, ...] | None:
    if generated_texts is None:
        return None
    forced = as_texts("generated_texts", generated_texts)
    if len(forced) != len(inputs):
        raise InvalidArgumentError(
            f"generated_texts has {len(forced)} texts for {len(inputs)} input_texts: expected one for each "
            f"input."
        )
    return forced


def _as_names(step_scores: Any) -> list[Any]:
    if step_scores is None:
        return []
    if isinstance(step_scores, str) or callable(step_scores):
        return [step_scores]
    names = items_of(step_scores)
    if names is None:
        raise invalid("step_scores", step_scores, "a list of ids of step functions")
    for i, name in enumerate(names):
        if not isinstance(name, str) and not callable(name):
            raise invalid(f"step_scores[{i}]", name, "the id of a step function, or a function")
    return list(dict.fromkeys(names))


def _check_names(scores: Sequence[BoundStepFunction]) -> None:
    names = [f.name for f in scores]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InvalidArgumentError(
            f"Two step scores are called {twice[0]!r}, so that results could show only one of them.\n"
            "  Give one of the functions another name: inseq.register_step_function(fn, identifier)."
        )


def _all_arguments(instance: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    if attrs.has(type(instance)):
        return {f.alias or f.name: getattr(instance, f.name) for f in attrs.fields(type(instance)) if f.init}
    return dict(given)
