"""Loading: a hub id, a folder or a loaded model to an adapter.

What cannot work is refused before any weights are read: a missing folder, an id that nobody knows, no
network, a model without a generating head, a device that is not there. A loaded model is taken as it is.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from inseq_core.errors import InvalidArgumentError, MissingPackageError, ModelLoadError, invalid
from inseq_core.hooks import models
from inseq_hf import hub
from inseq_hf.adapter import HuggingFaceAdapter
from inseq_hf.capabilities import capabilities_of, keep_gradients
from inseq_hf.decoder_only import DecoderOnlyAdapter
from inseq_hf.encoder_decoder import EncoderDecoderAdapter
from inseq_hf.kinds import check_generates

_SHARED = (
    "revision",
    "token",
    "trust_remote_code",
    "cache_dir",
    "local_files_only",
    "subfolder",
    "gguf_file",
    "proxies",
)
"""Arguments that say where to find a model; they hold for its configuration and its tokenizer too."""


def load(
    model: Any,
    *,
    device: Any = None,
    tokenizer: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    dtype: Any = None,
) -> HuggingFaceAdapter:
    """A generating model of transformers, ready to be attributed.

    Args:
        model: a hub id, a folder, or a loaded model; the last is neither moved nor changed unless asked for.
        device: any torch device ("cpu", "cuda:0", "mps"), or "auto" to spread the model over what is there.
            By default an accelerator if there is one; a loaded model stays where it is.
        tokenizer: a tokenizer, its id or folder; the model's own by default.
        model_kwargs: arguments of the model's ``from_pretrained`` (``revision``, ``gguf_file``,
            ``attn_implementation``, ``quantization_config`` …).
        tokenizer_kwargs: arguments of the tokenizer's ``from_pretrained`` (``src_lang``, ``tgt_lang`` …).
        dtype: floating type of the weights, "auto" for the one they are stored in; float32 by default, since
            low precision costs attributions more digits than it costs predictions.

    Raises:
        ModelLoadError: no such model or tokenizer, or it cannot be read, or it does not generate text.
        InvalidArgumentError: a device or type that does not exist.
        MissingPackageError: a package that this way of loading needs.
    """
    model_kwargs = _options("model_kwargs", model_kwargs)
    tokenizer_kwargs = _options("tokenizer_kwargs", tokenizer_kwargs)
    place = None if device is None or device == "auto" else as_device(device)
    if isinstance(model, (str, os.PathLike)):
        # weights made in inference mode could never be differentiated through
        with torch.inference_mode(False):
            return _from_location(
                model, place, device == "auto", tokenizer, model_kwargs, tokenizer_kwargs, dtype
            )
    return _from_object(model, place, device == "auto", tokenizer, model_kwargs, tokenizer_kwargs, dtype)


def as_device(device: Any) -> torch.device:
    """A device that this machine has.

    Raises:
        InvalidArgumentError: one that torch does not know, or that is not there.
    """
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise invalid(
            "device", device, "a torch device such as 'cpu', 'cuda:0' or 'mps', or 'auto'"
        ) from error
    if place.type == "cpu":
        return place
    try:
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidArgumentError(
            f"device = {str(place)!r} is not available here: {_first_sentence(error)}.\n"
            f"  Available: {', '.join(_devices())}."
        ) from error
    return place


def _first_sentence(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0].rstrip(".")


def _devices() -> list[str]:
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _default_device() -> torch.device:
    return torch.device(_devices()[1] if len(_devices()) > 1 else "cpu")


def _options(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise invalid(name, value, "a dict of arguments of from_pretrained")
    return dict(value or {})


def _dtype(value: Any) -> Any:
    """A floating type of torch, or "auto"."""
    if value == "auto" or (isinstance(value, torch.dtype) and value.is_floating_point):
        return value
    found = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else None
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    raise invalid("dtype", value, "a floating type such as 'float32', 'bfloat16' or 'auto'")


def _from_location(
    location: str | os.PathLike[str],
    place: torch.device | None,
    spread: bool,
    tokenizer: Any,
    model_kwargs: dict[str, Any],
    tokenizer_kwargs: dict[str, Any],
    dtype: Any,
) -> HuggingFaceAdapter:
    import transformers as hf

    where = hub.located(location, model_kwargs)
    shared = {name: model_kwargs[name] for name in _SHARED if name in model_kwargs}
    shared.update(where.options)
    config = model_kwargs.pop("config", None) or hub.read(
        where, "configuration", lambda: hf.AutoConfig.from_pretrained(where.path, **shared)
    )
    check_generates(config, where.path)
    if tokenizer is None:
        tokenizer = _read_tokenizer(where, {**shared, **tokenizer_kwargs})
    else:
        tokenizer = _tokenizer(tokenizer, tokenizer_kwargs)
    if (spread or "device_map" in model_kwargs) and importlib.util.find_spec("accelerate") is None:
        raise MissingPackageError(
            "Spreading a model over devices needs accelerate.\n  pip install accelerate"
        )
    options = {**model_kwargs, **where.options, "config": config}
    options.update(_precision(config, model_kwargs, dtype))
    if spread:
        options["device_map"] = "auto"
    family = hf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else hf.AutoModelForCausalLM
    loaded, report = hub.read(
        where, "weights", lambda: family.from_pretrained(where.path, output_loading_info=True, **options)
    )
    _check_complete(loaded, report, where.path)
    if "device_map" not in options and not getattr(loaded, "is_quantized", False):
        loaded.to(place or _default_device())
    elif place is not None and "device_map" not in model_kwargs:
        loaded.to(place)
    return _adapter(loaded.eval(), tokenizer, where.path)


def _precision(config: Any, model_kwargs: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """float32, unless the call or a quantisation says otherwise."""
    if dtype is not None:
        return {"dtype": _dtype(dtype)}
    quantised = model_kwargs.get("quantization_config") or getattr(config, "quantization_config", None)
    for name in ("dtype", "torch_dtype"):
        if model_kwargs.get(name) is not None:
            _dtype(model_kwargs[name])
    if "dtype" in model_kwargs or "torch_dtype" in model_kwargs or quantised:
        return {}
    return {"dtype": torch.float32}


def _check_complete(model: Any, report: Mapping[str, Any], name: str) -> None:
    """Weights that the files do not hold would be random numbers."""
    missing = sorted(report.get("missing_keys") or ())
    if missing:
        shown = ", ".join(missing[:3]) + (f" … ({len(missing)} in all)" if len(missing) > 3 else "")
        raise ModelLoadError(
            f"{name!r} holds no weights for {shown} of {type(model).__name__}: they would be random, and so "
            "would what the model writes.\n"
            "  Load a model that was trained to generate text, or make it yourself and pass the object."
        )


def _tokenizer(tokenizer: Any, options: Mapping[str, Any]) -> Any:
    """The tokenizer that was given, as an object, an id or a folder."""
    if not isinstance(tokenizer, (str, os.PathLike)):
        if options:
            raise InvalidArgumentError(
                f"tokenizer_kwargs = {dict(options)!r} is for tokenizers that are loaded here; "
                f"{type(tokenizer).__name__} is loaded already.\n  Pass its id or folder instead."
            )
        return tokenizer
    if isinstance(tokenizer, str) and tokenizer in models():
        tokenizer = models().get(tokenizer).load()()
    return _read_tokenizer(hub.located(tokenizer, options, hub.TOKENIZER_FILES), options)


def _read_tokenizer(where: hub.Location, options: Mapping[str, Any]) -> Any:
    from transformers import AutoTokenizer

    advice = "Pass the tokenizer that belongs to the model: tokenizer=…"
    tokenizer = hub.read(
        where,
        "tokenizer",
        lambda: AutoTokenizer.from_pretrained(where.path, **{**options, **where.options}),
        advice=advice,
    )
    pieces = set(tokenizer.get_vocab()) - {str(token) for token in tokenizer.added_tokens_decoder.values()}
    if len(pieces) <= 1:  # transformers makes an empty tokenizer where the files are missing
        raise ModelLoadError(f"{where.path!r} has no tokenizer files.\n  {advice}")
    return tokenizer


def _from_object(
    model: Any,
    place: torch.device | None,
    spread: bool,
    tokenizer: Any,
    model_kwargs: dict[str, Any],
    tokenizer_kwargs: dict[str, Any],
    dtype: Any,
) -> HuggingFaceAdapter:
    from transformers import PreTrainedModel

    model = getattr(
        model, "_orig_mod", model
    )  # torch.compile(model) wraps it; the engine runs what is inside
    if hasattr(model, "get_base_model") and not isinstance(model, PreTrainedModel):
        model = model.get_base_model()  # PEFT: its layers stand inside the model that it wraps
    if not isinstance(model, PreTrainedModel):
        raise invalid("model", model, "a hub id, a folder, or a model of transformers")
    if model_kwargs or spread:
        given = "device='auto'" if spread else f"model_kwargs = {model_kwargs!r}"
        raise InvalidArgumentError(
            f"{given} is for models that are loaded here; {type(model).__name__} is loaded already.\n"
            "  Pass its id instead."
        )
    check_generates(model.config, type(model).__name__, model=model)
    if any(p.is_inference() for p in model.parameters()):
        raise ModelLoadError(
            f"This {type(model).__name__} was made in torch.inference_mode(), so that nothing can be "
            "differentiated through it.\n  Load it outside of that mode."
        )
    tokenizer = _tokenizer(_name_of(model) if tokenizer is None else tokenizer, tokenizer_kwargs)
    if dtype is not None and dtype != "auto":
        model = model.to(_dtype(dtype))
    if place is not None:
        model = model.to(place)
    return _adapter(model, tokenizer, getattr(model, "name_or_path", "") or type(model).__name__)


def _name_of(model: Any) -> str:
    """What a loaded model says it was loaded from.

    Raises:
        ModelLoadError: nothing.
    """
    name = getattr(model, "name_or_path", "") or getattr(model.config, "name_or_path", "")
    if not name:
        raise ModelLoadError(
            f"This {type(model).__name__} does not say where it is from, so its tokenizer cannot be found.\n"
            "  Pass it: load_model(model, …, tokenizer=tokenizer)."
        )
    return str(name)


def _adapter(model: Any, tokenizer: Any, name: str) -> HuggingFaceAdapter:
    if not (callable(tokenizer) and hasattr(tokenizer, "convert_ids_to_tokens")):
        raise invalid("tokenizer", tokenizer, "a tokenizer of transformers, its id or its folder")
    try:
        keep_gradients(model)
        kind = EncoderDecoderAdapter if model.config.is_encoder_decoder else DecoderOnlyAdapter
        adapter = kind(model, tokenizer, name=_short(name))
    except ImportError as error:
        raise MissingPackageError(f"{name} needs a package that is not installed: {error}") from error
    adapter.capabilities = capabilities_of(adapter)
    return adapter


def _short(name: str) -> str:
    """A folder by its own name, an id as it is."""
    return Path(name).name if os.path.isdir(name) else name
