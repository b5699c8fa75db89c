"""Step scores: what the step functions say about each row, sharing one forward pass.

Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np

from inseq_core.contracts.memory import in_parts
from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.errors import NonFiniteScoreError
from inseq_core.run.request import AttributeRequest
from inseq_core.run.rows import RowSet

LOGIT_BUDGET = 256 * 2**20
"""Bytes of logits (R, V) held at once."""


def step_scores(
    request: AttributeRequest, rows: RowSet, cache: MutableMapping[Any, Any]
) -> dict[str, np.ndarray]:
    """Name -> (R,) values of every step function, from one forward pass a chunk of rows.

    Raises:
        StepShapeError: a function that does not give one value a row.
    """
    if not request.step_functions or not len(rows):
        return {}
    vocabulary = max(request.profile.vocabulary_size, 1)
    size = max(LOGIT_BUDGET // (4 * vocabulary), 1)
    chunks = [np.arange(first, min(first + size, len(rows))) for first in range(0, len(rows), size)]
    parts = list(in_parts(request.adapter, chunks, lambda chunk: _evaluate(request, rows.take(chunk), cache)))
    return {f.name: np.concatenate([part[f.name] for part in parts]) for f in request.step_functions}


def _evaluate(
    request: AttributeRequest, rows: RowSet, cache: MutableMapping[Any, Any]
) -> dict[str, np.ndarray]:
    adapter, batch = request.adapter, rows.prefix
    args = StepFunctionArgs(
        attribution_model=request.attribution_model,
        adapter=adapter,
        forward_output=adapter.forward_rows(batch, rows.grid),
        batch=batch,
        grid=rows.grid,
        cache=cache,
    )
    return {function.name: adapter.to_numpy(function(args)) for function in request.step_functions}


def check_finite(request: AttributeRequest, rows: RowSet, what: str, is_finite: np.ndarray) -> None:
    """Refuse NaN and infinity, naming the first step that has one.

    Args:
        what: whose numbers they are ("step score 'entropy'").
        is_finite: (R,) whether all numbers of a row are.

    Raises:
        NonFiniteScoreError: some are not.
    """
    bad = np.flatnonzero(~is_finite)
    if not len(bad):
        return
    row = int(bad[0])
    sequence, position = int(rows.grid.sequence[row]), int(rows.grid.position[row])
    target = int(rows.grid.target_ids[row])
    token = request.adapter.token_texts([target], "target").tokens[0]
    raise NonFiniteScoreError(
        f"{what} is NaN or infinite at {len(bad)} of {len(rows)} steps, first for the token {token!r} at "
        f"target"
        f" position {position} of text {rows.batch.origin[sequence]}.\n"
        f"  The model ({request.profile.name}, {request.profile.dtype}) may overflow: load it in float32 or "
        f"bfloat16,"
        " or explain another function."
    )
