"""Tokens to put in the place of others: drawn from the vocabulary, or from what the model itself expects
there.

Every text draws from a generator of its own, position by position, so that neither other texts nor what
follows in this one change the draws.
Axes: L positions (of either side), K draws, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from inseq_core.contracts.memory import in_parts
from inseq_core.data.batch import IntArray
from inseq_core.data.steps import StepGrid

if TYPE_CHECKING:
    from inseq_core.contracts.context import AttributionContext

ORIGINS = ("vocabulary", "model")
"""Where replacements come from: every token as likely, or the model's own expectation at that target
position.
"""

_BUDGET = 128 * 2**20
"""Bytes of probabilities (R, V) held at once."""


def replacement_pool(ctx: AttributionContext, side: str, n: int, origin: str = "vocabulary") -> IntArray:
    """(L, K) ids to put in the place of each token of the context's text: no special tokens, never the token
    itself.

    Args:
        side: "source" or "target".
        n: K, draws for each position.
        origin: one of ``ORIGINS``. The first target position and the source have nothing before them that the
            model could expect from: the vocabulary's there.
    """
    text = ctx.batch.texts[0]
    ids = text.source_ids if side == "source" and text.source_ids is not None else text.target_ids
    generator = np.random.default_rng([*ctx.text_key(), 1 if side == "source" else 2])
    spare = (
        3 * n + 13
    )  # special tokens and the token itself are passed over; where too few are left, they repeat
    uniform = generator.random((len(ids), spare))
    candidates = (uniform * max(ctx.adapter.profile.vocabulary_size, 1)).astype(np.int64)
    if origin == "model" and side == "target" and len(ids) > 1:
        candidates[1:] = _expected(ctx, ids, uniform[1:])
    return _allowed(ctx, side, ids, candidates, n)


def _expected(ctx: AttributionContext, ids: IntArray, uniform: np.ndarray) -> IntArray:
    """(L - 1, K) draws from p(token at j | tokens before j), the token that is there left out; by the inverse
    of the distribution function.
    """
    positions = np.arange(1, len(ids))
    size = max(_BUDGET // (24 * max(ctx.adapter.profile.vocabulary_size, 1)), 1)
    chunks = [positions[i : i + size] for i in range(0, len(positions), size)]

    def draw(chunk: IntArray) -> IntArray:
        grid = StepGrid(
            sequence=np.zeros(len(chunk)), position=chunk, target_ids=ids[chunk], step=np.arange(len(chunk))
        )
        logits = ctx.adapter.to_numpy(ctx.adapter.forward_rows(ctx.batch, grid).logits)[:, 0, :].astype(
            np.float64
        )
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities[np.arange(len(chunk)), ids[chunk]] = 0.0
        cumulative = np.cumsum(probabilities, axis=1)
        cumulative /= np.maximum(cumulative[:, -1:], np.finfo(np.float64).tiny)
        found = [
            np.searchsorted(c, u, side="right") for c, u in zip(cumulative, uniform[chunk - 1], strict=True)
        ]
        return np.minimum(np.stack(found), probabilities.shape[1] - 1)

    return np.concatenate(list(in_parts(ctx.adapter, chunks, draw)))


def _allowed(ctx: AttributionContext, side: str, ids: IntArray, candidates: IntArray, n: int) -> IntArray:
    """The first ``n`` candidates of each position that may stand there."""
    different: Sequence[int] = np.unique(candidates).tolist()
    shown = ctx.adapter.token_texts(different, side)
    special = np.array([i for i, s in zip(different, shown.special, strict=True) if s], dtype=np.int64)
    is_allowed = ~np.isin(candidates, special) & (candidates != ids[:, None])
    pool = np.empty((len(ids), n), dtype=np.int64)
    for position, (row, allowed) in enumerate(zip(candidates, is_allowed, strict=True)):
        pool[position] = np.resize(row[allowed] if allowed.any() else row, n)
    return pool
