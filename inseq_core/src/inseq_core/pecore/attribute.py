"""``attribute_context``: the procedure from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inseq_core.aggregate.in_order import check_order
from inseq_core.data.info import now
from inseq_core.errors import InvalidArgumentError, unknown_argument
from inseq_core.model import AttributionModel, load_model
from inseq_core.pecore.outputs import find_output
from inseq_core.pecore.request import ContextRequest, build_request
from inseq_core.pecore.result import AttributeContextOutput
from inseq_core.pecore.scoring import Sensitive, compared, cues, sensitivity
from inseq_core.pecore.selecting import standing_out
from inseq_core.pecore.texts import context_texts
from inseq_core.run.binding import others_that_take
from inseq_core.run.request import DEFAULT_FUNCTION

WHERE = "attribute_context()"

DEFAULT_METHOD = "saliency"
"""For models that were loaded without a method."""


def attribute_context(
    model: Any,
    input_current_text: str,
    input_context_text: str | None = None,
    *,
    input_template: str | None = None,
    output_context_text: str | None = None,
    output_current_text: str | None = None,
    output_template: str | None = None,
    contextless_input_current_text: str | None = None,
    contextless_output_current_text: str | None = None,
    attribution_method: str | None = None,
    attributed_fn: str | Callable[..., Any] | None = None,
    context_sensitivity_metric: str = "kl_divergence",
    handle_output_context_strategy: str = "manual",
    contextless_output_next_tokens: Sequence[str] = (),
    prompt_user_for_contextless_output_next_tokens: bool = False,
    special_tokens_to_keep: Sequence[str] = (),
    decoder_input_output_separator: str = " ",
    context_sensitivity_std_threshold: float | None = 1.0,
    context_sensitivity_topk: int | None = None,
    attribution_std_threshold: float | None = 1.0,
    attribution_topk: int | None = None,
    attribution_selectors: Sequence[int] = (),
    attribution_aggregators: Sequence[str] = (),
    normalize_attributions: bool = False,
    rescale_attributions: bool = False,
    generation_kwargs: Mapping[str, Any] | None = None,
    attribution_kwargs: Mapping[str, Any] | None = None,
    show_intermediate_outputs: bool = False,
    add_output_info: bool = True,
    **others: Any,
) -> AttributeContextOutput:
    """Which generated tokens depend on a context, and on which of its tokens (PECoRe, Sarti et al. 2024).

    First the output is scored with and without its contexts: tokens whose prediction changes are
    context-sensitive (CTI). Then each of them is attributed to the contexts (CCI), best with a contrastive
    ``attributed_fn``: why this token, and not the one that the model would have written without context.

    Args:
        model: an ``AttributionModel``, or what ``load_model`` takes.
        input_current_text: what the output answers, or translates.
        input_context_text: what the model knows beside it.
        input_template: how both make the input: a text with ``{current}`` and ``{context}``;
            ``"{context} {current}"`` by default where there is a context.
        output_context_text: what the model said before: a beginning that is forced on its output.
        output_current_text: the output to look at; generated where it is not given.
        output_template: as ``input_template``, for the output. With ``{context}`` and without
            ``output_context_text`` the context is generated too, and cut off.
        contextless_input_current_text: the input without context: a template with ``{current}``, or a text of
            its own; ``"{current}"`` by default.
        contextless_output_current_text: the output without context, a template with ``{current}``; what
            stands after it has no influence, as nothing later has in a causal decoder.
        attribution_method: of CCI; the model's default, or saliency.
        attributed_fn: what CCI explains; the model's default.
        context_sensitivity_metric: a contrastive step function.
        handle_output_context_strategy: how a generated output is cut: "manual" asks at the terminal, "auto"
            decides (by the template's separator, or by as many sentences as the input context has), "pre"
            refuses.
        contextless_output_next_tokens: what each context-sensitive token is compared with, the most sensitive
            first; by default what is likeliest without context.
        prompt_user_for_contextless_output_next_tokens: ask for them at the terminal.
        special_tokens_to_keep: special tokens that are part of contexts and outputs (``<brk>``); others are
            dropped from generated texts, and have no scores.
        decoder_input_output_separator: decoder-only models: what stands between input and output.
        context_sensitivity_std_threshold: standard deviations above the mean from which a token is
            context-sensitive; None: all that are sensitive at all.
        context_sensitivity_topk: no more than so many of them.
        attribution_std_threshold, attribution_topk: the same of cues among the context's tokens; they decide
            what is shown as a cue, all scores are kept.
        attribution_selectors, attribution_aggregators, normalize_attributions, rescale_attributions: how
            scores become one a token; by default the method's own way, not normalised.
        generation_kwargs: arguments of the model's generation.
        attribution_kwargs: further arguments of ``attribute``, of the method, and of ``attributed_fn``.
        show_intermediate_outputs: show the step scores of CTI and the attributions of CCI.
        add_output_info: keep in the result how it was made.
        others: none; what is misspelt is said with the nearest name.

    Returns:
        CTI scores of the output's tokens, and CCI scores of the contexts' tokens for each sensitive one.

    Raises:
        InvalidArgumentError: a value that an argument cannot take, texts without a place or places without a
            text, a generated output that cannot be cut. UnknownArgumentError: an argument that is none of
            these. And whatever ``attribute`` raises.
    """
    arguments = {n: v for n, v in locals().items() if n not in ("model", "others")}
    for name in others:
        raise unknown_argument(name, WHERE, {WHERE: ["model", *arguments]}, _share_of(name))
    began = time.perf_counter()
    if not isinstance(model, AttributionModel):
        check_arguments(arguments)
        model = load_model(model, attribution_method or DEFAULT_METHOD)
    request = _request(arguments, model.default_attributed_fn_id)
    method = _method(model, attribution_method)
    check_order(request.attribution_aggregators, request.attribution_selectors, method)
    filled = request.input_template.fill(request.input_current_text, request.input_context_text)
    output = find_output(model.adapter, request, filled.text)
    texts = context_texts(model.adapter, request, filled, output)
    scores = sensitivity(model, request, texts)
    chosen = standing_out(scores, request.context_sensitivity_std_threshold, request.context_sensitivity_topk)
    sensitive = compared(
        model,
        request,
        texts,
        [Sensitive(index=i, position=texts.current.positions[i], score=scores[i]) for i in chosen],
    )
    records = cues(model, request, texts, sensitive, method)
    return AttributeContextOutput(
        input_context=request.input_context_text,
        input_context_tokens=None if texts.input_context is None else texts.input_context.tokens,
        output_context=output.context,
        output_context_tokens=None if texts.output_context is None else texts.output_context.tokens,
        output_current=output.current,
        output_current_tokens=texts.current.tokens,
        cti_scores=scores,
        cci_scores=records,
        info=_info(model, request, method, output.current, output.context, time.perf_counter() - began)
        if request.add_output_info
        else None,
    )


def _share_of(name: str) -> str:
    """Who takes an argument that has to be given through ``attribution_kwargs``; "" for nobody."""
    others = others_that_take(name)
    return others and f"{others}: give attribution_kwargs={{{name!r}: …}}"


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what can be seen to be wrong before a model is loaded.

    Args:
        arguments: every keyword of ``attribute_context`` but the model.

    Raises:
        InvalidArgumentError, UnknownNameError: what was wrong.
    """
    _request(arguments, DEFAULT_FUNCTION)


def _request(arguments: Mapping[str, Any], default_function: str) -> ContextRequest:
    return build_request({n: v for n, v in arguments.items() if n != "attribution_method"}, default_function)


def _method(model: AttributionModel, name: str | None) -> str:
    """The method of CCI, which has to be there before anything is generated."""
    try:
        entry, _ = model.method_entry(name)
    except InvalidArgumentError:
        if name is not None:
            raise
        entry, _ = model.method_entry(DEFAULT_METHOD)
    return entry.name


def _info(
    model: AttributionModel,
    request: ContextRequest,
    method: str,
    current: str,
    context: str | None,
    seconds: float,
) -> dict[str, Any]:
    from inseq_core.version import get_version

    return {
        **request.as_plain(),
        "output_current_text": current,
        "output_context_text": context,
        "is_output_generated": request.output_current_text is None,
        "attribution_method": method,
        **model.info,
        "versions": {"inseq-core": get_version(), **model.adapter.profile.versions},
        "exec_time": seconds,
        "created": now(),
    }
