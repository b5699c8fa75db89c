"""What a user gives as texts: one or many, plain or as chat messages.

A string is one text, never a list of its characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        return (value,)
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Sequence):
        raise invalid(name, value, "a text or a list of texts")
    for i, text in enumerate(value):
        if not isinstance(text, str):
            raise invalid(f"{name}[{i}]", text, "a text")
    if not value:
        raise invalid(name, value, "at least one text")
    return tuple(value)


def as_inputs(name: str, value: Any) -> tuple[InputText, ...]:
    """One or many input texts or chats.

    A list of messages is one chat; a list of lists of messages is several.

    Raises:
        InvalidArgumentError: something else, none, or a message without role or content.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return (_chat(name, [value]),)
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise invalid(name, value, _EXPECTED)
    if not value:
        raise invalid(name, value, "at least one text")
    if any(isinstance(item, Mapping) for item in value):
        return (_chat(name, value),)
    return tuple(
        item if isinstance(item, str) else _chat(f"{name}[{i}]", item) for i, item in enumerate(value)
    )


def _chat(name: str, messages: Any) -> Chat:
    if isinstance(messages, bytes) or not isinstance(messages, Sequence):
        raise invalid(name, messages, _EXPECTED)
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
        if "content" not in message and "tool_calls" not in message:
            raise InvalidArgumentError(
                f"{name}[{i}] has no content: {_shown(message)}.\n"
                "  A chat message is {'role': 'user', 'content': 'Hello'}."
            )
    return tuple(messages)


def _shown(message: Mapping[str, Any]) -> str:
    text = repr(dict(message))
    return text if len(text) <= 80 else text[:77] + "…"
