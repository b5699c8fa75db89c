"""Templates of inputs and outputs: text with a place for the context and one for the current text.

Only ``{context}`` and ``{current}`` are places; every other brace stands for itself, so that a template may
hold JSON or code.
"""

from __future__ import annotations

import re

import attrs

from inseq_core.errors import InvalidArgumentError

CONTEXT, CURRENT = "{context}", "{current}"
_PLACES = re.compile(r"\{context\}|\{current\}")

Span = tuple[int, int]


@attrs.frozen(kw_only=True)
class FilledText:
    """A template with its texts in it.

    Attributes:
        text: the whole.
        context, current: ``[start, end)`` of the characters of each; None where the template has no place for
            it.
    """

    text: str
    context: Span | None
    current: Span | None


@attrs.frozen
class Template:
    """A text with places.

    Args:
        name: the argument it was given as, for messages.
        text: the template.
    """

    name: str
    text: str

    @classmethod
    def of(cls, name: str, text: str) -> Template:
        """A template that has one place for the current text, and at most one for a context.

        Raises:
            InvalidArgumentError: it has not.
        """
        if text.count(CURRENT) != 1:
            raise InvalidArgumentError(
                f"{name} = {text!r} has {text.count(CURRENT)} places {CURRENT}: expected one, for the current "
                f"text."
            )
        if text.count(CONTEXT) > 1:
            raise InvalidArgumentError(
                f"{name} = {text!r} has {text.count(CONTEXT)} places {CONTEXT}: expected at most one."
            )
        return cls(name, text)

    @property
    def has_context(self) -> bool:
        """Whether there is a place for a context."""
        return CONTEXT in self.text

    @property
    def prefix(self) -> str:
        """What stands before the first place."""
        return _PLACES.split(self.text)[0]

    @property
    def separator(self) -> str:
        """What stands between the two places; "" where there is one place."""
        return _PLACES.split(self.text)[1] if self.has_context else ""

    @property
    def suffix(self) -> str:
        """What stands after the last place."""
        return _PLACES.split(self.text)[-1]

    def without_context(self) -> Template:
        """The template with neither the context nor what stands between it and the current text."""
        return Template(self.name, self.prefix + CURRENT + self.suffix) if self.has_context else self

    def fill(self, current: str, context: str | None = None) -> FilledText:
        """The template with the texts in their places."""
        written, spans, last = "", {}, 0
        for match in _PLACES.finditer(self.text):
            written += self.text[last : match.start()]
            value = current if match.group() == CURRENT else (context or "")
            spans[match.group()] = (len(written), len(written) + len(value))
            written += value
            last = match.end()
        return FilledText(
            text=written + self.text[last:], context=spans.get(CONTEXT), current=spans.get(CURRENT)
        )


def joined(first: str, second: str, separator: str) -> str:
    """Both texts with the separator between them, unless one of them brings it along."""
    if separator and (first.endswith(separator) or second.startswith(separator)):
        return first + second
    return first + separator + second
