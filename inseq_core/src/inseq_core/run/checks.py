"""What one part of a call asks of another: method of model, function of method, options of both.

Each argument by itself is checked where it is read; here is what can only be seen with everything together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.removal import RemovalWay
from inseq_core.contracts.step_function import BoundStepFunction
from inseq_core.errors import CapabilityError, InvalidArgumentError, PluginError, invalid, listed
from inseq_core.hooks import Entry, aggregation_functions, methods, resolve, step_functions
from inseq_core.hooks.specs import Capability, MethodSpec
from inseq_core.run.features import check_baseline, check_spans

if TYPE_CHECKING:
    from inseq_core.run.request import AttributeRequest


def check_request(request: AttributeRequest) -> None:
    """What can only be seen with everything together; then the method's and the functions' own checks."""
    options, adapter, spec = request.options, request.adapter, request.method.spec
    if request.generated_texts is None or options.generate_from_target_prefix:
        if options.generate_from_target_prefix:
            _check_prefix(request)
        if Capability.GENERATE not in adapter.capabilities:
            raise CapabilityError(
                f"{request.profile.name} ({request.profile.framework}) cannot generate.\n"
                "  Give the outputs to explain as generated_texts."
            )
    elif options.generation_args:
        raise invalid(
            "generation_args",
            options.generation_args,
            "nothing: generated_texts are given, so nothing is generated",
        )
    if options.skip_special_tokens and any(not isinstance(text, str) for text in request.input_texts):
        raise invalid(
            "skip_special_tokens", True, "False for chat messages: the template is made of special tokens"
        )
    if options.chat_template_args and all(isinstance(text, str) for text in request.input_texts):
        raise invalid("chat_template_args", options.chat_template_args, "nothing, without chat messages")
    _check_removal(request)
    if request.is_summed and not spec.sums_steps:
        fitting = [
            e.name for e in methods().entries() if e.spec.sums_steps and e.spec.needs <= adapter.capabilities
        ]
        raise CapabilityError(
            f"steps = {options.steps!r}: {spec.name!r} looks at the position of each step, a sum of steps "
            f"has none.\n"
            f"  Methods that explain a sum: {listed(fitting, 30) or 'none is installed'}."
        )
    for function in request.functions():
        _check_function(function, request)
    if Capability.GRADIENTS in spec.needs and not request.attributed.differentiable:
        fitting = [e.name for e in step_functions().entries() if e.spec.differentiable]
        raise CapabilityError(
            f"{spec.name!r} needs the derivative of {request.attributed.name!r}, which has none.\n"
            f"  Use a differentiable attributed function ({listed(fitting, 20)}), or a method that removes "
            f"inputs."
        )
    with request.method.guard("check", request.adapter):
        check = getattr(request.method.instance, "check", None)
        if callable(check):
            check(request)


def check_capabilities(spec: MethodSpec, adapter: ModelAdapter) -> None:
    """Refuse a method that asks more of a model than it gives.

    Raises:
        CapabilityError: names what is missing and the methods that would fit.
    """
    missing = sorted(map(str, spec.needs - adapter.capabilities))
    if missing:
        fitting = [e.name for e in methods().entries() if e.spec.needs <= adapter.capabilities]
        raise CapabilityError(
            f"{spec.name!r} needs {listed(missing)}, which {adapter.profile.name}"
            f" ({adapter.profile.framework}) does not give.\n"
            f"  Methods that fit: {listed(fitting, 30) or 'none is installed'}."
        )


def check_reductions(entry: Entry[MethodSpec]) -> None:
    """What the method's trailing axes are reduced by exists: found out before hours of work, not after them."""
    for name in entry.spec.default_aggregation:
        if name not in aggregation_functions():
            raise PluginError(
                f"The method {entry.name!r} ({entry.provenance}) is aggregated by {name!r}: "
                f"{aggregation_functions().unknown(name)}"
            )


def _check_prefix(request: AttributeRequest) -> None:
    if request.generated_texts is None:
        raise InvalidArgumentError(
            "generate_from_target_prefix = True needs generated_texts: the beginnings that generation "
            "continues."
        )
    if not request.is_encoder_decoder:
        raise InvalidArgumentError(
            "generate_from_target_prefix = True is for encoder–decoder models.\n"
            "  For a decoder-only model, add the prefix to the input text."
        )


def _check_removal(request: AttributeRequest) -> None:
    options, spec = request.options, request.method.spec
    for name in ("features", "removal"):
        if getattr(options, name) is not None and not spec.per_text:
            fitting = [e.name for e in methods().entries() if e.spec.per_text]
            raise InvalidArgumentError(
                f"{name} is for methods that remove features; {spec.name!r} scores every token.\n"
                f"  Methods that take it: {listed(fitting, 20) or 'none is installed'}."
            )
    way = options.removal
    if way is not None and way.way not in request.adapter.removals:
        raise CapabilityError(
            f"removal {way.way!r} is not possible with {request.profile.name} "
            f"({request.profile.framework}).\n"
            f"  Possible: {listed(sorted(request.adapter.removals))}."
        )
    if spec.per_text and (way or RemovalWay()).needs_token:
        for side in ("source", "target") if request.is_encoder_decoder else ("target",):
            check_baseline(way or RemovalWay(), request.adapter, side)
    check_spans(options.features, request.input_texts)


def _check_function(function: BoundStepFunction, request: AttributeRequest) -> None:
    if function.spec is None:
        return
    missing = sorted(map(str, function.spec.needs - request.adapter.capabilities))
    if missing:
        raise CapabilityError(
            f"The step function {function.name!r} needs {listed(missing)}, which {request.profile.name}"
            f" ({request.profile.framework}) does not give."
        )
    if function.spec.check is not None:
        with function.guard("check", request.adapter):
            check = resolve(function.spec.check, f"check of {function.name!r}")
            check(function.arguments, request, function is request.attributed)
