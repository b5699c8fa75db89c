"""What the self-check proved on a few tokens, proved again for longer texts.

Some models are others beyond some length: rotary positions that are stretched for long texts (all of their positions, the
first ones too), encoders that attend in windows and cannot bear much padding. So whatever rests on one pass for every
prefix, or on padding, is tried again on the longest text whenever it is longer than those before it.
Axes: B sequences, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.torch.selfcheck import MAX_TARGET, close, slower

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter

ROWS_COMPARED = 8
"""Rows of each prefix, its last ones, whose logits are compared."""


def serves_prefixes(adapter: TorchAdapter, batch: TokenBatch) -> bool:
    """Whether one pass over the texts of a batch serves all of their prefixes."""
    traits = adapter.traits
    proved, lengths = traits.lengths, batch.target_lengths
    longest = int(lengths.max())
    if not traits.is_causal or longest <= proved.causal_to:
        return traits.is_causal
    if proved.changes_at is not None and longest >= proved.changes_at:
        return False
    if not adapter.can_be_tried:
        return True
    if _prefixes_agree(adapter, _alone(batch, int(lengths.argmax()))):
        proved.causal_to = longest
        return True
    proved.changes_at = longest
    slower(
        adapter,
        f"with {longest} tokens the logits of a prefix are not those that it has alone; every step of texts as "
        "long is run on its own prefix",
    )
    return False


def pads_safely(adapter: TorchAdapter, batch: TokenBatch) -> bool:
    """Whether the texts of a batch may be padded to one length."""
    traits = adapter.traits
    lengths = batch.source_lengths if batch.has_source else batch.target_lengths
    longest, spread = int(lengths.max()), int(lengths.max() - lengths.min())
    if not traits.pads_safely or not serves_prefixes(adapter, batch):
        return False
    proved = traits.lengths
    is_known = longest <= proved.padded_to and spread <= proved.padded_by
    if not spread or is_known or not adapter.can_be_tried:
        return True
    pair = [int(lengths.argmin()), int(lengths.argmax())]
    if _padding_is_silent(adapter, batch, pair):
        proved.padded_to, proved.padded_by = max(longest, proved.padded_to), max(spread, proved.padded_by)
        return True
    traits.pads_safely = False
    slower(adapter, "right padding changes the logits; texts of different lengths are run apart")
    return False


def _prefixes_agree(adapter: TorchAdapter, whole: TokenBatch) -> bool:
    """Whether prefixes of doubling lengths have the logits that they have alone, at their last rows.

    Only prefixes that are longer than half of what was proved: a change at any length lies behind one of them, which is at
    least half as long.
    """
    length, cut = whole.target_ids.shape[1], MAX_TARGET
    cuts = []
    while cut < length:
        if 2 * cut > adapter.traits.lengths.causal_to:
            cuts.append(cut)
        cut *= 2
    rows = [range(max(cut - ROWS_COMPARED, 0) + 1, cut + 1) for cut in cuts]
    in_whole = _logits(adapter, whole, [r for part in rows for r in part])
    start = 0
    for cut, part in zip(cuts, rows, strict=True):
        expected = _logits(adapter, whole.truncated(cut), part)
        if not close(in_whole[start : start + len(part)], expected, adapter.dtype):
            return False
        start += len(part)
    return True


def _padding_is_silent(adapter: TorchAdapter, batch: TokenBatch, pair: Sequence[int]) -> bool:
    """Whether the first of two texts has the logits that it has alone, at its last rows."""
    alone = _alone(batch, pair[0])
    together = attrs.evolve(alone, texts=[_plain(batch.texts[i]) for i in pair], origin=(0, 1))
    length = alone.target_ids.shape[1]
    rows = range(max(length - ROWS_COMPARED, 0) + 1, length + 1)
    return close(_logits(adapter, together, rows), _logits(adapter, alone, rows), adapter.dtype)


def _alone(batch: TokenBatch, sequence: int) -> TokenBatch:
    return TokenBatch(texts=(_plain(batch.texts[sequence]),), origin=(0,), pad_id=batch.pad_id)


def _plain(text: EncodedText) -> EncodedText:
    """The text without what is masked or blanked in it."""
    return EncodedText(target_ids=text.target_ids, source_ids=text.source_ids, prompt_length=1)


def _logits(adapter: TorchAdapter, batch: TokenBatch, rows: Sequence[int]) -> Tensor:
    """(R, V) logits of prefixes of the first text, each as long as ``rows`` says."""
    n = len(rows)
    grid = StepGrid(
        sequence=np.zeros(n), position=np.asarray(rows), target_ids=np.zeros(n), step=np.arange(n)
    )
    with torch.inference_mode(False), torch.no_grad(), adapter.quiet(), adapter.uncounted():
        memory = adapter.encode_memory(batch) if batch.has_source else None
        return adapter.decode_rows(batch, grid, memory=memory).logits[:, 0]
