"""Removing features: versions of a text without some of its parts, and every step's score for each of them.

Versions are texts in ids again, so that any adapter can score them. Ways that need more than ids (masking attention,
replacing embeddings) are marked on the text and declared by the adapter (``ModelAdapter.removals``).
Axes: P versions, F features, R rows, S source positions, L target positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from inseq_core.contracts.context import AttributionContext

WAYS = ("token", "mask", "delete", "zero", "mean", "sample")


@attrs.frozen(kw_only=True)
class RemovalWay:
    """How a feature is removed.

    Attributes:
        way: "token" (a baseline token in its place), "mask" (attention does not look), "delete" (positions close up),
            "zero" / "mean" (embedding replaced), "sample" (tokens drawn from the text's vocabulary distribution).
        token: for "token": "unk", "pad", "mask", "eos", or a token's text.
        spread: a feature's score is divided among its tokens instead of repeated on each.
    """

    way: str = "token"
    token: str = "unk"
    spread: bool = False


def removal_variants(ctx: AttributionContext, kept: np.ndarray) -> np.ndarray:
    """(P, F) features kept -> (P, R) scores. See ``AttributionContext.removal_scores``."""
    versions, index = np.unique(kept, axis=0, return_inverse=True)
    text, features = ctx.batch.texts[0], ctx.features
    adapter, way = ctx.adapter, ctx.request.removal
    replacement = {
        side: adapter.baseline_ids(way.token, side) for side in (("source",) if ctx.batch.has_source else ()) + ("target",)
    }
    texts = []
    for version in versions:
        target_kept = features.kept_positions(version[None], "target")[0][: len(text.target_ids)]
        changed = {"target_ids": np.where(target_kept, text.target_ids, replacement["target"])}
        if text.source_ids is not None:
            source_kept = features.kept_positions(version[None], "source")[0]
            changed["source_ids"] = np.where(source_kept, text.source_ids, replacement["source"])
        texts.append(attrs.evolve(text, **changed))
    batch = attrs.evolve(ctx.batch, texts=tuple(texts), origin=ctx.batch.origin * len(texts))
    grid = ctx.grid.repeated(len(texts), 1)
    scores = ctx.request.attributed(ctx.args(adapter.forward_rows(batch, grid), batch, grid))
    return adapter.to_numpy(scores).astype(np.float64).reshape(len(versions), ctx.n_rows)[index.reshape(-1)]
