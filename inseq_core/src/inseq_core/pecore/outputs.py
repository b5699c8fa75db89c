"""The output whose context reliance is looked at: given, or generated and cut into context and current text.

The output's prefix and a given output context are forced on the model; it goes on from there. Where the
output's context has to be found in what was generated, it is what stands before the template's separator, or
as many sentences as the input context has (as in a translation).
"""

from __future__ import annotations

import itertools
import warnings

import attrs

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.memory import in_parts
from inseq_core.data.batch import EncodedText
from inseq_core.errors import InvalidArgumentError, MeaningWarning
from inseq_core.pecore.asking import ask_output_context
from inseq_core.pecore.request import ContextRequest
from inseq_core.pecore.templates import joined
from inseq_core.run.cutting import sentences


@attrs.frozen(kw_only=True)
class Output:
    """An output in its parts.

    Attributes:
        context: None where the template has no place for one, or the output has none.
        current: the text that is looked at.
    """

    context: str | None
    current: str


def find_output(adapter: ModelAdapter, request: ContextRequest, input_text: str) -> Output:
    """The output, generated where it was not given.

    Raises:
        InvalidArgumentError: the model's output is empty, does not end as the template does, or cannot be cut.
    """
    template = request.output_template
    context, current = request.output_context_text, request.output_current_text
    has_whole_context = context is not None or not template.has_context
    if has_whole_context and current is not None:
        return Output(context=context, current=current)
    begun = template.prefix if context is None else template.prefix + context + template.separator
    written = _without_suffix(generated(adapter, request, input_text, begun), template.suffix)
    if has_whole_context:
        return Output(context=context, current=_not_empty(written, after=context))
    context, rest = _cut(request, written)
    if current is None:
        return Output(context=context, current=_not_empty(rest, after=context))
    if rest != current:
        behind = "" if context is None else f" after the context {context!r}"
        warnings.warn(
            f"The model wrote {rest!r}{behind}; output_current_text = {current!r} stands in for it.",
            MeaningWarning,
            stacklevel=2,
        )
    return Output(context=context, current=current)


def generated(adapter: ModelAdapter, request: ContextRequest, input_text: str, begun: str) -> str:
    """What the model writes after the input and a forced beginning of the output."""
    prompt, prefix = input_text, begun
    if not adapter.is_encoder_decoder:
        prompt, prefix = joined(input_text, begun, request.decoder_input_output_separator), ""
    # A space at the end belongs to the next word's token, which the model is to write.
    spaces = len(prompt + prefix) - len((prompt + prefix).rstrip(" "))
    if adapter.is_encoder_decoder:
        spaces, prefix = len(prefix) - len(prefix.rstrip(" ")), prefix.rstrip(" ")
    else:
        prompt = prompt.rstrip(" ")
    given = adapter.encode_input(prompt)
    start = adapter.start_ids(given, prefix=prefix) if prefix else adapter.start_ids(given)
    text = EncodedText(
        target_ids=start,
        source_ids=given.ids if adapter.is_encoder_decoder else None,
        prompt_length=len(start),
        input_text=given.text,
    )
    parts = in_parts(adapter, [[text]], lambda part: adapter.generate(part, request.generation_kwargs))
    ids = next(iter(parts))[0].tolist()
    written = readable(adapter, ids, len(start), request.special_tokens_to_keep)
    for _ in range(spaces):
        written = written.removeprefix(" ")
    return written.lstrip() if adapter.is_encoder_decoder else written


def readable(adapter: ModelAdapter, ids: list[int], first: int, kept: tuple[str, ...]) -> str:
    """The text of ids from position ``first`` on, without special tokens but those that are kept."""
    shown = adapter.token_texts(ids, "target")
    is_shown = [not s or t in kept for t, s in zip(shown.tokens, shown.special, strict=True)]
    begun = [i for i, use in zip(ids[:first], is_shown[:first], strict=True) if use]
    whole = [*begun, *(i for i, use in zip(ids[first:], is_shown[first:], strict=True) if use)]
    before = adapter.decode(begun, skip_special_tokens=False) if begun else ""
    return adapter.decode(whole, skip_special_tokens=False)[len(before) :]


def _without_suffix(written: str, suffix: str) -> str:
    written = written.rstrip()
    if not suffix.strip():
        return written
    if not written.endswith(suffix.rstrip()):
        raise InvalidArgumentError(
            f"The model's output {written!r} does not end in {suffix!r}, as output_template does.\n"
            "  Correct the template, or give output_current_text."
        )
    return written[: len(written) - len(suffix.rstrip())]


def _not_empty(current: str, after: str | None = None) -> str:
    if current.strip():
        return current
    behind = "" if after is None else f" after the context {after!r}"
    raise InvalidArgumentError(
        f"The model wrote nothing{behind}.\n  Give output_current_text"
        + (", or the output_context_text that it is to go on from." if after is not None else ".")
    )


def _cut(request: ContextRequest, written: str) -> tuple[str | None, str]:
    """Context and current text of a generated output; no context where a person says that it has none."""
    separator = request.output_template.separator
    candidate = _candidate(request, written)
    if request.handle_output_context_strategy == "manual":
        context = ask_output_context(written, candidate)
    elif candidate is None:
        raise InvalidArgumentError(
            f"Where the context ends in the model's output {written!r} is not clear.\n"
            "  Give output_context_text, or handle_output_context_strategy='manual' to be asked."
        )
    else:
        context = candidate
    if context is None:
        _check_input_context(request)
        return None, written.strip()
    rest = written[len(context) :]
    return context, rest.removeprefix(separator).strip() if separator.strip() else rest.strip()


def _check_input_context(request: ContextRequest) -> None:
    if request.input_context_text is None:
        raise InvalidArgumentError(
            "The output has no context, and the input has none either: there is nothing to compare with.\n"
            "  Say which beginning of the output is its context, or give input_context_text."
        )


def _candidate(request: ContextRequest, written: str) -> str | None:
    separator = request.output_template.separator
    if separator.strip():
        parts = written.split(separator)
        return parts[0] if len(parts) == 2 and parts[0].strip() else None
    wanted = 1
    if request.input_context_text is not None:
        wanted = max(len(list(sentences(request.input_context_text))), 1)
    found = list(sentences(written))
    if len(found) <= wanted:
        return None
    _, end = next(itertools.islice(found, wanted - 1, None))
    return written[:end].rstrip()
