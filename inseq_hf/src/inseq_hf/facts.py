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


def attention_layers(model: Any) -> Mapping[str, int] | None:
    """Layers with softmax attention of each kind, None where the configuration does not tell."""
    if not model.config.is_encoder_decoder:
        layers = _layers(_text_config(model.config), "")
        return None if layers is None else {"decoder": layers}
    encoder = _layers(model.get_encoder().config, "encoder")
    decoder = _layers(model.get_decoder().config, "decoder")
    return (
        None
        if encoder is None or decoder is None
        else {"encoder": encoder, "decoder": decoder, "cross": decoder}
    )


def attention_heads(model: Any) -> Mapping[str, int] | None:
    """Heads of each kind of attention, None where the configuration does not tell."""
    if not model.config.is_encoder_decoder:
        heads = _heads(_text_config(model.config), "")
        return {} if heads is None else {"decoder": heads}
    encoder = _heads(model.get_encoder().config, "encoder")
    decoder = _heads(model.get_decoder().config, "decoder")
    return (
        None
        if encoder is None or decoder is None
        else {"encoder": encoder, "decoder": decoder, "cross": decoder}
    )


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _heads(config: Any, part: str) -> int | None:
    heads = getattr(config, f"{part}_attention_heads", None) or getattr(config, "num_attention_heads", None)
    return heads if isinstance(heads, int) else None


def _layers(config: Any, part: str) -> int | None:
    """Layers of one stack: those that its configuration lists as attention, or all where it lists none."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if kinds:
        return sum(kind == "hybrid" or ("attention" in kind and "linear" not in kind) for kind in kinds)
    if _heads(config, part) is None:
        return 0
    layers = getattr(config, f"{part}_layers", None) or getattr(config, "num_hidden_layers", None)
    return layers if isinstance(layers, int) else None


def device_name(model: Any) -> str:
    """Where the model takes its inputs."""
    return str(next(model.parameters()).device)


def versions() -> Mapping[str, str]:
    """Versions of the libraries that make the numbers."""
    return {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "torch")}
