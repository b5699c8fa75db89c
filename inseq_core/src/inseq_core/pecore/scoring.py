"""The two stages: which output tokens depend on the context, and on which of its tokens.

Axes: L target positions, S source positions, K tokens of the current output, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from inseq_core.aggregate.in_order import aggregated_in_order
from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.step_function import BoundStepFunction
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.batch import TokenBatch
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.steps import StepGrid
from inseq_core.errors import InvalidArgumentError, invalid
from inseq_core.model import AttributionModel
from inseq_core.pecore.asking import ask_next_token
from inseq_core.pecore.request import FORCE_INPUTS, ContextRequest, is_contrastive
from inseq_core.pecore.result import CCIOutput
from inseq_core.pecore.texts import ContextTexts, TokenSpan
from inseq_core.run.binding import with_own_method
from inseq_core.run.request import DEFAULT_FUNCTION


@attrs.frozen(kw_only=True, eq=False)
class Sensitive:
    """A context-sensitive token.

    Attributes:
        index: among the tokens of the current output.
        position: in the target.
        score: CTI.
        contrast_id: the token it is compared with; None where nothing is compared.
        forces_inputs: that token is scored on the input and prefix without context.
    """

    index: int
    position: int
    score: float
    contrast_id: int | None = None
    forces_inputs: bool = False


def sensitivity(model: AttributionModel, request: ContextRequest, texts: ContextTexts) -> list[float]:
    """(K,) how much each token of the current output depends on the context (CTI).

    The metric compares the model with the context (p) to the model without it (p′), on the same output
    tokens: KL(p ‖ p′) for ``kl_divergence`` (Sarti et al. 2024, section 3.1). The peer hands them over the
    other way round, KL(p′ ‖ p); so the signs of ``pcxmi`` and ``in_context_pvi`` are opposite to its, too.
    """
    first, last = texts.current.positions[0], texts.current.positions[-1]
    arguments: dict[str, Any] = {
        "contrast_targets": [[*texts.start_without, *texts.current_ids]],
        "contrast_targets_alignments": [[(first, texts.place_without(first))]],
    }
    if texts.source_without is not None:
        arguments["contrast_sources"] = [texts.source_without]
    out = model.attribute(
        texts.input_text,
        texts.output_text,
        method="dummy",
        attributed_fn=DEFAULT_FUNCTION,
        step_scores=[_as_given(request.metric)],
        step_scores_args=arguments,
        attr_pos_start=first,
        attr_pos_end=last + 1,
        show_progress=False,
    )
    if request.show_intermediate_outputs:
        out.show(do_aggregation=False)
    scores = out[0].step_scores[request.metric.name]
    return [float(scores[position - first]) for position in texts.current.positions]


def compared(
    model: AttributionModel, request: ContextRequest, texts: ContextTexts, sensitive: Sequence[Sensitive]
) -> list[Sensitive]:
    """Each context-sensitive token with the one it is compared with: given, asked for, or the likeliest without
    context.

    Where that is the same token, or where whole distributions are compared, the contrast is scored on what
    there is without context, since on the same input there would be no difference at all.

    Raises:
        InvalidArgumentError: another number of tokens was given than there are context-sensitive ones.
    """
    if not is_contrastive(request.attributed):
        return list(sensitive)
    words: Sequence[str | None] = request.contextless_output_next_tokens or [None] * len(sensitive)
    if len(words) != len(sensitive):
        named = ", ".join(repr(texts.current.tokens[s.index]) for s in sensitive) or "none"
        raise InvalidArgumentError(
            f"contextless_output_next_tokens has {len(words)} tokens for {len(sensitive)} context-sensitive "
            f"ones: {named}.\n  Give one for each, in this order."
        )
    likeliest = _likeliest_without(model, texts)
    spec = request.attributed.spec
    always = spec is not None and spec.compares_distributions
    found = []
    for one, word in zip(sensitive, words, strict=True):
        if request.prompt_user_for_contextless_output_next_tokens:
            before = model.adapter.decode(texts.current_ids[: one.position - texts.current.positions[0]])
            word = ask_next_token(before, texts.current.tokens[one.index])
        own = int(texts.with_context.target_ids[one.position])
        other = likeliest[one.position] if word is None else _id_of(model, texts, one.position, word)
        forces = request.attribution_kwargs.get(FORCE_INPUTS, always or other == own)
        found.append(attrs.evolve(one, contrast_id=other, forces_inputs=forces))
    return found


def _likeliest_without(model: AttributionModel, texts: ContextTexts) -> dict[int, int]:
    """Target position -> the token that the model would write there without context."""
    adapter, text = model.adapter, texts.without_context()
    start = len(texts.start_without)
    positions = range(start, len(text.target_ids))
    batch = TokenBatch.of([text], adapter.pad_id)
    grid = StepGrid.of(batch, [(start, len(text.target_ids))])
    with adapter.quiet():
        logits = adapter.to_numpy(adapter.forward_rows(batch.truncated(grid.prefix_length), grid).logits)
    first = texts.current.positions[0]
    return {first + p - start: int(i) for p, i in zip(positions, logits[:, 0].argmax(-1), strict=True)}


def _id_of(model: AttributionModel, texts: ContextTexts, position: int, word: str) -> int:
    """The token that a word begins with, where it stands in place of the token at a position.

    Raises:
        InvalidArgumentError: it has no token.
    """
    adapter = model.adapter
    shown = adapter.token_texts([int(texts.with_context.target_ids[position])], "target")
    exact = _piece(adapter, word)
    # "▁la" is meant as it is written, and so is what stands within a word; "la" is a word to be tokenised.
    if exact is not None and (not shown.word_starts[0] or adapter.decode([exact]) != word):
        return exact
    if adapter.is_encoder_decoder:
        ids = adapter.encode_output(word, adapter.encode_input(texts.input_text)).tolist()
    else:
        ids = list(adapter.encode_input(f" {word}" if shown.word_starts[0] else word).ids)
    special = adapter.token_texts(ids, "target").special
    plain = [i for i, is_special in zip(ids, special, strict=True) if not is_special]
    if not plain:
        raise invalid("contextless_output_next_tokens", word, "a word that the tokenizer knows")
    return plain[0]


def _piece(adapter: ModelAdapter, word: str) -> int | None:
    """The id of the piece that is written exactly like this, if the vocabulary has one."""
    try:
        ids = adapter.token_ids([word], "target")
    except InvalidArgumentError:
        return None
    return ids[0] if adapter.token_texts(ids, "target").tokens[0] == word else None


def cues(
    model: AttributionModel,
    request: ContextRequest,
    texts: ContextTexts,
    sensitive: Sequence[Sensitive],
    method: str,
) -> list[CCIOutput]:
    """Contextual cues of each context-sensitive token (CCI), in their order."""
    records: dict[int, CCIOutput] = {}
    for forces in (False, True):
        group = [s for s in sensitive if s.forces_inputs == forces]
        if not group:
            continue
        aggregated = _aggregated(request, _attributed(model, request, texts, group, method, forces))
        if request.show_intermediate_outputs:
            aggregated.show(do_aggregation=False)
        for one, sequence in zip(group, aggregated, strict=True):
            records[one.index] = _record(model, texts, one, sequence)
    return [records[s.index] for s in sensitive]


def _as_given(function: BoundStepFunction) -> Any:
    """The id of a registered function, or the function itself."""
    return function.function if function.spec is None else function.name


def _attributed(
    model: AttributionModel,
    request: ContextRequest,
    texts: ContextTexts,
    group: Sequence[Sensitive],
    method: str,
    forces_inputs: bool,
) -> FeatureAttributionOutput:
    """One text for each token of the group, its step alone."""
    given = {n: v for n, v in request.attribution_kwargs.items() if n != FORCE_INPUTS}
    keywords = with_own_method(method, given)
    if group[0].contrast_id is not None:
        first = texts.current.positions[0]
        arguments: dict[str, Any] = {
            "contrast_targets": [
                [*texts.start_without, *texts.current_ids[: s.position - first], s.contrast_id] for s in group
            ],
            "contrast_targets_alignments": [[(s.position, texts.place_without(s.position))] for s in group],
        }
        if forces_inputs:
            arguments[FORCE_INPUTS] = True
            if texts.source_without is not None:
                arguments["contrast_sources"] = [texts.source_without] * len(group)
        keywords["attributed_fn_args"] = {**keywords.get("attributed_fn_args", {}), **arguments}
    has_target_context = model.is_encoder_decoder and texts.output_context is not None
    return model.attribute(
        [texts.input_text] * len(group),
        [texts.output_text] * len(group),
        method=method,
        attributed_fn=_as_given(request.attributed),
        attr_pos_start=[s.position for s in group],
        attr_pos_end=[s.position + 1 for s in group],
        attribute_target=has_target_context,
        show_progress=False,
        **keywords,
    )


def _aggregated(request: ContextRequest, out: FeatureAttributionOutput) -> FeatureAttributionOutput:
    """One number for each token; without normalisation unless it is asked for, so that tokens compare."""
    names, selectors = request.attribution_aggregators, request.attribution_selectors
    rescale = request.rescale_attributions
    normalize = None if rescale else request.normalize_attributions
    return aggregated_in_order(out, names, selectors, normalize=normalize, rescale=rescale)


def _record(
    model: AttributionModel, texts: ContextTexts, one: Sensitive, sequence: FeatureAttributionSequenceOutput
) -> CCIOutput:
    ids = texts.with_context.target_ids[: one.position + 1].tolist()
    contrast_token = contextless = None
    if one.contrast_id is not None:
        before = texts.current_ids[: one.position - texts.current.positions[0]]
        contrast_token = model.adapter.token_texts([one.contrast_id], "target").tokens[0]
        contextless = model.adapter.decode([*texts.start_without, *before, one.contrast_id])
    return CCIOutput(
        cti_idx=one.index,
        cti_token=texts.current.tokens[one.index],
        cti_score=one.score,
        contextual_output=model.adapter.decode(ids),
        contrast_token=contrast_token,
        contextless_output=contextless,
        input_context_scores=_scores_of(texts, sequence, texts.input_context),
        output_context_scores=_scores_of(texts, sequence, texts.output_context),
    )


def _scores_of(
    texts: ContextTexts, sequence: FeatureAttributionSequenceOutput, span: TokenSpan | None
) -> tuple[float, ...] | None:
    """Scores of a context's tokens, for the one step there is."""
    if span is None:
        return None
    is_source = span.side == "source"
    scores = sequence.source_attributions if is_source else sequence.target_attributions
    ids = texts.with_context.source_ids if is_source else texts.with_context.target_ids
    count = 0 if ids is None else len(ids)
    if scores is None:
        raise InvalidArgumentError(
            f"The method gave no scores of the {span.side}, where the context stands.\n  Choose another method."
        )
    if scores.shape != (count, 1):
        raise InvalidArgumentError(
            f"attribution_aggregators leave scores of shape {scores.shape}: expected ({count}, 1), one for "
            f"each {span.side} token.\n  Leave out those that merge tokens, and reduce every other axis."
        )
    return tuple(float(scores[position, 0]) for position in span.positions)
