"""Chats in ids: the tokenizer's template, rendered once and tokenised once, and where its parts ended up.

Turns are found by rendering the beginnings of the chat; where a template does not render a beginning as it
renders the whole (it drops earlier reasoning, or insists on alternating roles), by looking for the messages'
texts.
Axes: L positions of the rendered chat.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from inseq_core.contracts.adapter import EncodedInput
from inseq_core.data.token import Segment
from inseq_core.errors import (
    CapabilityError,
    InvalidArgumentError,
    MissingPackageError,
    invalid,
    unknown_argument,
)

if TYPE_CHECKING:
    from inseq_core.text.codec import TextCodec

Message = Mapping[str, Any]

REASONING_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
"""Markers between which models write what they think before they answer."""

_OPTIONS = ("tools", "documents", "chat_template", "add_generation_prompt", "continue_final_message")
"""Arguments of a template that are not variables in it."""


@attrs.frozen(kw_only=True)
class _Span:
    """A labelled piece of the rendered text, in characters."""

    label: str
    start: int
    end: int
    kind: str


def encode_chat(
    codec: TextCodec, messages: Sequence[Message], template: Mapping[str, Any], side: str
) -> EncodedInput:
    """Messages through the tokenizer's template.

    The answer is asked for, unless the last message is the assistant's: then it is a prefilled answer to go
    on with.

    Args:
        template: arguments of the template (``tools``, ``documents``, ``chat_template``, its own variables).
        side: what the segments belong to, "target" for decoder-only models.

    Raises:
        CapabilityError: the tokenizer has no template.
        InvalidArgumentError: messages or arguments that the template does not take.
    """
    messages = [_checked(i, message) for i, message in enumerate(messages)]
    if not messages:
        raise invalid("messages", messages, "at least one message")
    _check_template(codec, template)
    is_prefilled = messages[-1]["role"] == "assistant"
    options = {"add_generation_prompt": not is_prefilled, "continue_final_message": is_prefilled, **template}
    text = _rendered(codec, messages, options)
    ids = codec.bare(text)
    spans = [*_turns(codec, messages, options, text), *_contents(messages, text), *_reasoning(text)]
    starts = codec.token_starts(text, ids)
    segments = [_in_tokens(span, starts, side) for span in spans]
    segments += _special(codec, ids, side)
    return EncodedInput(ids=ids, text=text, segments=tuple(s for s in segments if s.start < s.end))


def output_segments(codec: TextCodec, ids: Sequence[int], prompt_length: int) -> tuple[Segment, ...]:
    """Reasoning and answer in generated ids, where the model wrote markers of reasoning; else nothing.

    An end marker without its beginning closes what a template opened before the model's first token.
    """
    ids = [int(i) for i in ids][prompt_length:]
    text = codec.decode(ids, skip_special_tokens=False)
    spans = list(_reasoning(text, may_be_open=True))
    if not spans:
        return ()
    starts = [len(codec.decode(ids[:k], skip_special_tokens=False)) for k in range(len(ids))]
    last = spans[-1].end
    if last < len(text):
        spans.append(_Span(label="answer", start=last, end=len(text), kind="answer"))
    found = [_in_tokens(span, starts, "target").shifted(prompt_length) for span in spans]
    return tuple(s for s in found if s.start < s.end)


def spread(offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Where tokens begin; those that share a place (bytes of unknown letters) one after another."""
    starts: list[int] = []
    for offset, group in itertools.groupby(offsets):
        count = sum(1 for _ in group)
        starts += [offset[0] + (offset[1] - offset[0]) * k // count for k in range(count)]
    return starts


def _checked(index: int, message: Any) -> dict[str, Any]:
    """A message with a role and a text, or with tool calls.

    Raises:
        InvalidArgumentError: anything else.
    """
    example = "{'role': 'user', 'content': 'Hello'}"
    if not isinstance(message, Mapping):
        raise invalid(f"messages[{index}]", message, f"a chat message such as {example}")
    if not isinstance(message.get("role"), str) or not message["role"]:
        raise InvalidArgumentError(
            f"messages[{index}] has no role: {_shown(message)}.\n  A chat message is {example}."
        )
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise InvalidArgumentError(
            f"messages[{index}] has no content: {_shown(message)}.\n  A chat message is {example}."
        )
    if not (content is None or isinstance(content, (str, list, tuple))):
        raise invalid(f"messages[{index}]['content']", content, "a text")
    for part in content if isinstance(content, (list, tuple)) else ():
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise InvalidArgumentError(
                f"messages[{index}] has content that is no text: {_shown(part)}.\n"
                "  Parts of a message are {'type': 'text', 'text': …}."
            )
    return dict(message)


def _check_template(codec: TextCodec, template: Mapping[str, Any]) -> None:
    """There is a template, and it takes these arguments."""
    source = template.get("chat_template") or codec.chat_template()
    if not source:
        raise CapabilityError(
            f"The tokenizer of {codec.model_name} has no chat template to write messages with.\n"
            "  Pass the text itself, or load it with tokenizer_kwargs={'chat_template': …}."
        )
    own = [name for name in template if name not in _OPTIONS]
    if not own:
        return
    known = _variables(source)
    for name in own:
        if name not in known:
            raise unknown_argument(
                name, "the chat template", {f"the template of {codec.model_name}": [*_OPTIONS, *known]}
            )


def _variables(source: Any) -> list[str]:
    """Names that a Jinja template (or the several of one tokenizer) looks up."""
    import jinja2
    from jinja2 import ext, meta

    sources = source.values() if isinstance(source, Mapping) else [source]
    environment = jinja2.Environment(extensions=[ext.loopcontrols, _Generation])
    try:
        names = {name for s in sources for name in meta.find_undeclared_variables(environment.parse(s))}
    except jinja2.TemplateError as error:
        raise InvalidArgumentError(f"The chat template cannot be read: {error}.") from error
    return sorted(names - {"messages", "raise_exception", "strftime_now", "add_generation_prompt"})


def _generation_extension() -> Any:
    from jinja2 import ext, nodes

    class Generation(ext.Extension):
        """``{% generation %}`` marks the assistant's text in templates; for names it is just a block."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return Generation


_Generation = _generation_extension()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _rendered(codec: TextCodec, messages: Sequence[Message], options: Mapping[str, Any]) -> str:
    try:
        return codec.render_chat(messages, options)
    except ImportError as error:
        raise MissingPackageError(f"Chat templates need Jinja2: {error}.\n  pip install jinja2") from error
    except Exception as error:  # templates raise their own exceptions on chats that they do not take
        roles = ", ".join(str(message["role"]) for message in messages)
        raise InvalidArgumentError(
            f"The chat template of {codec.model_name} refuses these messages: {error!s}.\n"
            f"  Their roles are: {roles}."
        ) from error


def _turns(
    codec: TextCodec, messages: Sequence[Message], options: Mapping[str, Any], text: str
) -> Iterator[_Span]:
    """One span a message, from the end of the one before; and one for the answer that is asked for."""
    plain = {**options, "add_generation_prompt": False, "continue_final_message": False}
    ends: list[int | None] = []
    for count in range(1, len(messages) + 1):
        try:
            begun = _rendered(codec, messages[:count], plain)
        except InvalidArgumentError:
            ends.append(None)
            continue
        fits = text.startswith(begun) and len(begun) > max((e for e in ends if e is not None), default=0)
        ends.append(len(begun) if fits else None)
    if ends[-1] is None and not options["add_generation_prompt"]:
        ends[-1] = len(text)
    places = _places(messages, text)
    for k, end in enumerate(ends):
        if end is None:
            ends[k] = _end_of_turn(codec, text, places, k)
    start = _end_of_preamble(codec, text, places[0])
    if start:
        yield _Span(label="system", start=0, end=start, kind="turn")
    for message, end in zip(messages, ends, strict=True):
        stop = max(end or start, start)
        yield _Span(label=str(message["role"]), start=start, end=stop, kind="turn")
        start = stop
    if options["add_generation_prompt"]:
        yield _Span(label="assistant", start=start, end=len(text), kind="turn")


def _end_of_turn(codec: TextCodec, text: str, places: Sequence[tuple[int, int]], index: int) -> int:
    """Where a turn ends that could not be rendered alone: behind the first special token after its text."""
    after = places[index][1]
    following = min((start for start, _ in places[index + 1 :] if start >= after), default=len(text))
    found = [(text.find(mark, after, following), mark) for mark in _special_texts(codec)]
    ends = [start + len(mark) for start, mark in found if start >= 0]
    return _behind_space(text, min(ends, default=after), following)


def _end_of_preamble(codec: TextCodec, text: str, first: tuple[int, int]) -> int:
    """Where the first message's turn begins: behind what a template says before it (a system prompt, tools).

    Such a text is closed by the special token that also closes the first message.
    """
    rest = text[first[1] :].lstrip()
    closing = next((mark for mark in _special_texts(codec) if rest.startswith(mark)), None)
    last = text.rfind(closing, 0, first[0]) if closing else -1
    return _behind_space(text, last + len(closing), first[0]) if closing and last >= 0 else 0


def _special_texts(codec: TextCodec) -> list[str]:
    """Texts of special tokens, longest first."""
    pieces = [piece for i in codec.pieces.special_ids for piece in codec.pieces.written([i])]
    return sorted((piece for piece in pieces if isinstance(piece, str) and piece), key=len, reverse=True)


def _behind_space(text: str, start: int, stop: int) -> int:
    while start < stop and text[start].isspace():
        start += 1
    return start


def _places(messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
    """Where each message's text stands, searched in order; an empty place where it is not found.

    Templates trim texts, and leave reasoning out of earlier answers.
    """
    found, cursor = [], 0
    for message in messages:
        content = _text_of(message)
        answer = content
        for _, closing in REASONING_MARKS:
            answer = answer.rpartition(closing)[2]
        for wanted in (content, content.strip(), answer.strip()):
            start = text.find(wanted, cursor) if wanted else -1
            if start >= 0:
                found.append((start, start + len(wanted)))
                cursor = start + len(wanted)
                break
        else:
            found.append((cursor, cursor))
    return found


def _contents(messages: Sequence[Message], text: str) -> Iterator[_Span]:
    for message, (start, end) in zip(messages, _places(messages, text), strict=True):
        yield _Span(label=str(message["role"]), start=start, end=end, kind="content")


def _text_of(message: Message) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _reasoning(text: str, may_be_open: bool = False) -> Iterator[_Span]:
    """Spans between markers of reasoning, markers included."""
    for opening, closing in REASONING_MARKS:
        position = 0
        while True:
            start, end = text.find(opening, position), text.find(closing, position)
            if (start < 0 and end < 0) or (start < 0 and not (may_be_open and position == 0)):
                break
            if (
                may_be_open
                and position == 0
                and end >= 0
                and (start < 0 or end < start)
                and closing.startswith("</")
            ):
                start = 0
            if start < 0:
                break
            end = text.find(closing, start)
            stop = len(text) if end < 0 else end + len(closing)
            if end < 0 and not may_be_open:
                break
            yield _Span(label="reasoning", start=start, end=stop, kind="reasoning")
            position = stop


def _special(codec: TextCodec, ids: Sequence[int], side: str) -> list[Segment]:
    """Runs of special tokens."""
    shown, found, start = codec.token_texts(ids, side), [], None
    for k, is_special in enumerate((*shown.special, False)):
        if is_special and start is None:
            start = k
        elif not is_special and start is not None:
            label = "".join(shown.tokens[start:k])
            found.append(Segment(label=label, start=start, end=k, kind="special", side=side))
            start = None
    return found


def _in_tokens(span: _Span, starts: Sequence[int], side: str) -> Segment:
    """The tokens that begin inside a span."""
    first, last = bisect.bisect_left(starts, span.start), bisect.bisect_left(starts, span.end)
    return Segment(label=span.label, start=first, end=last, kind=span.kind, side=side)
