"""Generation: greedy, beam search or sampling over the logits of the next token.

Arguments have the names and meanings of transformers' ``generate``; the model's own
``generation_config.json`` gives their defaults. What is not done here is refused by name. A text gets the
same output alone and in a batch, sampled or not.
Axes: B texts, V vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.data.batch import EncodedText, as_ids
from inseq_core.errors import (
    InvalidArgumentError,
    MeaningWarning,
    TextTooLongError,
    invalid,
    listed,
    unknown_argument,
)
from inseq_onnx.beams import Beams
from inseq_onnx.scores import Shaping, log_softmax

if TYPE_CHECKING:
    from inseq_onnx.adapter import OnnxAdapter

NEW_TOKENS = {False: 32, True: 128}
"""New tokens at most where nobody says: of a decoder-only (False), an encoder–decoder model (True)."""


def _whole(least: int) -> Any:
    def check(instance: Any, attribute: Any, value: Any) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise invalid(attribute.name, value, f"a whole number, at least {least}")

    return check


def _number(least: float, most: float = float("inf"), with_least: bool = False) -> Any:
    def check(instance: Any, attribute: Any, value: Any) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not (least < value <= most or (with_least and value == least)):
            low = f"{'at least' if with_least else 'above'} {least:g}" if least > -float("inf") else "any"
            raise invalid(
                attribute.name, value, f"a number, {low}{f', at most {most:g}' if most < 1e9 else ''}"
            )

    return check


def _flag(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise invalid(attribute.name, value, "True or False")


def _stopping(instance: Any, attribute: Any, value: Any) -> None:
    if not (isinstance(value, bool) or value == "never"):
        raise invalid(attribute.name, value, "True, False or 'never'")


def _ids(value: Any) -> Any:
    """A tuple of ids, of one id or several."""
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else tuple(value or ())


def _words(value: Any) -> Any:
    return tuple(tuple(word) for word in value or ())


def _are_ids(instance: Any, attribute: Any, value: Any) -> None:
    flat = [i for word in value for i in (word if isinstance(word, tuple) else (word,))]
    if not all(isinstance(i, int) and i >= 0 for i in flat):
        raise invalid(attribute.name, value, "token ids")


@attrs.frozen(kw_only=True)
class Options:
    """How one call generates; see the README for each. Defaults are those of transformers."""

    max_new_tokens: int | None = attrs.field(default=None, validator=_whole(1))
    max_length: int | None = attrs.field(default=None, validator=_whole(1))
    min_new_tokens: int | None = attrs.field(default=None, validator=_whole(0))
    min_length: int | None = attrs.field(default=None, validator=_whole(0))
    do_sample: bool = attrs.field(default=False, validator=_flag)
    temperature: float = attrs.field(default=1.0, validator=_number(0.0))
    top_k: int = attrs.field(default=50, validator=_whole(0))
    top_p: float = attrs.field(default=1.0, validator=_number(0.0, 1.0))
    num_beams: int = attrs.field(default=1, validator=_whole(1))
    length_penalty: float = attrs.field(default=1.0, validator=_number(-float("inf")))
    early_stopping: bool | str = attrs.field(default=False, validator=_stopping)
    repetition_penalty: float = attrs.field(default=1.0, validator=_number(0.0))
    no_repeat_ngram_size: int = attrs.field(default=0, validator=_whole(0))
    bad_words_ids: tuple[tuple[int, ...], ...] = attrs.field(default=(), converter=_words, validator=_are_ids)
    suppress_tokens: tuple[int, ...] = attrs.field(default=(), converter=_ids, validator=_are_ids)
    begin_suppress_tokens: tuple[int, ...] = attrs.field(default=(), converter=_ids, validator=_are_ids)
    forced_bos_token_id: int | None = attrs.field(default=None, validator=_whole(0))
    forced_eos_token_id: tuple[int, ...] = attrs.field(default=(), converter=_ids, validator=_are_ids)
    eos_token_id: tuple[int, ...] = attrs.field(default=(), converter=_ids, validator=_are_ids)
    seed: int | None = attrs.field(default=None, validator=_whole(0))


NAMES = tuple(field.name for field in attrs.fields(Options))
_NOT_OF_MODELS = ("seed",)
_ONE_OUTPUT = "1: an input has one output; repeat it with other seeds"
_NEUTRAL: Mapping[str, Any] = {
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "remove_invalid_values": False,
    "renormalize_logits": False,
    "penalty_alpha": 0.0,
}
"""Settings of ``generation_config.json`` that change outputs and are not done here, with the values that
change nothing."""
_CHANGE_OUTPUTS = (
    *_NEUTRAL,
    "exponential_decay_length_penalty",
    "sequence_bias",
    "min_p",
    "constraints",
    "force_words_ids",
    "guidance_scale",
    "stop_strings",
    "watermarking_config",
    "dola_layers",
)


@attrs.frozen(kw_only=True, eq=False)
class Settings:
    """How a model generates where a call says nothing.

    Attributes:
        values: by the names of ``Options``.
        left_out: settings of the model that change its outputs and are not done here.
    """

    values: Mapping[str, Any] = attrs.field(factory=dict)
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, generation: Mapping[str, Any], config: Mapping[str, Any]) -> Settings:
        """From ``generation_config.json``, and ``config.json`` for models of a time when that held both.

        Raises:
            InvalidArgumentError: a value of a kind that it cannot have.
        """
        source = generation or config
        values = {
            name: source[name]
            for name in NAMES
            if source.get(name) is not None and name not in _NOT_OF_MODELS
        }
        for name in ("eos_token_id", "forced_bos_token_id", "forced_eos_token_id"):
            if name not in values and config.get(name) is not None:
                values[name] = config[name]
        if not generation and values.get("max_length") == 20:
            del values["max_length"]  # once the default of every config.json, meant by nobody
        Options(**values)
        changing = [
            name
            for name in _CHANGE_OUTPUTS
            if source.get(name) is not None and source[name] != _NEUTRAL.get(name)
        ]
        return cls(values=values, left_out=tuple(changing))

    def options(self, given: Mapping[str, Any]) -> Options:
        """With what a call says.

        Raises:
            UnknownArgumentError: an argument that is not done here.
            InvalidArgumentError: a value that it cannot have, or two that do not go together.
        """
        for name in given:
            if name == "num_return_sequences":
                if given[name] not in (None, 1):
                    raise invalid(name, given[name], _ONE_OUTPUT)
            elif name not in NAMES:
                raise unknown_argument(name, "generation_args", {"generation with onnxruntime": NAMES})
        said = {name: value for name, value in given.items() if name in NAMES and value is not None}
        values = dict(self.values)
        if "max_length" in said or "max_new_tokens" in said:
            values.pop("max_length", None)
            values.pop("max_new_tokens", None)
        options = Options(**{**values, **said})
        if options.do_sample and options.num_beams > 1:
            raise InvalidArgumentError(
                f"do_sample = True and num_beams = {options.num_beams}: beams are not sampled here.\n"
                "  Use one of the two."
            )
        return options


def generate(
    adapter: OnnxAdapter, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]
) -> list[list[int]]:
    """Target ids of each text, what it began with included.

    Args:
        generation_args: see ``Options``.

    Raises:
        UnknownArgumentError, InvalidArgumentError: what is not done here, and values that cannot be.
        TextTooLongError: no room for what was asked for.
    """
    options = adapter.settings.options(generation_args)
    if adapter.settings.left_out:
        warnings.warn(
            f"The settings of {adapter.profile.name} ask for {listed(adapter.settings.left_out)} in "
            "generation, which is not done here: its outputs may be others than elsewhere.",
            MeaningWarning,
            stacklevel=4,
        )
    language = adapter.codec.language_id()
    if language is not None:
        options = attrs.evolve(options, forced_bos_token_id=language)
    ends = [_end(adapter, text, options) for text in texts]
    search = _beams if options.num_beams > 1 else _one_by_one
    return search(adapter, texts, ends, options)


def _end(adapter: OnnxAdapter, text: EncodedText, options: Options) -> int:
    """Target positions that a text may have in the end.

    Raises:
        TextTooLongError: more than the model has.
        InvalidArgumentError: ``max_length`` that the text has reached already.
    """
    begun, limit, name = len(text.target_ids), adapter.profile.max_target, adapter.profile.name
    if limit is not None and begun >= limit:
        raise TextTooLongError(
            f"{begun} tokens leave no room to write: {name} has {limit} positions.\n  Shorten the text."
        )
    if options.max_new_tokens is not None:
        end = begun + options.max_new_tokens
    elif options.max_length is not None:
        end = options.max_length
        if end <= begun:
            raise InvalidArgumentError(
                f"max_length = {end}, and the text has {begun} tokens before anything is generated.\n"
                "  Use max_new_tokens."
            )
    else:
        end = begun + NEW_TOKENS[adapter.is_encoder_decoder]
        return end if limit is None else min(end, limit)
    if limit is not None and end > limit:
        if "max_new_tokens" in adapter.settings.values or "max_length" in adapter.settings.values:
            is_own = options.max_new_tokens == adapter.settings.values.get("max_new_tokens")
            if is_own and options.max_length == adapter.settings.values.get("max_length"):
                return limit  # the model's own habit, not the call's wish
        raise TextTooLongError(
            f"{begun} tokens and {end - begun} new ones make {end}: {name} has {limit} positions.\n"
            f"  Generate at most {limit - begun}, or shorten the text."
        )
    return end


def _shaping(options: Options, text: EncodedText, end: int) -> Shaping:
    begun = len(text.target_ids)
    least = max(options.min_length or 0, begun + (options.min_new_tokens or 0))
    return Shaping(options=options, begun=begun, least=least, end=end)


def _grown(text: EncodedText, ids: Sequence[int]) -> EncodedText:
    return attrs.evolve(text, target_ids=as_ids(ids), target_kept=None)


def _one_by_one(
    adapter: OnnxAdapter, texts: Sequence[EncodedText], ends: Sequence[int], options: Options
) -> list[list[int]]:
    """The most likely token each time, or a drawn one; texts that are finished leave the batch."""
    written = [text.target_ids.tolist() for text in texts]
    shapings = [_shaping(options, text, end) for text, end in zip(texts, ends, strict=True)]
    draws = [np.random.default_rng(options.seed) for _ in texts]
    waiting = list(range(len(texts)))
    while waiting:
        logits = adapter.next_logits([_grown(texts[i], written[i]) for i in waiting])
        for i, row in zip(tuple(waiting), logits, strict=True):
            scores = shapings[i].shaped(row, written[i])
            if options.do_sample:
                token = int(draws[i].choice(len(scores), p=shapings[i].probabilities(scores)))
            else:
                token = int(scores.argmax())
            written[i].append(token)
            if token in options.eos_token_id or len(written[i]) >= ends[i]:
                waiting.remove(i)
    return written


def _beams(
    adapter: OnnxAdapter, texts: Sequence[EncodedText], ends: Sequence[int], options: Options
) -> list[list[int]]:
    """The best of the outputs that beam search ends with; the running beams of all texts in one batch."""
    shapings = [_shaping(options, text, end) for text, end in zip(texts, ends, strict=True)]
    searches = [
        Beams(begun=tuple(text.target_ids.tolist()), end=end, options=options)
        for text, end in zip(texts, ends, strict=True)
    ]
    while any(search.goes_on for search in searches):
        waiting = [(i, ids) for i, search in enumerate(searches) if search.goes_on for ids in search.running]
        logits = adapter.next_logits([_grown(texts[i], ids) for i, ids in waiting])
        scores = log_softmax(logits)
        for i, search in enumerate(searches):
            rows = [k for k, (owner, _) in enumerate(waiting) if owner == i]
            if rows:
                search.step(np.stack([shapings[i].shaped(scores[k], waiting[k][1]) for k in rows]))
    return [list(search.best) for search in searches]
