"""Generation: the model's own ``generate``, made to give the same for a text alone and in a batch.

A mask is always passed. Decoder-only prompts are left-padded, after the model has shown once that this
changes nothing; otherwise, and where targets begin with different numbers of tokens, texts of one length go
together. What comes back are the exact ids: padding that generation put behind a finished text is cut, tokens
that the model wrote are kept, whatever they equal.
Axes: B sequences, S source positions, L target positions.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.data.batch import EncodedText
from inseq_core.errors import (
    ApproximationWarning,
    InseqError,
    InvalidArgumentError,
    TextTooLongError,
    invalid,
    unknown_argument,
)

if TYPE_CHECKING:
    from inseq_hf.adapter import HuggingFaceAdapter

NEW_TOKENS = {False: 32, True: 128}
"""New tokens at most where nobody says: of a decoder-only (False), an encoder–decoder model (True)."""

_ONE_BY_ONE = (
    "stop_strings",
    "stopping_criteria",
    "max_time",
    "assistant_model",
    "prompt_lookup_num_tokens",
    "streamer",
)
"""Arguments under which texts end without an end token, or that take one text at a time."""


def generate(
    adapter: HuggingFaceAdapter, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]
) -> list[list[int]]:
    """Target ids of each text, what it began with included.

    Args:
        generation_args: arguments of transformers' ``generate``, and ``seed``: what sampling is seeded with,
            text by text, so that a text gets the same output alone and in a batch; the global generators are
            left as they were.

    Raises:
        UnknownArgumentError: an argument that ``generate`` does not take.
        InvalidArgumentError: a value that it refuses.
        TextTooLongError: no room for what was asked for.
    """
    args = dict(generation_args)
    seed = args.pop("seed", None)
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise invalid("seed", seed, "a whole number")
    _check(adapter, args)
    results: dict[int, list[int]] = {}
    one_by_one = seed is not None or any(args.get(name) is not None for name in _ONE_BY_ONE)
    rooms = [_room(adapter, len(text.target_ids), args) for text in texts]
    with torch.no_grad(), adapter.quiet(), _warnings_left_out():
        for group in _groups(adapter, texts, rooms, one_by_one):
            with _seeded(seed, adapter.device):
                ids = _run(adapter, [texts[i] for i in group], _limited(args, rooms[group[0]]))
            results.update(zip(group, ids, strict=True))
    return [results[i] for i in range(len(texts))]


def _check(adapter: HuggingFaceAdapter, args: Mapping[str, Any]) -> None:
    """Names that ``generate`` takes, and one output a text."""
    from transformers import GenerationConfig

    known = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    signature = inspect.signature(adapter.model.generate).parameters
    known |= {name for name, p in signature.items() if p.kind is not p.VAR_KEYWORD}
    known |= {"tokenizer", "assistant_tokenizer"}
    known -= {"inputs", "transformers_version"}
    forward = set(inspect.signature(adapter.model.forward).parameters)
    for name in args:
        if name not in known | forward:
            raise unknown_argument(name, "generation_args", {"generate()": sorted({*known, "seed"})})
    if args.get("num_return_sequences") not in (None, 1):
        raise invalid(
            "num_return_sequences",
            args["num_return_sequences"],
            "1: an input has one output; repeat it with other seeds",
        )
    least = {"max_new_tokens": 1, "max_length": 1, "num_beams": 1, "min_length": 0, "min_new_tokens": 0}
    for name, lowest in least.items():
        value = args.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < lowest):
            raise invalid(name, value, f"a whole number, at least {lowest}")


def _groups(
    adapter: HuggingFaceAdapter,
    texts: Sequence[EncodedText],
    rooms: Sequence[Mapping[str, Any]],
    one_by_one: bool,
) -> Iterator[list[int]]:
    """Indices of texts that are generated together: those that may write as much as each other."""
    if one_by_one:
        yield from ([i] for i in range(len(texts)))
        return
    lengths = [len(text.target_ids) for text in texts]
    together = not adapter.is_encoder_decoder and len(set(lengths)) > 1 and _left_pads_safely(adapter, texts)
    keys = [
        (0 if together and room else length, *sorted(room.items()))
        for length, room in zip(lengths, rooms, strict=True)
    ]
    for key in sorted(set(keys)):
        yield [i for i, own in enumerate(keys) if own == key]


def _left_pads_safely(adapter: HuggingFaceAdapter, texts: Sequence[EncodedText]) -> bool:
    """Whether left padding leaves a continuation as it is; tried once a model, on the shortest prompt."""
    if adapter.left_pads_safely is None:
        prompt = min((text.target_ids for text in texts), key=len)[-8:]
        options = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False, "num_beams": 1}
        scores = []
        for padding in (0, 3):
            ids = np.concatenate([np.full(padding, adapter.pad_id), prompt])[None]
            mask = (np.arange(ids.shape[1]) >= padding)[None].astype(np.int64)
            output = adapter.model.generate(
                adapter.as_array(ids),
                attention_mask=adapter.as_array(mask),
                pad_token_id=adapter.pad_id,
                output_logits=True,
                return_dict_in_generate=True,
                **options,
            )
            scores.append(torch.cat(list(output.logits)).float())
        plain, padded = scores
        unit = 2e-4 if adapter.dtype in (torch.float32, torch.float64) else 0.06
        span = float(plain.max() - plain.min())
        adapter.left_pads_safely = bool((plain - padded).abs().max() <= unit * max(span, 1e-3))
        if not adapter.left_pads_safely:
            finding = (
                "left padding changes what is generated; prompts of different lengths are continued apart"
            )
            adapter.traits.note(finding)
            warnings.warn(f"{adapter.profile.name}: {finding}.", ApproximationWarning, stacklevel=5)
    return adapter.left_pads_safely


def _run(
    adapter: HuggingFaceAdapter, texts: Sequence[EncodedText], args: Mapping[str, Any]
) -> list[list[int]]:
    """One call of the model's ``generate``."""
    begun, begun_mask = _padded([text.target_ids for text in texts], adapter.pad_id, left=True)
    options = {"pad_token_id": adapter.pad_id, **args}
    if args.get("stop_strings") is not None:
        options.setdefault("tokenizer", adapter.tokenizer)
    if adapter.is_encoder_decoder:
        source, mask = _padded([text.source_ids for text in texts], adapter.pad_id, left=False)
        options = {"decoder_start_token_id": int(begun[0, 0]), **_forced_language(adapter), **options}
        if args.get("decoder_start_token_id") is not None:
            begun[:, 0] = args["decoder_start_token_id"]
        options["decoder_input_ids"] = adapter.as_array(begun)
        inputs = {"input_ids": source, "attention_mask": mask}
    else:
        inputs = {"input_ids": begun, "attention_mask": begun_mask}
    try:
        output = adapter.model.generate(
            **{name: adapter.as_array(value) for name, value in inputs.items()}, **options
        )
    except InseqError:
        raise
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise InvalidArgumentError(
            f"generate() of {adapter.profile.model_class} refuses generation_args = {dict(args)!r}: {error}"
        ) from error
    sequences: Tensor = output if isinstance(output, Tensor) else output.sequences
    width, ends = begun.shape[1], _end_ids(adapter, args)
    rows = sequences[:, width:].tolist()
    return [
        [*text.target_ids.tolist(), *_cut(new, ends)]
        for text, new in zip(_restarted(texts, begun), rows, strict=True)
    ]


def _restarted(texts: Sequence[EncodedText], begun: np.ndarray) -> list[EncodedText]:
    """Texts with the ids that generation really began with."""
    return [
        attrs.evolve(text, target_ids=row[len(row) - len(text.target_ids) :])
        for text, row in zip(texts, begun, strict=True)
    ]


def _padded(rows: Sequence[Any], pad_id: int, *, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """(B, L) ids and mask."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        where = slice(width - len(row), None) if left else slice(0, len(row))
        ids[i, where], mask[i, where] = row, 1
    return ids, mask


def _room(adapter: HuggingFaceAdapter, length: int, args: Mapping[str, Any]) -> dict[str, int | None]:
    """How much a text of ``length`` target tokens may, and has to, write.

    In numbers of new tokens, which mean the same alone and behind padding; of two limits, framework and model
    configuration follow the one on new tokens, which would leave a ``max_length`` of the call without effect.

    Raises:
        InvalidArgumentError: ``max_length`` leaves nothing to write.
        TextTooLongError: more positions than the model has.
    """
    room: dict[str, int | None] = {}
    if args.get("min_length") is not None and args.get("min_new_tokens") is None:
        room = {"min_new_tokens": max(args["min_length"] - length, 0), "min_length": None}
    name, limit = adapter.profile.name, adapter.profile.max_target
    asked, total = args.get("max_new_tokens"), args.get("max_length")
    if asked is None and total is not None:
        if total <= length:
            raise invalid(
                "max_length", total, f"more than the {length} target tokens of the text, which it counts too"
            )
        asked = total - length
        room |= {"max_new_tokens": asked, "max_length": None}
    if asked is not None:
        if limit is not None and length + asked > limit:
            raise TextTooLongError(
                f"{length} tokens and max_new_tokens = {asked} make {length + asked}: {name} has "
                f"{limit} positions.\n  Generate at most {max(limit - length, 0)}, or shorten the text."
            )
        return room or {"max_new_tokens": asked}
    if args.get("generation_config") is not None:
        return room
    settings = adapter.model.generation_config
    own = getattr(settings, "max_new_tokens", None)
    total = getattr(settings, "max_length", None)
    if own is None and total not in (None, 20):  # before transformers 5, 20 meant that nobody had said
        own = total - length
    new = own if own is not None and own > 0 else NEW_TOKENS[adapter.is_encoder_decoder]
    if limit is not None:
        if limit <= length:
            raise TextTooLongError(
                f"{length} tokens leave no room to write: {name} has {limit} positions.\n  Shorten the text."
            )
        new = min(new, limit - length)
    return {**room, "max_new_tokens": new}


def _limited(args: Mapping[str, Any], room: Mapping[str, int | None]) -> dict[str, Any]:
    """The arguments, limits on new tokens in the place of those on all."""
    replaced = {name for name, value in room.items() if value is None}
    return {name: value for name, value in {**args, **room}.items() if name not in replaced}


def _forced_language(adapter: HuggingFaceAdapter) -> dict[str, int]:
    """The language that the tokenizer was told, as the first token that is written."""
    language = adapter.codec.language_id()
    return {} if language is None else {"forced_bos_token_id": language}


def _end_ids(adapter: HuggingFaceAdapter, args: Mapping[str, Any]) -> set[int]:
    """Tokens at which this call of ``generate`` ends a text."""
    settings = args.get("generation_config") or adapter.model.generation_config
    ends = args["eos_token_id"] if "eos_token_id" in args else getattr(settings, "eos_token_id", None)
    if ends is None:
        return set()
    if isinstance(ends, Tensor):
        ends = ends.reshape(-1).tolist()
    return {int(i) for i in (ends if isinstance(ends, (list, tuple, set)) else [ends])}


def _cut(new: list[int], ends: set[int]) -> list[int]:
    """Up to and with the first end token; without one everything was written by the model."""
    return next((new[: k + 1] for k, i in enumerate(new) if i in ends), new)


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """The global generators seeded inside the block, and restored."""
    if seed is None:
        yield
        return
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def _warnings_left_out() -> Iterator[None]:
    """Without the framework's advice on padding and lengths, which is followed already."""
    from transformers.utils import logging

    loggers = [logging.get_logger(f"transformers.{name}") for name in ("generation", "modeling_utils")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
