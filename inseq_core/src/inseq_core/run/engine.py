"""One call of ``attribute()``, from a checked request to its results.

Rows are attributed in the groups that the adapter plans, each on no more of the texts than it looks at; what
it gives leaves the device at once, and what does not fit in memory is halved.
Axes: R rows.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from inseq_core.contracts.context import AttributionContext, ContextRequest
from inseq_core.contracts.memory import in_parts, middle
from inseq_core.contracts.removal import RemovalWay
from inseq_core.contracts.step_function import was_finite
from inseq_core.data.batch import EncodedText, IntArray
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.errors import ApproximationWarning, NonFiniteScoreError
from inseq_core.hooks import get_host
from inseq_core.run.assemble import Ledger
from inseq_core.run.features import feature_set
from inseq_core.run.positions import attributed_spans
from inseq_core.run.prepare import prepare
from inseq_core.run.progress import Advance, progress
from inseq_core.run.provenance import spent, told_warnings
from inseq_core.run.request import AttributeRequest
from inseq_core.run.results import results
from inseq_core.run.rows import RowSet
from inseq_core.run.score import check_attributed, over_spans, prepare_functions, step_call, step_scores

Spans = Sequence[tuple[int, int]]

_LOG = logging.getLogger(__name__)


def attribute(request: AttributeRequest) -> FeatureAttributionOutput:
    """Attribute every step of every text of a request."""
    with request.adapter.attributing():
        return _attributed(request)


def _attributed(request: AttributeRequest) -> FeatureAttributionOutput:
    began = time.perf_counter()
    get_host().before_attribute(request)
    with told_warnings() as warned:
        warn_of_rounding(request)
        texts = prepare(request)
        spans = attributed_spans(request.adapter, texts, request.starts, request.ends, request.pieces)
        call = step_call(request, texts, spans)
        _LOG.info("%s on %s: %d texts", request.method.name, request.profile.name, len(texts))
        with _progress(request, spans) as advance:
            batches = _batches(request, texts, spans)
            for rows in batches:
                request.adapter.self_check(rows.batch)
            before = dict(request.adapter.counts)
            ledger = Ledger.of(request, call, prepare_functions(request, call))
            for rows in batches:
                scores = step_scores(request, rows, call)
                if request.is_summed:
                    scores, rows = over_spans(request, rows, scores), rows.summed()
                _attribute(rows, ledger, advance)
                ledger.put_step_scores(rows, scores)
    counts = spent(before, request.adapter.counts)
    _LOG.info("done in %.2f s %s", time.perf_counter() - began, counts or "")
    output = results(ledger, seconds=time.perf_counter() - began, counts=counts, warned=warned)
    get_host().after_attribute(request, output)
    return output


def warn_of_rounding(request: AttributeRequest) -> None:
    """Removal in half precision: what is subtracted are numbers that are nearly equal."""
    if request.method.spec.per_text and request.profile.dtype in ("float16", "bfloat16"):
        warnings.warn(
            f"{request.profile.name} runs in {request.profile.dtype}: {request.method.name} takes differences of "
            "nearly equal scores, which may be off by a tenth.\n  Load the model in float32 for scores to rely on.",
            ApproximationWarning,
            stacklevel=2,
        )


def _progress(request: AttributeRequest, spans: Spans) -> Any:
    options = request.options
    steps = sum(end - start for start, end in spans)
    title = f"{request.method.name} of {request.profile.name}"
    return progress(title, steps, show=options.show_progress, pretty=options.pretty_progress)


def _batches(request: AttributeRequest, texts: Sequence[EncodedText], spans: Spans) -> list[RowSet]:
    """The rows of a few texts at a time."""
    size = 1 if request.method.spec.per_text else request.options.batch_size or len(texts)
    pad = request.adapter.pad_id
    groups = [range(first, min(first + size, len(texts))) for first in range(0, len(texts), size)]
    return [RowSet.of(texts, spans, group, pad) for group in groups]


def _attribute(rows: RowSet, ledger: Ledger, advance: Advance) -> None:
    """Run the method on the rows, in the adapter's plan, and enter what it gives."""
    request = ledger.request
    adapter, spec = request.adapter, request.method.spec

    def run(chosen: IntArray) -> None:
        part = rows.take(chosen)
        _LOG.debug("%d steps of %d texts, prefix %d", len(part), len(part.batch), part.grid.prefix_length)
        ctx = adapter.context(_context(part, ledger))
        output = _output(request, ctx)
        try:
            ledger.put(part, ctx, output)
        except NonFiniteScoreError:
            check_attributed(request, part, ctx)  # names the function, if it began there
            raise
        if not was_finite(ledger.call):  # what is infinite everywhere has no slope, and so finite scores
            check_attributed(request, part, ctx)
        advance(len(part))

    def cut(chosen: IntArray) -> tuple[IntArray, IntArray] | None:
        return _between_texts(rows, chosen) if spec.all_steps else middle(chosen)

    for _ in in_parts(adapter, adapter.plan(rows.batch, rows.grid, spec), run, cut):
        continue


def _output(request: AttributeRequest, ctx: AttributionContext) -> Any:
    """What the method gives.

    Raises:
        MethodFailedError: it raised an error that is none of ours.
    """
    with request.method.guard("", request.adapter):
        return request.method.instance.attribute(ctx)


def _between_texts(rows: RowSet, chosen: IntArray) -> tuple[IntArray, IntArray] | None:
    """Rows in two, no text in both; None where they are of one text."""
    sequences = rows.grid.sequence[chosen]
    border = np.median(np.unique(sequences))
    first = sequences < border if len(np.unique(sequences)) > 1 else np.zeros(len(chosen), dtype=np.bool_)
    return (chosen[first], chosen[~first]) if first.any() else None


def _context(rows: RowSet, ledger: Ledger) -> ContextRequest:
    request = ledger.request
    options, spec = request.options, request.method.spec
    features = None
    if spec.per_text:
        features = tuple(
            feature_set(
                options.features or "token",
                ledger.texts[origin].text,
                request.adapter,
                end=ledger.texts[origin].span[1],
                with_target=options.attribute_target,
                include_eos=options.include_eos_baseline,
                index=origin,
            )
            for origin in rows.batch.origin
        )
    return ContextRequest(
        batch=rows.prefix,
        grid=rows.grid,
        attributed=request.attributed,
        attribute_target=options.attribute_target or not request.is_encoder_decoder,
        include_eos_baseline=options.include_eos_baseline,
        features=features,
        removal=options.removal or RemovalWay(),
        full_texts=rows.batch.texts,
        call=ledger.call,
    )
