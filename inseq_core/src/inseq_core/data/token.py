"""Tokens as results show them: the piece of text, and its id."""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen(eq=False)
class TokenWithId:
    """A token and its vocabulary id; equals its string, or another token with the same string and id.

    Attributes:
        token: readable text of the piece (``" world"``'s byte-level mark kept as the tokenizer writes it:
            ``"Ġworld"``).
        id: vocabulary id; -1 where there is none (a merged span, a contrast label).
    """

    token: str
    id: int = -1

    def __str__(self) -> str:
        return self.token

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.token == other
        if isinstance(other, TokenWithId):
            return self.token == other.token and self.id == other.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.token)


@attrs.frozen(kw_only=True)
class Segment:
    """A labelled span of positions: a chat turn, a sentence, a feature.

    Attributes:
        label: what to call it ("user", "the first paragraph").
        start, end: positions, end exclusive.
        kind: "turn", "role", "special", "reasoning", "sentence", "feature" …
        side: "source" or "target".
    """

    label: str
    start: int
    end: int
    kind: str = "segment"
    side: str = "target"

    def shifted(self, by: int) -> Segment:
        return attrs.evolve(self, start=self.start + by, end=self.end + by)


class TokenSequence(tuple[TokenWithId, ...]):
    """The tokens of one text: a tuple that also equals a list of the same tokens or strings."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (tuple, list)):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return tuple.__hash__(self)


def as_tokens(values: Iterable[TokenWithId | str]) -> TokenSequence:
    """Tokens of given tokens or strings; a string has id -1."""
    return TokenSequence(v if isinstance(v, TokenWithId) else TokenWithId(v) for v in values)
