"""The results of a call: one frozen attribution a text, and how it was made.

Axes: S source positions, L target positions, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inseq_core.aggregate.functions import find_function
from inseq_core.aggregate.scores import reduced_meaning
from inseq_core.contracts.adapter import TokenTexts
from inseq_core.contracts.removal import RemovalWay
from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.data.batch import EncodedText
from inseq_core.data.features import FeatureSet
from inseq_core.data.info import AttributionInfo
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment, TokenWithId
from inseq_core.run.assemble import Ledger, TextScores
from inseq_core.run.provenance import versions
from inseq_core.run.request import AttributeRequest


def results(
    ledger: Ledger, *, seconds: float, counts: Mapping[str, int], warned: Sequence[str]
) -> FeatureAttributionOutput:
    """Everything that a call has found, as its user gets it.

    Args:
        seconds: how long it took.
        counts: work done by the adapter ("forward" …).
        warned: warnings given on the way.
    """
    sequences = [_sequence(ledger, sheet) for sheet in ledger.texts]
    if ledger.request.weight_by is not None:
        sequences = [sequence.weight_attributions(ledger.request.weight_by) for sequence in sequences]
    wants_steps = ledger.request.options.output_step_attributions
    return FeatureAttributionOutput(
        sequences,
        FeatureAttributionStepOutput.batched(sequences) if wants_steps else None,
        _info(ledger, seconds, counts, warned),
    )


def _sequence(ledger: Ledger, sheet: TextScores) -> FeatureAttributionSequenceOutput:
    request, text = ledger.request, sheet.text
    spec = request.method.spec
    shown = _shown(request, text.target_ids, "target")
    target = _tokens(request, text.target_ids, shown)
    if text.source_ids is None:
        n = text.prompt_length
        source, starts, special = target[:n], shown.word_starts[:n], shown.special[:n]
    else:
        of_source = _shown(request, text.source_ids, "source")
        source = _tokens(request, text.source_ids, of_source)
        starts, special = of_source.word_starts, of_source.special
    scores = sheet.target if sheet.source is None else sheet.source
    is_granular = scores is not None and scores.ndim > 2
    features: FeatureSet | None = sheet.features
    labelled = [
        TokenWithId(sheet.labels[i]) if i in sheet.labels else token for i, token in enumerate(target)
    ]
    return FeatureAttributionSequenceOutput(
        source=source,
        target=labelled,
        source_attributions=sheet.source,
        target_attributions=sheet.target,
        step_scores=sheet.step_scores,
        sequence_scores=sheet.sequence_scores,
        attr_pos_start=sheet.span[0],
        attr_pos_end=sheet.span[1],
        axes=ledger.kept_axes if is_granular else (),
        default_aggregation=spec.default_aggregation[ledger.n_reduced :] if is_granular else (),
        normalize=spec.normalize and scores is not None,
        meaning=_meaning(ledger),
        step_aggregation={f.name: dict(f.aggregate_map) for f in request.step_functions},
        segments=(*text.segments, *_feature_segments(features, text)),
        source_word_starts=starts,
        target_word_starts=shown.word_starts,
        source_special=special,
        target_special=shown.special,
        feature_kind="token" if features is None else features.kind,
        is_spread=features is not None and (request.options.removal or RemovalWay()).spread,
    )


def _shown(request: AttributeRequest, ids: np.ndarray, side: str) -> TokenTexts:
    return request.adapter.token_texts(ids.tolist(), side)


def _tokens(request: AttributeRequest, ids: np.ndarray, shown: TokenTexts) -> list[TokenWithId]:
    tokens = request.show(ids.tolist(), shown)
    return [TokenWithId(token, int(i)) for token, i in zip(tokens, ids, strict=True)]


def _meaning(ledger: Ledger) -> ScoreMeaning:
    """What the scores stand for, also after trailing axes were reduced."""
    spec = ledger.request.method.spec
    meaning = ScoreMeaning(signed=spec.signed, additive=spec.additive, complete=spec.complete)
    if ledger.reduced:
        for name in spec.default_aggregation:
            meaning = reduced_meaning(meaning, find_function(name))
    return meaning


def _feature_segments(features: FeatureSet | None, text: EncodedText) -> Iterator[Segment]:
    """Each run of positions of each feature, unless tokens or the text's segments say it already."""
    if features is None or features.kind in ("token", *(s.kind for s in text.segments)):
        return
    for feature in features.features:
        start = previous = -1
        for position in (*feature.positions, -1):
            if start >= 0 and position != previous + 1:
                yield Segment(
                    label=feature.label, start=start, end=previous + 1, kind=features.kind, side=feature.side
                )
                start = -1
            if start < 0:
                start = position
            previous = position


def _info(
    ledger: Ledger, seconds: float, counts: Mapping[str, int], warned: Sequence[str]
) -> AttributionInfo:
    request, spec = ledger.request, ledger.request.method.spec
    options, profile, provenance = request.options, request.profile, request.method.entry.provenance
    n_texts = len(ledger.texts)
    notes = dict(ledger.notes)
    if request.adapter.notes:
        notes["model"] = list(request.adapter.notes)
    if not spec.uses_function:
        notes["uses_function"] = False
    if spec.per_text:
        notes["features"] = ledger.texts[0].features.kind if ledger.texts[0].features else "token"
        notes.setdefault("removal", str(options.removal or RemovalWay()))
    for name, value, default in (
        ("attribute_span", options.attribute_span, None),
        ("steps", options.steps, "each"),
        ("weight_by", request.weight_by, None),
    ):
        if value != default:
            notes[name] = value
    if counts:
        notes["counts"] = dict(counts)
    passes = sum(counts.get(name, 0) for name in ("forward", "backward")) if counts else notes.get("passes")
    return AttributionInfo(
        attribution_method=spec.name,
        attribution_args=request.method.arguments,
        attributed_fn=request.attributed.name,
        attributed_fn_args=request.attributed.arguments,
        step_scores=tuple(f.name for f in request.step_functions),
        step_scores_args={k: v for f in request.step_functions for k, v in f.arguments.items()},
        attr_pos_start=_asked(options.attr_pos_start, [start for start, _ in ledger.call.spans], n_texts),
        attr_pos_end=_asked(options.attr_pos_end, [end for _, end in ledger.call.spans], n_texts),
        attribute_target=options.attribute_target and request.is_encoder_decoder,
        output_step_attributions=options.output_step_attributions,
        include_eos_baseline=options.include_eos_baseline,
        generate_from_target_prefix=options.generate_from_target_prefix,
        skip_special_tokens=options.skip_special_tokens,
        clean_special_chars=options.clean_special_chars,
        constrained_decoding=request.generated_texts is not None,
        generation_args=options.generation_args,
        input_texts=tuple(_input_text(text) for text in request.input_texts),
        generated_texts=tuple(sheet.text.generated_text for sheet in ledger.texts),
        baseline=getattr(request.method.instance, "baseline", None),
        model_name=profile.name,
        model_class=profile.model_class,
        tokenizer_name=profile.tokenizer_name,
        tokenizer_class=profile.tokenizer_class,
        framework=profile.framework,
        exec_time=seconds,
        versions={**versions(), **profile.versions},
        method_plugin=provenance.plugin,
        method_distribution=provenance.distribution,
        method_version=provenance.version,
        seed=options.seed,
        dtype=profile.dtype,
        device=profile.device,
        passes=passes,
        reductions=_reductions(ledger),
        notes=notes,
        warnings=tuple(dict.fromkeys(warned)),
    )


def _asked(asked: Any, found: list[int], n_texts: int) -> Any:
    return found[0] if asked is None and n_texts == 1 else asked


def _input_text(text: Any) -> Any:
    return text if isinstance(text, str) else [dict(message) for message in text]


def _reductions(ledger: Ledger) -> tuple[Any, ...]:
    spec = ledger.request.method.spec
    if not ledger.reduced:
        return ()
    return tuple(
        {
            "axis": axis,
            "function": function,
            "reason": "the scores would not fit; keep_granular=True keeps the axis",
        }
        for axis, function in zip(reversed(ledger.axes), spec.default_aggregation, strict=False)
    )
