"""Loading: a folder of exported graphs, or one graph, to an adapter."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inseq_core.contracts.adapter import ModelProfile
from inseq_core.errors import InvalidArgumentError, ModelLoadError, invalid, unknown_argument
from inseq_core.text.codec import Frame
from inseq_onnx.adapter import OnnxAdapter
from inseq_onnx.generation import Settings
from inseq_onnx.graph import Graph, providers_for, runtime, session_options
from inseq_onnx.layout import Layout, read_layout
from inseq_onnx.network import EncoderAndDecoder, Network, OneGraph
from inseq_onnx.tokenizer import FileCodec, read_tokenizer

MODEL_KWARGS = ("file_name", "providers", "session_options")
_WIDTHS = ("d_model", "hidden_size", "n_embd", "dim")
_TYPE_NAMES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def load(
    model: Any,
    *,
    device: Any = None,
    tokenizer: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
) -> OnnxAdapter:
    """An exported model, ready to be attributed; neither torch nor transformers is imported.

    Args:
        model: a folder written by ``inseq export-onnx``, any folder with graphs of the documented inputs, or
            a graph.
        device: "cpu", "cuda" or "cuda:0"; by default CUDA where this onnxruntime has it.
        tokenizer: the folder of a ``tokenizer.json``, or that file; the model's own by default.
        model_kwargs: ``file_name`` of the graph in a folder of several; ``providers`` of onnxruntime, instead
            of a device; ``session_options``, attributes of its ``SessionOptions`` (``{"intra_op_num_threads":
            2}``).
        tokenizer_kwargs: entries that replace those of ``tokenizer_config.json`` (``chat_template``,
            ``eos_token`` …).

    Raises:
        ModelLoadError: no graphs, other inputs than the documented ones, damaged files, no tokenizer.
        InvalidArgumentError: a device or option that this onnxruntime does not have.
        MissingPackageError: onnxruntime or tokenizers is not installed.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise invalid("model", model, "a folder of exported graphs, or a graph (*.onnx)")
    options = _options("model_kwargs", model_kwargs, MODEL_KWARGS)
    if device is not None and "providers" in options:
        raise InvalidArgumentError(
            f"device = {device!r} and providers = {options['providers']!r} say the same twice.\n  Give one."
        )
    layout = read_layout(model, options.get("file_name"))

    def opened(place: Any) -> Network:
        own = options.get("providers")
        return _network(
            layout, providers_for(place) if own is None else own, options.get("session_options") or {}
        )

    network = opened(device)
    parts = read_tokenizer(_tokenizer_at(tokenizer, layout), _options("tokenizer_kwargs", tokenizer_kwargs))
    vocabulary = network.logits_port.fixed(-1) or layout.config.get("vocab_size")
    if not vocabulary:
        vocabulary = int(parts["tokenizer"].get_vocab_size())
    settings = Settings.of(layout.generation, layout.config)
    codec = _codec(layout, network, parts, int(vocabulary), settings, is_own_tokenizer=tokenizer is None)
    return OnnxAdapter(
        network,
        codec,
        profile=_profile(layout, network, codec, parts, int(vocabulary)),
        pad_id=_pad_id(layout, codec),
        settings=settings,
        reopen=opened,
        width=next(
            (layout.config[name] for name in _WIDTHS if isinstance(layout.config.get(name), int)), 1024
        ),
    )


def _options(name: str, value: Any, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise invalid(name, value, f"a dict{' of ' + ', '.join(known) if known else ''}")
    for key in value or {}:
        if known and key not in known:
            raise unknown_argument(str(key), name, {"inseq-onnx": known})
    return dict(value or {})


def _network(layout: Layout, providers: Any, options: Any) -> Network:
    if not isinstance(options, Mapping):
        raise invalid("session_options", options, "a dict of attributes of onnxruntime.SessionOptions")
    chosen = session_options(options)
    graph = Graph(layout.graph, providers, chosen)
    if layout.encoder is not None:
        return EncoderAndDecoder(Graph(layout.encoder, providers, chosen), graph)
    if "encoder_hidden_states" in graph.inputs:
        raise ModelLoadError(
            f"{str(layout.graph)!r} is a decoder; its encoder is not beside it (encoder_model.onnx)."
        )
    return OneGraph(graph)


def _tokenizer_at(tokenizer: Any, layout: Layout) -> Path:
    if tokenizer is None:
        return layout.folder
    if not isinstance(tokenizer, (str, os.PathLike)):
        raise invalid("tokenizer", tokenizer, "the folder of a tokenizer.json, or that file")
    return Path(tokenizer).expanduser()


def _codec(
    layout: Layout,
    network: Network,
    parts: Mapping[str, Any],
    vocabulary: int,
    settings: Settings,
    *,
    is_own_tokenizer: bool,
) -> FileCodec:
    frames = {}
    for side in ("source", "target"):
        written = layout.frame(side) if is_own_tokenizer else None
        if written is not None:
            frames[side] = Frame(before=written[0], after=written[1])
    return FileCodec(
        **parts,
        frames=frames,
        model_name=layout.name,
        vocabulary_size=vocabulary,
        start_id=_start_id(layout, network, parts["named"]),
        forced_start_id=settings.values.get("forced_bos_token_id"),
        is_encoder_decoder=network.is_encoder_decoder,
        starts_with_last_label=bool(layout.settings.get("starts_with_last_label", False)),
    )


def _start_id(layout: Layout, network: Network, named: Mapping[str, int]) -> int | None:
    """What a target begins with when nothing is given: the decoder's start token, BOS, or EOS used for
    both."""
    candidates = [layout.setting("decoder_start_token_id")] if network.is_encoder_decoder else []
    if network.is_encoder_decoder:
        candidates.append(layout.setting("bos_token_id"))
    candidates += [named.get("bos"), named.get("cls"), layout.setting("bos_token_id")]
    candidates += [named.get("eos"), layout.setting("eos_token_id")]
    for candidate in candidates:
        first = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(first, int):
            return first
    return None


def _pad_id(layout: Layout, codec: FileCodec) -> int:
    for candidate in (codec.special("pad"), codec.special("eos"), layout.setting("pad_token_id")):
        if isinstance(candidate, int) and 0 <= candidate < codec.vocabulary_size:
            return candidate
    return 0


def _profile(
    layout: Layout, network: Network, codec: FileCodec, parts: Mapping[str, Any], vocabulary: int
) -> ModelProfile:
    return ModelProfile(
        name=layout.name,
        model_class=layout.model_class,
        framework="onnx",
        tokenizer_name=layout.name,
        tokenizer_class=str(parts["config"].get("tokenizer_class") or type(parts["tokenizer"]).__name__),
        dtype=_TYPE_NAMES.get(network.logits_port.type, network.logits_port.type),
        device=network.graph.device,
        vocabulary_size=vocabulary,
        max_source=layout.positions("encoder") if network.is_encoder_decoder else None,
        max_target=layout.positions("decoder"),
        versions={
            "onnxruntime": str(runtime().__version__),  # its distribution has several names
            "tokenizers": importlib.metadata.version("tokenizers"),
        },
    )
