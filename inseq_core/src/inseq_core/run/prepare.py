"""Texts to token ids: encode, generate or force, and keep the boundary between given and generated in ids.

Generated ids are used as they come, never decoded and tokenised again.
Axes: S source positions, L target positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from inseq_core.contracts.adapter import EncodedInput, whole_chat
from inseq_core.contracts.memory import in_parts
from inseq_core.data.batch import EncodedText
from inseq_core.errors import InvalidArgumentError, TextTooLongError
from inseq_core.run.features import check_misspelt_kind
from inseq_core.run.request import AttributeRequest


def prepare(request: AttributeRequest) -> tuple[EncodedText, ...]:
    """Every text of a request in ids, its output included.

    Raises:
        ForcedTextError: a forced output of a decoder-only model that does not continue its prompt.
        TextTooLongError: more tokens than the model has positions for.
    """
    given = [request.encode(text) for text in request.input_texts]
    started = [_begin(request, i, g) for i, g in enumerate(given)]
    for text in started:
        check_misspelt_kind(request.options.features, text)
    if not request.is_forced:
        _check_room(request, started)
        started = _generate(request, started)
    else:
        for i, text in enumerate(started):
            _check_length(request, _named(started, i), text)
    return tuple(_finish(request, text) for text in started)


def _begin(request: AttributeRequest, index: int, given: EncodedInput) -> EncodedText:
    """A text up to where generation starts, or with its forced output."""
    adapter = request.adapter
    forced = None if request.generated_texts is None else request.generated_texts[index]
    start = adapter.start_ids(given)
    if forced is None:
        target = start
    elif request.options.generate_from_target_prefix:
        target = start = adapter.start_ids(given, prefix=forced)
    else:
        if not isinstance(request.input_texts[index], str) and not adapter.is_encoder_decoder:
            forced = whole_chat(adapter, given, forced)
        target = adapter.encode_output(forced, given)
    return EncodedText(
        target_ids=target,
        source_ids=given.ids if adapter.is_encoder_decoder else None,
        prompt_length=len(start),
        segments=given.segments,
        input_text=given.text,
        generated_text=forced or "",
    )


def _generate(request: AttributeRequest, texts: list[EncodedText]) -> list[EncodedText]:
    """The same texts with what the model adds, ``batch_size`` of them at a time."""
    size = request.options.batch_size or len(texts)
    parts = [texts[first : first + size] for first in range(0, len(texts), size)]
    args = request.options.generation_args
    generated = in_parts(request.adapter, parts, lambda part: request.adapter.generate(part, args))
    ids = [ids for part in generated for ids in part]
    return [attrs.evolve(text, target_ids=i) for text, i in zip(texts, ids, strict=True)]


def _finish(request: AttributeRequest, text: EncodedText) -> EncodedText:
    """Without the special tokens that are to be skipped, and with the text of what was generated."""
    adapter = request.adapter
    if request.options.skip_special_tokens:
        special = adapter.token_texts(text.target_ids.tolist(), "target").special
        last = len(special)
        while last > text.prompt_length and special[last - 1]:
            last -= 1
        text = text.truncated(last)
    text = attrs.evolve(text, segments=(*text.segments, *adapter.output_segments(text)))
    if request.is_forced:
        return text
    return attrs.evolve(text, generated_text=adapter.decode(text.target_ids.tolist()))


def _named(texts: Sequence[EncodedText], i: int) -> str:
    return f"text {i}" if len(texts) > 1 else "the text"


def _check_room(request: AttributeRequest, texts: Sequence[EncodedText]) -> None:
    """Prompts and sources that do not fit, and prompts that leave no room for what is asked for."""
    limit = request.profile.max_target
    asked = request.options.generation_args.get("max_new_tokens", 0)
    for i, text in enumerate(texts):
        name = _named(texts, i)
        _check_length(request, name, text)
        if limit is not None and isinstance(asked, int) and len(text.target_ids) + asked > limit:
            raise TextTooLongError(
                f"{name} has {len(text.target_ids)} target tokens, and max_new_tokens = {asked} would make"
                f" {len(text.target_ids) + asked}: {request.profile.name} has {limit} positions.\n"
                f"  Generate at most {max(limit - len(text.target_ids), 0)}, or shorten the text."
            )


def _check_length(request: AttributeRequest, name: str, text: EncodedText) -> None:
    profile = request.profile
    if not len(text.target_ids):
        raise InvalidArgumentError(
            f"{name} has no tokens, and {profile.name} has no start token: {text.input_text!r}.\n"
            "  Give it at least one word."
        )
    for side, ids, limit in (
        ("target", text.target_ids, profile.max_target),
        ("source", text.source_ids, profile.max_source),
    ):
        if ids is not None and limit is not None and len(ids) > limit:
            raise TextTooLongError(
                f"{name} has {len(ids)} {side} tokens: {profile.name} has {limit} positions.\n"
                "  Shorten it, or cut an input off at the end with truncation=True."
            )
