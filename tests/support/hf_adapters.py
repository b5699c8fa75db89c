"""Adapters of the tiny models, and texts in ids for them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from support.tiny_models import tiny_model

from inseq_core.data.batch import EncodedText
from inseq_hf.adapter import HuggingFaceAdapter
from inseq_hf.loading import load

PROMPTS = (
    "Hello ladies and",
    "The developer argued with the designer because her idea",
    "A dog and a cat were",
)


@functools.cache
def tiny_adapter(name: str, *, dtype: torch.dtype = torch.float32, **options: Any) -> HuggingFaceAdapter:
    """The adapter of a tiny model, made once a process."""
    model, tokenizer = tiny_model(name, dtype=dtype, **options)
    return load(model, tokenizer=tokenizer)


def begun(adapter: HuggingFaceAdapter, text: str, prefix: str | None = None) -> EncodedText:
    """An input up to where generation starts."""
    given = adapter.encode_input(text)
    start = adapter.start_ids(given, prefix)
    source = given.ids if adapter.is_encoder_decoder else None
    return EncodedText(target_ids=start, source_ids=source, prompt_length=len(start), input_text=given.text)


def forced(adapter: HuggingFaceAdapter, text: str, output: str) -> EncodedText:
    """An input and its output; ``output`` follows the input of a decoder-only model."""
    given = adapter.encode_input(text)
    source = given.ids if adapter.is_encoder_decoder else None
    target = adapter.encode_output(output if adapter.is_encoder_decoder else text + output, given)
    start = len(adapter.start_ids(given))
    return EncodedText(target_ids=target, source_ids=source, prompt_length=start, input_text=given.text)


def plain_logits(
    adapter: HuggingFaceAdapter, text: EncodedText, ids: Sequence[int] | None = None
) -> torch.Tensor:
    """(L, V) logits of one unpadded text from the model itself, called as its own documentation says."""
    target = torch.tensor([list(text.target_ids if ids is None else ids)])
    with torch.no_grad():
        if text.source_ids is None:
            return adapter.model(input_ids=target).logits[0]
        source = torch.tensor([list(text.source_ids)])
        return adapter.model(input_ids=source, decoder_input_ids=target).logits[0]
