"""Baselines: the absent input of path and removal methods, as embeddings.

Start tokens are kept, and EOS unless the call says otherwise: a baseline says "no content", not "no text".
Axes: B sequences, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from inseq_core.data.batch import TokenBatch
from inseq_core.errors import InvalidArgumentError, invalid
from inseq_core.torch.inputs import InputTensors

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter
    from inseq_core.torch.context import TorchContext

NAMED = ("unk", "pad", "mask", "eos")
"""Baselines that are a special token of the model."""

EMBEDDED = ("zero", "mean")
"""Baselines that are no token: a zero vector, the mean of the vocabulary's embeddings."""


def baseline_embeddings(ctx: TorchContext, baseline: Any) -> InputTensors:
    """See ``TorchContext.baseline``."""
    if not isinstance(baseline, (str, int)) or isinstance(baseline, bool):
        raise invalid(
            "baseline", baseline, 'one of "unk", "pad", "mask", "eos", "zero", "mean", a token, or a text'
        )
    sides: dict[str, Tensor | None] = {}
    for side in ("source", "target"):
        own = getattr(ctx.inputs, side)
        sides[side] = None if own is None else _side(ctx, own, side, baseline)
    return InputTensors(source=sides["source"], target=sides["target"], rows=ctx.rows)


def embedded(adapter: TorchAdapter, own: Tensor, side: str, baseline: str) -> Tensor:
    """(B, L, D) of zeros, or of the mean of the vocabulary's embeddings."""
    absent = torch.zeros_like(own)
    if baseline == "mean":
        matrix = adapter.embedding_matrix(side)
        wide = matrix if matrix.dtype == torch.float64 else matrix.float()
        absent = absent + wide.mean(dim=0).to(own.dtype)
    return absent


def blanked(adapter: TorchAdapter, batch: TokenBatch, side: str, offset: int = 0) -> Tensor | None:
    """(B, S or L - offset, D) token embeddings with others where texts are blank; None where no text is."""
    blanks = batch.blanks(side)
    if blanks is None or not blanks[:, offset:].any():
        return None
    own = adapter.batch_embeddings(batch, side)[:, offset:]
    (blank_with,) = {
        text.blank_with
        for text in batch.texts
        if text.source_blank is not None or text.target_blank is not None
    }
    absent = embedded(adapter, own, side, blank_with)
    return torch.where(adapter.as_array(blanks[:, offset:])[:, :, None], absent, own)


def _side(ctx: TorchContext, own: Tensor, side: str, baseline: str | int) -> Tensor:
    adapter, batch = ctx.adapter, ctx.batch
    ids = batch.source_ids if side == "source" else batch.target_ids
    kept = np.stack(
        [adapter.kept_in_baseline(row, side, ctx.request.include_eos_baseline) for row in ids]
    )  # (B, S or L)
    if isinstance(baseline, str) and baseline in EMBEDDED:
        absent = embedded(adapter, own, side, baseline)
    else:
        absent = adapter.embed(adapter.as_array(_baseline_ids(ctx, ids, side, baseline)), side)
    return torch.where(adapter.as_array(kept)[:, :, None], own, absent)


def _baseline_ids(ctx: TorchContext, ids: np.ndarray, side: str, baseline: str | int) -> np.ndarray:
    adapter = ctx.adapter
    try:
        return np.full_like(ids, adapter.baseline_ids(baseline, side))
    except InvalidArgumentError:
        if not isinstance(baseline, str) or baseline in NAMED:
            raise
        if side == "target" and ctx.batch.has_source:
            # a baseline text speaks of the source; the prefix is just absent
            return np.full_like(ids, adapter.baseline_ids("unk", side))
        text_ids = np.asarray(adapter.encode_input(baseline).ids, dtype=np.int64)
    rows = np.full_like(ids, adapter.baseline_ids("unk", side))
    for b, text in enumerate(ctx.request.full_texts or ctx.batch.texts):
        on_source = side == "source" and text.source_ids is not None
        whole = len(text.source_ids if on_source and text.source_ids is not None else text.target_ids)
        given = whole if on_source else text.prompt_length
        if len(text_ids) not in (given, whole):
            raise InvalidArgumentError(
                f"baseline = {baseline!r} has {len(text_ids)} tokens, the input has {given}: a baseline text "
                "needs one token for each of the input's."
            )
        width = min(ids.shape[1], len(text_ids))  # what was generated after a baseline prompt is just absent
        rows[b, :width] = text_ids[:width]
    return rows
