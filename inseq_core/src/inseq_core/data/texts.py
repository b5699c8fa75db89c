"""What a user gives as texts: one or many, plain or as chat messages.

A string is one text, never a list of its characters. Many are a list, or what tables and arrays have in the
place of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inseq_core.data.plain import items_of
from inseq_core.errors import InvalidArgumentError, invalid

Chat = tuple[Mapping[str, Any], ...]
InputText = str | Chat

_EXPECTED = "a text, chat messages ({'role': …, 'content': …}), or a list of them"


def as_texts(name: str, value: Any) -> tuple[str, ...]:
    """One or many plain texts.

    Raises:
        InvalidArgumentError: something else, or none.
    """
    if isinstance(value, str):
        return (_check_whole(name, value),)
    texts = items_of(value)
    if texts is None:
        raise invalid(name, value, _or_listed(value, "a text or a list of texts"))
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise invalid(f"{name}[{i}]", text, "a text")
        _check_whole(f"{name}[{i}]", text)
    if not texts:
        raise invalid(name, value, "at least one text")
    return tuple(texts)


def as_inputs(name: str, value: Any) -> tuple[InputText, ...]:
    """One or many input texts or chats.

    A list of messages is one chat; a list of lists of messages is several.

    Raises:
        InvalidArgumentError: something else, none, or a message without role or content.
    """
    if isinstance(value, str):
        return (_check_whole(name, value),)
    if isinstance(value, Mapping):
        return (_chat(name, [value]),)
    items = items_of(value)
    if items is None:
        raise invalid(name, value, _or_listed(value, _EXPECTED))
    if not items:
        raise invalid(name, value, "at least one text")
    if any(isinstance(item, Mapping) for item in items):
        return (_chat(name, items),)
    return tuple(
        _check_whole(f"{name}[{i}]", item) if isinstance(item, str) else _chat(f"{name}[{i}]", item)
        for i, item in enumerate(items)
    )


def _check_whole(name: str, text: str) -> str:
    """The text, every character of it whole.

    Raises:
        InvalidArgumentError: half of a pair of surrogates, which no tokenizer can read.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise InvalidArgumentError(
            f"{name} = {text[:80]!r} has half of a character, {half!r}, at {error.start}: it was cut, or read in "
            "another encoding.\n  text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace') mends it."
        ) from error
    return text


def _or_listed(value: Any, expected: str) -> str:
    """What is expected, and how a set or a generator becomes it."""
    is_many = isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping))
    is_table = is_many and (getattr(value, "ndim", 1) != 1 or hasattr(value, "columns"))
    return f"{expected}: list(…) makes one" if is_many and not is_table else expected


def _chat(name: str, messages: Any) -> Chat:
    given, messages = messages, items_of(messages)
    if messages is None:
        raise invalid(name, given, _EXPECTED)
    if not messages:
        raise invalid(name, messages, "at least one message")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise invalid(f"{name}[{i}]", message, _EXPECTED if not i else "a message with role and content")
        if not isinstance(message.get("role"), str):
            raise InvalidArgumentError(
                f"{name}[{i}] has no role: {_shown(message)}.\n"
                "  A chat message is {'role': 'user', 'content': 'Hello'}."
            )
        if isinstance(message.get("content"), str):
            _check_whole(f"{name}[{i}]['content']", message["content"])
        if "content" not in message and "tool_calls" not in message:
            raise InvalidArgumentError(
                f"{name}[{i}] has no content: {_shown(message)}.\n"
                "  A chat message is {'role': 'user', 'content': 'Hello'}."
            )
    return tuple(messages)


def _shown(message: Mapping[str, Any]) -> str:
    text = repr(dict(message))
    return text if len(text) <= 80 else text[:77] + "…"
