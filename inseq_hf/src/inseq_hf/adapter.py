"""What decoder-only and encoder–decoder models of transformers have in common.

The model is fed ids; its own forward pass does the rest. Texts are the codec's business, generation its own
module's.
Axes: B sequences, S source positions, L target positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from inseq_core.contracts.adapter import ModelProfile
from inseq_core.data.batch import EncodedText, IntArray, as_ids
from inseq_core.errors import CapabilityError, InvalidArgumentError
from inseq_core.hooks.specs import Capability
from inseq_core.text.reading import CodecAdapter
from inseq_core.torch import planner
from inseq_core.torch.adapter import TorchAdapter
from inseq_hf import generation, prefix, word_vectors
from inseq_hf.facts import attention_heads, attention_layers, device_name, start_token, versions
from inseq_hf.tokenizing import TextCodec

VISIBLE_ATTENTION = ("eager", "sdpa")
"""Attention implementations of transformers whose products are seen by the attention seam."""


class HuggingFaceAdapter(CodecAdapter, TorchAdapter):
    """A model and a tokenizer of transformers.

    Args:
        model: with a head that generates.
        tokenizer: its tokenizer.
        name: what it was loaded as.
        capabilities: what it can do.

    Attributes:
        tokenizer: the tokenizer.
        codec: text to ids and back.
        left_pads_safely: left padding leaves what is generated as it is; None until it was tried.
    """

    model: Any
    codec: TextCodec
    is_encoder_decoder = False
    lasting_hooks = ("transformers.", "accelerate.", "peft.")
    left_pads_safely: bool | None = None

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, capabilities: Iterable[Capability] = tuple(Capability)
    ) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer
        self.capabilities = frozenset(capabilities)
        vocabulary = self._rows("target")
        settings = model.generation_config
        self.codec = TextCodec(
            tokenizer=tokenizer,
            model_name=name,
            vocabulary_size=vocabulary,
            start_id=start_token(model, tokenizer),
            forced_start_id=getattr(settings, "forced_bos_token_id", None),
            is_encoder_decoder=self.is_encoder_decoder,
            source_vocabulary_size=self._rows("source"),
            starts_with_last_label=self.starts_with_last_label(),
        )
        padding = (
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
            getattr(model.config, "pad_token_id", None),
            0,
        )
        self.pad_id = int(next(i for i in padding if i is not None and i < vocabulary))
        self.special_tokens = tuple(dict.fromkeys(map(str, tokenizer.all_special_tokens)))
        max_source, max_target = self.limits()
        self.profile = ModelProfile(
            name=name,
            model_class=type(model).__name__,
            framework="hf_transformers",
            tokenizer_name=str(getattr(tokenizer, "name_or_path", "") or ""),
            tokenizer_class=type(tokenizer).__name__,
            dtype=str(self.dtype).removeprefix("torch."),
            device=device_name(model),
            vocabulary_size=vocabulary,
            max_source=max_source,
            max_target=max_target,
            versions=versions(),
        )
        self._takes = frozenset(inspect.signature(model.forward).parameters)

    def limits(self) -> tuple[int | None, int | None]:
        """Positions that the encoder and the decoder have, None where there is no limit (or no encoder)."""
        raise NotImplementedError

    def starts_with_last_label(self) -> bool:
        """Whether the decoder starts with the last token that the tokenizer writes for an output."""
        return False

    def _rows(self, side: str) -> int:
        embeddings: Any = self.embedding_module(side)
        return int(embeddings.weight.shape[0])

    # -- seams -------------------------------------------------------------------------------------

    def head_module(self) -> nn.Module | None:
        """The output embeddings, as transformers names them."""
        head: nn.Module | None = self.model.get_output_embeddings()
        return head

    def attention_layers(self) -> Mapping[str, int] | None:
        """Layers with attention of each kind, from the configuration."""
        return attention_layers(self.model)

    def attention_heads(self) -> Mapping[str, int] | None:
        """Heads of each kind of attention, from the configuration."""
        return attention_heads(self.model)

    @contextmanager
    def visible_attention(self) -> Iterator[None]:
        """Attention by torch's own functions inside the block, instead of a kernel that hides it."""
        own = getattr(self.model.config, "_attn_implementation", "eager")
        if own in VISIBLE_ATTENTION:
            yield
            return
        self.model.set_attn_implementation(
            "sdpa" if getattr(self.model, "_supports_sdpa", False) else "eager"
        )
        try:
            yield
        finally:
            self.model.set_attn_implementation(own)

    # -- numbers -----------------------------------------------------------------------------------

    def generate(self, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]) -> list[IntArray]:
        """The model's own ``generate``, with a mask always: see ``inseq_hf.generation``."""
        self.counts["generate"] += 1
        return [as_ids(ids) for ids in generation.generate(self, texts, generation_args)]

    def word_encoder(self, encoder: Any) -> Callable[[Sequence[str]], np.ndarray]:
        """What gives words their vectors: see ``inseq_hf.word_vectors``."""
        return word_vectors.word_encoder(encoder)

    def to_device(self, device: str) -> None:
        """Move the model.

        Raises:
            InvalidArgumentError: no such device.
        """
        from inseq_hf.loading import as_device

        place = as_device(device)
        places = set((getattr(self.model, "hf_device_map", None) or {}).values())
        if len(places) > 1:
            raise InvalidArgumentError(
                f"{self.profile.name} is spread over {', '.join(sorted(map(str, places)))} by its "
                f"device_map and cannot be moved to {device!r}."
            )
        self.model.to(place)
        self.memory_budget = planner.default_budget(place)
        self.profile = attrs.evolve(self.profile, device=device_name(self.model))

    def repeat_prefix(self, cache: Any, length: int, copies: int) -> Any | None:
        """The beginning of a cache of transformers: see ``inseq_hf.prefix``."""
        return prefix.repeat_prefix(cache, length, copies)

    def _cache_arguments(self, cache: Any, use_cache: bool) -> dict[str, Any]:
        """``use_cache`` and the cache, for models that take them by the usual names.

        Raises:
            CapabilityError: a prefix cache for a model that has none.
        """
        if "past_key_values" not in self._takes:
            if cache is not None or use_cache:
                raise CapabilityError(f"{self.profile.model_class} keeps no keys and values of a prefix.")
            return {"use_cache": False}
        return {"past_key_values": cache, "use_cache": use_cache}

    def _decoder_mask(self, mask: Tensor) -> Tensor:
        """(B, L) 1 where a decoder may look: gaps are 0, padding behind a text 1.

        A causal decoder never looks at what follows, so masking right padding changes no logits that anybody
        reads; it would only make rows without any key, whose softmax is NaN in some models and types.
        """
        if not self.traits.is_causal:
            return mask.to(torch.long)
        behind = mask.flip(-1).cumsum(-1).flip(-1) == 0
        return (mask | behind).to(torch.long)
