"""Decoder-only models: the prompt and what follows it are one sequence.

Texts are right-padded and every token has the position it stands at, also behind a token that attention must
not see.
Axes: B sequences, L positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inseq_core.contracts.adapter import EncodedInput
from inseq_core.data.batch import IntArray, as_ids
from inseq_core.errors import CapabilityError
from inseq_hf.adapter import ROOM_BEHIND_A_CUT, HuggingFaceAdapter
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

    def encode_input(self, text: str, *, truncate: bool = False) -> EncodedInput:
        """The prompt in ids, without an end token that a tokenizer may put behind it."""
        limit = self.profile.max_target
        room = ROOM_BEHIND_A_CUT if limit is not None and limit > 2 * ROOM_BEHIND_A_CUT else 1
        ids = self.codec.prompt_ids(text, limit=limit, truncate=truncate, room=room)
        return EncodedInput(ids=ids, text=text)

    def encode_output(self, text: str, given: EncodedInput) -> IntArray:
        """The full text in ids; it begins with the prompt's own."""
        return as_ids(self.codec.continued(given.ids, given.text, text))

    def start_ids(self, given: EncodedInput, prefix: str | None = None) -> IntArray:
        """The prompt, and what ``prefix`` (the full text again, or what follows the prompt) adds to it."""
        if not prefix:
            return as_ids(given.ids)
        text = prefix if prefix.startswith(given.text) else given.text + prefix
        return as_ids(self.codec.continued(given.ids, given.text, text))

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
