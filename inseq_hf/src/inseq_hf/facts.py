"""Facts read off a model of transformers: positions, start token, device, versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any


def positions_of(config: Any, part: str = "") -> int | None:
    """How many positions a model has, None where it has no limit (relative positions, ALiBi, state spaces).

    Args:
        config: of the model, or of its encoder or decoder.
        part: "encoder" or "decoder", for configurations that name both.
    """
    text = config if part else _text_config(config)
    if getattr(text, "alibi", False):
        return None
    for name in (f"max_{part}_position_embeddings", "max_position_embeddings"):
        limit = getattr(text, name, None)
        if isinstance(limit, int) and limit > 0:
            return limit
    return None


def start_token(model: Any, tokenizer: Any) -> int | None:
    """What a target begins with when nothing is given.

    Encoder–decoder: the decoder start token. Decoder-only: BOS, or EOS where that is used for both.
    """
    settings, config = model.generation_config, model.config
    candidates: list[Any] = []
    if config.is_encoder_decoder:
        candidates += [
            getattr(settings, "decoder_start_token_id", None),
            getattr(config, "decoder_start_token_id", None),
        ]
        candidates += [getattr(settings, "bos_token_id", None), getattr(config, "bos_token_id", None)]
    candidates += [tokenizer.bos_token_id, getattr(tokenizer, "cls_token_id", None)]
    candidates += [getattr(settings, "bos_token_id", None), getattr(config, "bos_token_id", None)]
    candidates += [tokenizer.eos_token_id, getattr(settings, "eos_token_id", None)]
    for candidate in candidates:
        first = candidate[0] if isinstance(candidate, (list, tuple)) and candidate else candidate
        if isinstance(first, int):
            return first
    return None


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def device_name(model: Any) -> str:
    """Where the model takes its inputs."""
    return str(next(model.parameters()).device)


def versions() -> Mapping[str, str]:
    """Versions of the libraries that make the numbers."""
    return {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "torch")}
