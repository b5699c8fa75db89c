"""The proof of an export: batches of other sizes than the traced one, and the model's own logits for them.

Axes: B texts, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import SelfCheckError
from inseq_onnx.selfcheck import TOLERANCE
from inseq_onnx.tracing import positions

if TYPE_CHECKING:
    from inseq_onnx.adapter import OnnxAdapter

SHAPES = ((1, 1, 1), (1, 3, 2), (2, 6, 7), (3, 11, 13), (5, 2, 4))
"""(texts, source tokens, target tokens) of the batches that are tried; none is the one that was traced."""


def compare(model: Any, adapter: OnnxAdapter) -> float:
    """The largest difference of a logit from the model's, relative to the range of its logits.

    Raises:
        SelfCheckError: it is more than rounding.
    """
    worst = 0.0
    for batch, grid in trials(model, adapter.pad_id):
        expected = logits(model, batch, grid)
        found = adapter.to_numpy(adapter.network.rows(batch, grid))
        span = max(float(expected.max() - expected.min()), 1e-3)
        difference = float(np.abs(found - expected).max()) / span
        worst = max(worst, difference)
        if not difference <= TOLERANCE:  # NaN is none either
            raise SelfCheckError(
                f"The graphs of {type(model).__name__} give other logits than the model: off by "
                f"{difference:.2g} of their range on {len(batch)} texts of up to {batch.target_ids.shape[1]} "
                f"tokens (at most {TOLERANCE:g} is rounding).\n"
                "  The exporter of this version of torch cannot do this model; nothing was written."
            )
    return worst


def trials(model: Any, pad_id: int) -> Iterator[tuple[TokenBatch, StepGrid]]:
    """Batches of other sizes and lengths than the traced one, some texts shorter, every second with a masked
    gap; all their rows."""
    generator = np.random.default_rng(0)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    sizes = positions(model)

    def ids_and_gap(length: int, has_gap: bool) -> tuple[np.ndarray, np.ndarray]:
        kept = np.ones(max(length, 1), dtype=np.bool_)
        kept[1:2] = not has_gap
        return generator.integers(0, vocabulary, len(kept)), kept

    for n, s, t in SHAPES:
        texts = []
        for k in range(n):
            target, kept = ids_and_gap(min(t, sizes["decoder"] or t) - 2 * k, k % 2 == 1)
            text = EncodedText(target_ids=target, target_kept=kept)
            if model.config.is_encoder_decoder:
                source, seen = ids_and_gap(min(s, sizes["encoder"] or s) - k, k % 2 == 1)
                text = attrs.evolve(text, source_ids=source, source_kept=seen)
            texts.append(text)
        batch = TokenBatch.of(texts, pad_id)
        lengths = batch.target_lengths
        position = np.concatenate([np.arange(1, length + 1) for length in lengths])
        nothing = np.zeros_like(position)
        sequence = np.repeat(np.arange(n), lengths)
        yield batch, StepGrid(sequence=sequence, position=position, target_ids=nothing, step=nothing)


def logits(model: Any, batch: TokenBatch, grid: StepGrid) -> np.ndarray:
    """(R, V) logits of the model itself, one text at a time, without padding."""
    found = []
    for b, text in enumerate(batch.texts):
        ids = torch.tensor(np.array(text.target_ids))[None]
        kept = torch.tensor(np.array(text.target_kept, dtype=np.int64))[None]
        with torch.no_grad():
            if text.source_ids is None or text.source_kept is None:
                places = torch.arange(ids.shape[1])[None]
                takes = inspect.signature(model.forward).parameters
                options = {"position_ids": places} if "position_ids" in takes else {}
                output = model(input_ids=ids, attention_mask=kept, **options)
            else:
                output = model(
                    input_ids=torch.tensor(np.array(text.source_ids))[None],
                    attention_mask=torch.tensor(np.array(text.source_kept, dtype=np.int64))[None],
                    decoder_input_ids=ids,
                    decoder_attention_mask=kept,
                )
        where = grid.position[grid.sequence == b] - 1
        found.append(output.logits[0].float().numpy()[where])
    return np.concatenate(found)
