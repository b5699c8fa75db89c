"""Decoder-only models: the prompt and what follows it are one sequence.

Texts are right-padded and every token has the position it stands at, also behind a token that attention must
not see.
Axes: B sequences, L positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inseq_core.errors import CapabilityError
from inseq_hf.adapter import HuggingFaceAdapter
from inseq_hf.facts import positions_of


class DecoderOnlyAdapter(HuggingFaceAdapter):
    """GPT-2, Llama, Mamba … : any model of ``AutoModelForCausalLM``."""

    def limits(self) -> tuple[int | None, int | None]:
        """No source; as many target positions as the model has."""
        return None, positions_of(self.model.config)

    def embedding_module(self, side: str) -> nn.Module:
        """The input embeddings."""
        module: nn.Module = self.model.get_input_embeddings()
        return module

    def run_encoder(self, ids: Tensor, mask: Tensor) -> Tensor:
        """There is none."""
        raise CapabilityError(f"{self.profile.name} is a decoder-only model: it has no encoder.")

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
        """The model on ids: each token at the position it stands at, padding and gaps masked."""
        arguments = self._cache_arguments(cache, use_cache)
        if "position_ids" in self._takes:
            positions = torch.arange(mask.shape[1] - ids.shape[1], mask.shape[1], device=ids.device)
            arguments["position_ids"] = positions[None].expand(ids.shape[0], -1)
        return self.model(
            input_ids=ids, attention_mask=self._decoder_mask(mask), return_dict=True, **arguments
        )
