"""Attention as transformers itself gives it, text by text, and contexts to hold ours against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from support.contexts import PAIR, context_of, spans_of
from support.hf_adapters import forced, tiny_adapter
from support.tiny_models import DECODER_ONLY, ENCODER_DECODER
from torch import Tensor

from inseq_core.data.batch import EncodedText
from inseq_core.torch import TorchContext

WITH_ATTENTION = (*DECODER_ONLY, *ENCODER_DECODER)
WRITTEN_OUT_ONLY = ("gpt_neo", "gptj", "gemma2", "bloom", "mpt", "gpt_oss")
"""Models that have no other implementation of attention than matrix products and a softmax."""

IMPLEMENTATIONS = [
    (name, implementation)
    for name in WITH_ATTENTION
    for implementation in ("eager", "sdpa")
    if implementation == "eager" or name not in WRITTEN_OUT_ONLY
]
FASTEST = [(name, "eager" if name in WRITTEN_OUT_ONLY else "sdpa") for name in WITH_ATTENTION]
"""Every architecture, with the implementation that hides its weights where it has one."""

FEW = ("gpt2", "llama", "marian", "t5")
"""Learned positions, rotary with shared keys, post-norm translation, relative biases."""


def attention_context(
    name: str,
    implementation: str = "eager",
    pairs: Sequence[tuple[str, str]] = PAIR,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> TorchContext:
    """A tiny model with a given implementation of attention, on forced texts; at most six steps a text."""
    adapter = tiny_adapter(name, dtype=dtype, attention=implementation)
    texts = [forced(adapter, *pair) for pair in pairs]
    spans = [(start, min(end, start + 6)) for start, end in spans_of(texts)]
    texts = [t.truncated(end) for t, (_, end) in zip(texts, spans, strict=True)]
    return context_of(adapter, texts, spans=spans, **options)


def model_inputs(text: EncodedText, length: int | None = None) -> dict[str, Tensor]:
    """One unpadded text as the model's own documentation says, cut to ``length`` target positions."""
    target = torch.tensor(text.target_ids[:length])[None]
    if text.source_ids is None:
        return {"input_ids": target}
    return {"input_ids": torch.tensor(text.source_ids)[None], "decoder_input_ids": target}


def own_attentions(
    ctx: TorchContext, sequence: int, length: int | None = None
) -> dict[str, tuple[Tensor, ...]]:
    """Kind -> (1, H, L, K) of each layer, from the model's own ``output_attentions``; eager models only."""
    inputs = model_inputs(ctx.batch.texts[sequence], length)
    output = ctx.adapter.model(**inputs, output_attentions=True, use_cache=False)
    if "decoder_input_ids" not in inputs:
        return {"decoder": output.attentions}
    return {
        "encoder": output.encoder_attentions,
        "decoder": output.decoder_attentions,
        "cross": output.cross_attentions,
    }


def own_scores(ctx: TorchContext, row: int) -> tuple[dict[str, tuple[Tensor, ...]], Tensor]:
    """Attentions on the graph of one row's own prefix, and the probability of its token."""
    text = ctx.batch.texts[int(ctx.grid.sequence[row])]
    inputs = model_inputs(text, int(ctx.grid.position[row]))
    output = ctx.adapter.model(**inputs, output_attentions=True, use_cache=False)
    score = output.logits[0, -1].softmax(-1)[int(ctx.grid.target_ids[row])]
    if "decoder_input_ids" not in inputs:
        return {"decoder": output.attentions}, score
    return {"decoder": output.decoder_attentions, "cross": output.cross_attentions}, score


def sequence_of(ctx: TorchContext, row: int) -> int:
    """Which text a row is of."""
    return int(ctx.grid.sequence[row])


def query_of(ctx: TorchContext, row: int) -> int:
    """The position that a row is predicted from."""
    return int(ctx.grid.position[row]) - 1
