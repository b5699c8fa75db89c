"""One call of ``attribute_context``, checked before any model work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from inseq_core.contracts.step_function import BoundStepFunction, own_parameters
from inseq_core.errors import InvalidArgumentError, invalid, listed, unknown_name
from inseq_core.hooks import step_functions
from inseq_core.pecore.templates import CONTEXT, CURRENT, Template
from inseq_core.run.request import find_function

STRATEGIES = ("manual", "auto", "pre")
CONTRAST_ARGUMENTS = ("contrast_sources", "contrast_targets", "contrast_targets_alignments")
"""Arguments of contrastive functions that the procedure itself fills in."""
FORCE_INPUTS = "contrast_force_inputs"


def is_contrastive(function: BoundStepFunction) -> bool:
    """Whether a step function compares with another text: the signature decides, also of a user's own."""
    return "contrast_targets" in own_parameters(function.function)


@attrs.frozen(kw_only=True, eq=False)
class ContextRequest:
    """What was asked for; see ``attribute_context``."""

    input_current_text: str
    input_context_text: str | None
    input_template: Template
    output_current_text: str | None
    output_context_text: str | None
    output_template: Template
    contextless_input_current_text: str
    contextless_output_current_text: Template
    attributed: BoundStepFunction
    metric: BoundStepFunction
    handle_output_context_strategy: str
    contextless_output_next_tokens: tuple[str, ...]
    prompt_user_for_contextless_output_next_tokens: bool
    special_tokens_to_keep: tuple[str, ...]
    decoder_input_output_separator: str
    context_sensitivity_std_threshold: float | None
    context_sensitivity_topk: int | None
    attribution_std_threshold: float | None
    attribution_topk: int | None
    attribution_selectors: tuple[int, ...]
    attribution_aggregators: tuple[str, ...]
    normalize_attributions: bool
    rescale_attributions: bool
    generation_kwargs: dict[str, Any]
    attribution_kwargs: dict[str, Any]
    show_intermediate_outputs: bool
    add_output_info: bool

    @property
    def contextless_input(self) -> str:
        """The input without context."""
        return self.contextless_input_current_text.replace(CURRENT, self.input_current_text)

    def as_plain(self) -> dict[str, Any]:
        """The arguments as they were given, for the result's info."""
        values = {f.name: getattr(self, f.name) for f in attrs.fields(type(self))}
        metric, attributed = values.pop("metric"), values.pop("attributed")
        return {
            name: value.text if isinstance(value, Template) else value for name, value in values.items()
        } | {"context_sensitivity_metric": metric.name, "attributed_fn": attributed.name}


def build_request(values: Mapping[str, Any], default_function: str) -> ContextRequest:
    """Check the arguments of a call.

    Raises:
        InvalidArgumentError: a value that an argument cannot take, texts without a place for them, places
            without a text, arguments that would not be used. UnknownNameError: no such step function.
    """
    given = dict(values)
    for name in ("input_current_text", "decoder_input_output_separator"):
        if not isinstance(given[name], str):
            raise invalid(name, given[name], "a text")
    if not given["input_current_text"].strip():
        raise invalid("input_current_text", given["input_current_text"], "a text with at least one word")
    for name in ("input_context_text", "output_context_text", "output_current_text"):
        if given[name] is not None and not (isinstance(given[name], str) and given[name].strip()):
            raise invalid(name, given[name], "a text with at least one word, or None")
    for side in ("input", "output"):
        given[f"{side}_template"] = _template(given, side)
    _check_contexts(given)
    contextless = given["contextless_input_current_text"]
    if contextless is None:
        given["contextless_input_current_text"] = CURRENT
    elif not isinstance(contextless, str) or not contextless.strip():
        raise invalid("contextless_input_current_text", contextless, f"a text, or a template with {CURRENT}")
    given["contextless_output_current_text"] = _contextless_output(given)
    _check_strategy(given)
    for name in ("special_tokens_to_keep", "contextless_output_next_tokens", "attribution_aggregators"):
        given[name] = _names(name, given[name])
    given["attribution_selectors"] = _indices(given["attribution_selectors"])
    _check_numbers(given)
    for name in (
        "prompt_user_for_contextless_output_next_tokens",
        "normalize_attributions",
        "rescale_attributions",
        "show_intermediate_outputs",
        "add_output_info",
    ):
        if not isinstance(given[name], bool):
            raise invalid(name, given[name], "True or False")
    for name in ("generation_kwargs", "attribution_kwargs"):
        if given[name] is not None and not isinstance(given[name], Mapping):
            raise invalid(name, given[name], "a dict of arguments by name")
        given[name] = dict(given[name] or {})
    metric, attributed = given.pop("context_sensitivity_metric"), given.pop("attributed_fn")
    request = ContextRequest(
        metric=_metric(metric),
        attributed=find_function(default_function if attributed is None else attributed),
        **given,
    )
    _check_contrast(request)
    return request


def _template(given: Mapping[str, Any], side: str) -> Template:
    name, text = f"{side}_template", given[f"{side}_template"]
    if text is None:
        text = CURRENT if given[f"{side}_context_text"] is None else f"{CONTEXT} {CURRENT}"
    elif not isinstance(text, str):
        raise invalid(name, text, f"a text with {CURRENT}")
    template = Template.of(name, text)
    if side == "output" and template.has_context and text.find(CONTEXT) > text.find(CURRENT):
        raise InvalidArgumentError(
            f"{name} = {text!r}: {CONTEXT} has to stand before {CURRENT}, since a context is what comes before."
        )
    if given[f"{side}_context_text"] is not None and not template.has_context:
        raise InvalidArgumentError(
            f"{side}_context_text would not be used: {name} = {text!r} has no place {CONTEXT}."
        )
    return template


def _check_contexts(given: Mapping[str, Any]) -> None:
    if given["input_template"].has_context and given["input_context_text"] is None:
        raise InvalidArgumentError(
            f"input_template = {given['input_template'].text!r} has a place {CONTEXT}, but there is no "
            f"input_context_text."
        )
    if not given["input_template"].has_context and not given["output_template"].has_context:
        raise InvalidArgumentError(
            "There is no context: give input_context_text, output_context_text, or an output_template with "
            f"{CONTEXT}."
        )


def _contextless_output(given: Mapping[str, Any]) -> Template:
    text = given["contextless_output_current_text"]
    if text is None:
        return Template.of("contextless_output_current_text", CURRENT)
    if not isinstance(text, str):
        raise invalid("contextless_output_current_text", text, f"a template with {CURRENT}")
    template = Template.of("contextless_output_current_text", text)
    if template.has_context:
        raise InvalidArgumentError(
            f"contextless_output_current_text = {text!r} has a place {CONTEXT}: it is what stands there "
            f"without one."
        )
    return template


def _check_strategy(given: Mapping[str, Any]) -> None:
    strategy = given["handle_output_context_strategy"]
    if strategy not in STRATEGIES:
        raise unknown_name(
            "way to handle an output context", strategy, list(STRATEGIES), existing="There are"
        )
    is_missing = given["output_template"].has_context and given["output_context_text"] is None
    if strategy == "pre" and is_missing:
        raise InvalidArgumentError(
            "handle_output_context_strategy = 'pre' needs output_context_text, since output_template has a "
            "place for it.\n"
            "  With 'auto' the generated output is split by itself, with 'manual' you are asked."
        )


def _check_numbers(given: Mapping[str, Any]) -> None:
    for name in ("context_sensitivity_std_threshold", "attribution_std_threshold"):
        value = given[name]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value)):
            raise invalid(name, value, "a number of standard deviations, or None for no threshold")
    for name in ("context_sensitivity_topk", "attribution_topk"):
        value = given[name]
        if value is not None and (type(value) is not int or value < 1):
            raise invalid(name, value, "a whole number of at least 1, or None for all")
    if given["normalize_attributions"] and given["rescale_attributions"]:
        raise InvalidArgumentError("Use one of normalize_attributions and rescale_attributions.")


def _names(name: str, value: Any) -> tuple[str, ...]:
    value = (value,) if isinstance(value, str) else value
    if not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise invalid(name, value, "a list of texts")
    return tuple(value)


def _indices(value: Any) -> tuple[int, ...]:
    value = (value,) if type(value) is int else value
    if not isinstance(value, Sequence) or not all(type(v) is int for v in value):
        raise invalid("attribution_selectors", value, "a list of whole numbers")
    return tuple(value)


def _metric(identifier: Any) -> BoundStepFunction:
    found = find_function(identifier)
    if not is_contrastive(found):
        fitting = [e.name for e in step_functions().entries() if is_contrastive(find_function(e.name))]
        raise InvalidArgumentError(
            f"context_sensitivity_metric = {found.name!r} compares nothing: with and without context it is "
            f"the same.\n  Contrastive step functions: {listed(fitting, 20)}."
        )
    return found


def _check_contrast(request: ContextRequest) -> None:
    """The options of contrastive functions are used."""
    for name in CONTRAST_ARGUMENTS:
        if name in request.attribution_kwargs:
            raise InvalidArgumentError(
                f"attribution_kwargs: {name} is what the procedure finds out.\n"
                "  The token to compare with may be given as contextless_output_next_tokens."
            )
    asks = request.prompt_user_for_contextless_output_next_tokens
    if request.contextless_output_next_tokens and asks:
        raise InvalidArgumentError(
            "Use one of contextless_output_next_tokens and prompt_user_for_contextless_output_next_tokens."
        )
    if (request.contextless_output_next_tokens or asks) and not is_contrastive(request.attributed):
        given = "prompt_user_for_contextless_output_next_tokens" if asks else "contextless_output_next_tokens"
        raise InvalidArgumentError(
            f"{given} would not be used: attributed_fn = {request.attributed.name!r} compares nothing.\n"
            "  Use a contrastive one, such as contrast_prob_diff."
        )
