"""Encoder–decoder models: a source is read, a target is written from the decoder's start token on.

Axes: B sequences, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from inseq_hf.adapter import HuggingFaceAdapter
from inseq_hf.facts import positions_of


class EncoderDecoderAdapter(HuggingFaceAdapter):
    """T5, BART, Marian, M2M100 … : any model of ``AutoModelForSeq2SeqLM``."""

    is_encoder_decoder = True
    _encoded_as: Callable[..., Any] | None = None

    def limits(self) -> tuple[int | None, int | None]:
        """Positions of encoder and decoder."""
        source, target = self.model.get_encoder().config, self.model.get_decoder().config
        return positions_of(source, "encoder"), positions_of(target, "decoder")

    def starts_with_last_label(self) -> bool:
        """Whether the model's own shift of labels to decoder inputs puts the last one first."""
        shift = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if shift is None:
            return False
        try:
            return int(shift(labels=torch.tensor([[7, 8, 9]], device=self.device))[0, 0]) == 9
        except (TypeError, ValueError):  # without a start or padding token in the configuration
            return False

    def embedding_module(self, side: str) -> nn.Module:
        """The encoder's or the decoder's own embeddings; a module shared by both may never be called."""
        part = self.model.get_encoder() if side == "source" else self.model.get_decoder()
        module: nn.Module = part.get_input_embeddings()
        return module

    def run_encoder(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D) the encoder's last hidden states."""
        output = self.model.get_encoder()(input_ids=ids, attention_mask=mask.to(torch.long), return_dict=True)
        self._encoded_as = type(
            output
        )  # some decoders ask for more than every encoder's output has (router_logits)
        states: Tensor = output.last_hidden_state
        return states

    def run_decoder(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: Any = None,
        use_cache: bool = False,
    ) -> Any:
        """The model on decoder ids and given encoder states."""
        from transformers.modeling_outputs import BaseModelOutput

        return self.model(
            encoder_outputs=(self._encoded_as or BaseModelOutput)(last_hidden_state=memory),
            attention_mask=None if memory_mask is None else memory_mask.to(torch.long),
            decoder_input_ids=ids,
            decoder_attention_mask=self._decoder_mask(mask),
            return_dict=True,
            **self._cache_arguments(cache, use_cache),
        )
