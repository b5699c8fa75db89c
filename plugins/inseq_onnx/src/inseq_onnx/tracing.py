"""The torch side of an export: loading, tracing, and the logits to compare with. Imported for nothing else.

Attention is eager, nothing is cached, every token has the position it stands at, and the output head sees the
wanted rows
only: a hook in front of it takes them out of the hidden states while the model is traced.
Axes: B sequences, S source positions, L target positions, R rows, D hidden, V vocabulary.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inseq_core.errors import InseqError, ModelLoadError

# -- loading ---------------------------------------------------------------------------------------


def read_model(model: Any, options: dict[str, Any]) -> Any:
    """A model of transformers in float32, with eager attention, ready to be traced.

    Raises:
        ModelLoadError: it cannot be read, or does not generate.
    """
    import transformers as hf

    shared = {name: options[name] for name in ("revision", "token", "trust_remote_code") if name in options}
    options = {"dtype": torch.float32, "attn_implementation": "eager", **options}
    try:
        config = hf.AutoConfig.from_pretrained(model, **shared)
        family = hf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else hf.AutoModelForCausalLM
        loaded, report = family.from_pretrained(model, output_loading_info=True, **options)
    except InseqError:
        raise
    except Exception as error:  # whatever transformers and its hub client raise
        raise ModelLoadError(f"{str(model)!r} cannot be loaded for export: {_first_line(error)}") from error
    if report.get("missing_keys"):
        raise ModelLoadError(
            f"{str(model)!r} holds no weights for {sorted(report['missing_keys'])[0]} of "
            f"{type(loaded).__name__}: they would be random."
        )
    if loaded.get_output_embeddings() is None:
        raise ModelLoadError(f"{type(loaded).__name__} has no output head, so it gives no logits.")
    return loaded.eval()


def read_tokenizer(location: Any, options: dict[str, Any]) -> Any:
    """Its tokenizer.

    Raises:
        ModelLoadError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(location, **options)
    except Exception as error:  # as above
        raise ModelLoadError(
            f"{str(location)!r} has no tokenizer that can be loaded: {_first_line(error)}\n"
            "  Name one: --tokenizer FOLDER."
        ) from error


def positions(model: Any) -> dict[str, int | None]:
    """Positions of encoder and decoder; None where there is no limit."""

    def limit(config: Any, part: str) -> int | None:
        if getattr(config, "alibi", False):
            return None
        names = (f"max_{part}_position_embeddings", "max_position_embeddings")
        found = next((getattr(config, name) for name in names if hasattr(config, name)), None)
        return found if isinstance(found, int) and found > 0 else None

    if not model.config.is_encoder_decoder:
        return {"encoder": None, "decoder": limit(model.config.get_text_config(), "decoder")}
    return {
        "encoder": limit(model.get_encoder().config, "encoder"),
        "decoder": limit(model.get_decoder().config, "decoder"),
    }


def starts_with_last_label(model: Any, tokenizer: Any) -> bool:
    """Whether the decoder starts with what the tokenizer writes last: its start token follows from the labels
    (mBART)."""
    if not model.config.is_encoder_decoder:
        return False
    parameters = inspect.signature(model.forward).parameters
    makes = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if makes is None or "labels" not in parameters:
        return False
    labels = torch.tensor([list(tokenizer(text_target="x")["input_ids"])])
    if labels.shape[1] < 3:
        return False
    start = int(makes(labels=labels)[0, 0])
    return start == int(labels[0, -1]) and start != model.config.eos_token_id


# -- graphs ----------------------------------------------------------------------------------------


class _Encoder(nn.Module):
    """Ids and mask -> (B, S, D) states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True
        ).last_hidden_state
        return states


class _DecoderOnly(nn.Module):
    """Ids, mask and rows -> (R, V) logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.takes = frozenset(inspect.signature(model.forward).parameters)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, rows: Tensor) -> Tensor:
        options = _uncached(self.takes)
        if "position_ids" in self.takes:
            places = torch.arange(input_ids.shape[1], device=input_ids.device)
            options["position_ids"] = places[None].expand(input_ids.shape[0], -1)
        with _head_on(self.model, rows):
            output = self.model(
                input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **options
            )
        logits: Tensor = output.logits[0]
        return logits


class _Decoder(nn.Module):
    """Target ids and mask, encoder states and mask, rows -> (R, V) logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.takes = frozenset(inspect.signature(model.forward).parameters)

    def forward(
        self,
        input_ids: Tensor,
        decoder_attention_mask: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        rows: Tensor,
    ) -> Tensor:
        from transformers.modeling_outputs import BaseModelOutput

        with _head_on(self.model, rows):
            output = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoder_hidden_states),
                attention_mask=encoder_attention_mask,
                decoder_input_ids=input_ids,
                decoder_attention_mask=decoder_attention_mask,
                return_dict=True,
                **_uncached(self.takes),
            )
        logits: Tensor = output.logits[0]
        return logits


def _uncached(takes: frozenset[str]) -> dict[str, Any]:
    return {"use_cache": False} if "use_cache" in takes else {}


@contextmanager
def _head_on(model: Any, rows: Tensor) -> Iterator[None]:
    """The output head sees (1, R, D) instead of (B, L, D) hidden states, inside the block."""

    def chosen(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = args[0]
        return (hidden.reshape(-1, hidden.shape[-1])[rows][None],)

    handle = model.get_output_embeddings().register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        handle.remove()


def write_graphs(model: Any, folder: Path, *, is_large: bool) -> dict[str, str]:
    """Trace the model into a folder; "graph" and "encoder" -> names of the files.

    Raises:
        ModelLoadError: the exporter cannot do it.
    """
    batch, source, length, rows = (torch.export.Dim(name) for name in ("batch", "source", "length", "rows"))
    ids = torch.arange(10).reshape(2, 5) % 7 + 1
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    wanted = (torch.tensor([0, 3, 6]), (rows,))
    if not model.config.is_encoder_decoder:
        whole = {
            "input_ids": (ids, (batch, length)),
            "attention_mask": (mask, (batch, length)),
            "rows": wanted,
        }
        _write(_DecoderOnly(model), whole, "logits", folder / "model.onnx", is_large)
        return {"graph": "model.onnx"}
    encoder = _Encoder(model)
    read = {"input_ids": (ids, (batch, source)), "attention_mask": (mask, (batch, source))}
    _write(encoder, read, "last_hidden_state", folder / "encoder_model.onnx", is_large)
    with torch.no_grad():
        states = encoder(ids, mask)
    target = ids[:, :4]
    written = {
        "input_ids": (target, (batch, length)),
        "decoder_attention_mask": (torch.ones_like(target), (batch, length)),
        "encoder_hidden_states": (states, (batch, source)),
        "encoder_attention_mask": (mask, (batch, source)),
        "rows": wanted,
    }
    _write(_Decoder(model), written, "logits", folder / "decoder_model.onnx", is_large)
    return {"graph": "decoder_model.onnx", "encoder": "encoder_model.onnx"}


def _write(
    module: nn.Module,
    inputs: Mapping[str, tuple[Tensor, tuple[Any, ...]]],
    output: str,
    path: Path,
    is_large: bool,
) -> None:
    """Trace a module; ``inputs`` are examples with the names of their free axes, first axis first."""
    try:
        with torch.no_grad(), _silent():
            torch.onnx.export(
                module.eval(),
                tuple(example for example, _ in inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=tuple(dict(enumerate(axes)) for _, axes in inputs.values()),
                dynamo=True,
                external_data=is_large,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever its passes raise
        raise ModelLoadError(
            f"torch {torch.__version__} cannot export {path.stem} of this model: {_first_line(error)}\n"
            "  Its own report is in the cause of this error (--traceback)."
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's remarks on what it did not find."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 300 else lines[0][:299] + "…"
