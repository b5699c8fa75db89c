"""Step functions within a call: prepared once, then evaluated on rows that share one forward pass.

Axes: B texts, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inseq_core.aggregate.functions import find_function
from inseq_core.contracts.context import AttributionContext
from inseq_core.contracts.memory import in_parts
from inseq_core.contracts.step_function import (
    BoundStepFunction,
    ForwardOutput,
    Prepared,
    StepCall,
    StepFunctionArgs,
)
from inseq_core.data.batch import EncodedText
from inseq_core.errors import NonFiniteScoreError, StepFunctionError
from inseq_core.hooks import resolve
from inseq_core.run.request import AttributeRequest
from inseq_core.run.rows import RowSet

LOGIT_BUDGET = 256 * 2**20
"""Bytes of logits (R, V) held at once."""

SUM_WIDTH = 40
"""Characters of the text that names the column of a sum."""


def step_call(
    request: AttributeRequest, texts: Sequence[EncodedText], spans: Sequence[tuple[int, int]]
) -> StepCall:
    """What every evaluation of the request's functions shares."""
    return StepCall(
        adapter=request.adapter,
        attribution_model=request.attribution_model,
        inputs=request.input_texts,
        texts=tuple(texts),
        spans=tuple(spans),
        encode=request.encode,
        show=request.show,
        seed=request.options.seed,
    )


def prepare_functions(request: AttributeRequest, call: StepCall) -> Prepared:
    """Let every function prepare itself: labels of the attributed one, and the notes of all."""
    labels: tuple[Mapping[int, str], ...] = ()
    notes: dict[str, Any] = {}
    for function in request.functions():
        if function.spec is None or function.spec.prepare is None:
            continue
        is_attributed_fn = function is request.attributed
        with function.guard("preparation", call.adapter):
            prepare = resolve(function.spec.prepare, f"preparation of {function.name!r}")
            prepared = _checked(function, call, prepare(call, function.arguments, is_attributed_fn))
            for name, value in prepared.notes.items():  # several functions say the same of one contrast
                notes[name if notes.get(name, value) == value else f"{name} of {function.name}"] = value
        labels = prepared.labels if is_attributed_fn else labels
    return Prepared(labels=labels, notes=notes)


def _checked(function: BoundStepFunction, call: StepCall, prepared: Any) -> Prepared:
    """What the preparation of a function gave.

    Raises:
        StepFunctionError: it is not what the contract says.
    """
    if prepared is None:
        return Prepared()
    wrong = None
    if not isinstance(prepared, Prepared):
        wrong = f"returned {type(prepared).__name__}, expected Prepared(…) or None"
    elif not isinstance(prepared.notes, Mapping):
        wrong = f"gave notes as {type(prepared.notes).__name__}, expected a dict"
    elif not (isinstance(prepared.labels, (tuple, list)) and len(prepared.labels) in (0, len(call.texts))):
        wrong = f"gave labels that are not one dict for each of {len(call.texts)} texts"
    elif not all(isinstance(of_text, Mapping) for of_text in prepared.labels):
        wrong = "gave labels that are no dicts: target position -> what is shown"
    if wrong is not None:
        raise StepFunctionError(
            f"the preparation of step function {function.name!r} {wrong}.{function.whence}"
        )
    return prepared


def column_labels(request: AttributeRequest, call: StepCall, prepared: Prepared) -> list[Mapping[int, str]]:
    """For each text, target position -> what is shown in place of its token: what the attributed function
    says, and "Σ …" over the one column of a sum.
    """
    labels: list[Mapping[int, str]] = [*prepared.labels] or [{}] * len(call.texts)
    if not request.is_summed:
        return labels
    sums: list[Mapping[int, str]] = []
    for text, (start, end), shown in zip(call.texts, call.spans, labels, strict=True):
        if any(start <= position < end for position in shown):
            pieces = request.adapter.token_texts(text.target_ids[start:end].tolist(), "target").tokens
            said = " ".join(shown.get(start + k, piece) for k, piece in enumerate(pieces))
        else:
            said = request.adapter.decode(text.target_ids[start:end].tolist(), skip_special_tokens=False)
        said = " ".join(said.split())
        sums.append({end - 1: f"Σ {said if len(said) <= SUM_WIDTH else said[: SUM_WIDTH - 1] + '…'}"})
    return sums


def step_scores(request: AttributeRequest, rows: RowSet, call: StepCall) -> dict[str, np.ndarray]:
    """Name -> (R,) values of every step function, from one forward pass a chunk of rows.

    Raises:
        StepFunctionError: a function that does not give one value a row, or fails.
    """
    if not request.step_functions or not len(rows):
        return {}
    vocabulary = max(request.profile.vocabulary_size, 1)
    size = max(LOGIT_BUDGET // (4 * vocabulary), 1)
    chunks = [np.arange(first, min(first + size, len(rows))) for first in range(0, len(rows), size)]
    parts = list(in_parts(request.adapter, chunks, lambda chunk: _evaluate(request, rows.take(chunk), call)))
    return {f.name: np.concatenate([part[f.name] for part in parts]) for f in request.step_functions}


def _evaluate(request: AttributeRequest, rows: RowSet, call: StepCall) -> dict[str, np.ndarray]:
    adapter, batch = request.adapter, rows.prefix
    output = adapter.forward_rows(batch, rows.grid)
    if output.raw is not None and not all(f.keeps_inputs for f in request.step_functions):
        output = output.copied()  # what is written into the framework's own output stays there
    args = StepFunctionArgs(call=call, forward_output=output, batch=batch, grid=rows.grid)
    with adapter.quiet():
        scores = {function.name: _numbers(function, args) for function in request.step_functions}
    if not request.is_summed:  # a sum may leave single steps out
        for function in request.step_functions:
            _check_values(request, rows, function, scores[function.name], args.forward_output)
    return scores


def _numbers(function: BoundStepFunction, args: StepFunctionArgs) -> np.ndarray:
    values = function(args)
    with function.guard("", args.adapter):  # an array that cannot be read
        return args.adapter.to_numpy(values)


def over_spans(
    request: AttributeRequest, rows: RowSet, scores: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """(R,) values of every token of each text -> (B,) one value a text, by each function's own way over
    spans.
    """
    ways = {f.name: find_function(f.aggregate_map.get("spans", "mean")) for f in request.step_functions}
    return {
        name: np.array([ways[name](values[chosen], 0) for _, chosen in rows.by_sequence()])
        for name, values in scores.items()
    }


def check_attributed(request: AttributeRequest, rows: RowSet, ctx: AttributionContext) -> None:
    """Refuse NaN and infinity of the attributed function on the texts as they are, and say if they are its
    own.

    Raises:
        NonFiniteScoreError: some of its values are not finite.
    """
    adapter, scored = request.adapter, rows.grid.scored
    output = adapter.forward_rows(rows.prefix, scored)
    values = _numbers(request.attributed, ctx.args(output, rows.prefix, scored))
    _check_values(request, RowSet(batch=rows.batch, grid=scored), request.attributed, values, output)


def _check_values(
    request: AttributeRequest,
    rows: RowSet,
    function: BoundStepFunction,
    values: np.ndarray,
    output: ForwardOutput,
) -> None:
    """Refuse NaN and infinity among a function's values (R,), and say if they are its own or the model's.

    Raises:
        NonFiniteScoreError: some are not finite.
    """
    is_finite = np.isfinite(values)
    if is_finite.all():
        return
    logits = request.adapter.to_numpy(output.logits)[:, 0, :]
    # a token may be forbidden (-inf), but something has to be possible, and nothing certain beyond all
    # numbers
    is_sound = ~np.isnan(logits).any(axis=1) & np.isfinite(logits.max(axis=1))
    kind = "attributed function" if function is request.attributed else "step score"
    advice = f"{_OF_ITSELF}{function.whence}" if is_sound[~is_finite].all() else None
    check_finite(request, rows, f"The {kind} {function.name!r}", is_finite, advice)


_OF_ITSELF = (
    "The model's logits are sound there, so it comes from the function: a division by zero, a logarithm of "
    "zero?"
)


def check_finite(
    request: AttributeRequest, rows: RowSet, what: str, is_finite: np.ndarray, advice: str | None = None
) -> None:
    """Refuse NaN and infinity, naming the first step that has one.

    Args:
        what: whose numbers they are ("step score 'entropy'").
        is_finite: (R,) whether all numbers of a row are.
        advice: what to do about it, where something better is known than to load the model otherwise.

    Raises:
        NonFiniteScoreError: some are not.
    """
    bad = np.flatnonzero(~is_finite)
    if not len(bad):
        return
    row = int(bad[0])
    sequence, position = int(rows.grid.sequence[row]), int(rows.grid.position[row])
    token = request.adapter.token_texts([int(rows.grid.target_ids[row])], "target").tokens[0]
    advice = advice or (
        f"The model ({request.profile.name}, {request.profile.dtype}) may overflow: load it in float32 or "
        "bfloat16, or explain another function."
    )
    raise NonFiniteScoreError(
        f"{what} is NaN or infinite at {len(bad)} of {len(rows)} steps, first for the token {token!r} at "
        f"target "
        f"position {position} of text {rows.batch.origin[sequence]}.\n  {advice}"
    )
