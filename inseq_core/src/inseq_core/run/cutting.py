"""Where the characters of a text stand in its tokens, and where its sentences end.

Tokens are placed by decoding: a token's characters are what the text gains when it is decoded with it.
Axes: L positions.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence

import attrs

from inseq_core.contracts.adapter import ModelAdapter

_LOOK_BACK = 6
"""Tokens that are decoded before the ones to place, so that these are not taken for the beginning of a
text."""

_SENTENCE_END = re.compile(r"(?:(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])|\n\s*)(?=\S)")
_ABBREVIATION = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|cf|Fig|No|approx|e\.g|i\.e))\.\s*$")


@attrs.frozen(kw_only=True, eq=False)
class PlacedTokens:
    """The text of some ids, and where each token's characters are.

    Attributes:
        text: what the ids decode to.
        starts: (L,) where the first visible character of each token stands; where it would stand, for a token
            that shows nothing.
    """

    text: str
    starts: tuple[int, ...]

    @classmethod
    def of(cls, adapter: ModelAdapter, ids: Sequence[int], *, with_special: bool = False) -> PlacedTokens:
        """Place the tokens of ids; special tokens have no characters unless asked for."""

        def decode(first: int, last: int) -> str:
            return adapter.decode(ids[first:last], skip_special_tokens=not with_special)

        text = adapter.decode(ids, skip_special_tokens=not with_special)
        ends = [0]
        anchor, before = 0, 0  # a token at which the text so far is known to end in a whole character
        for last in range(1, len(ids) + 1):
            first = max(anchor - _LOOK_BACK, 0)
            so_far = decode(first, last)
            # a letter of several tokens is shown by the last of them; what never becomes one, by the last of all
            whole = so_far if last == len(ids) else so_far.rstrip("\ufffd")
            end = min(max(before + len(whole) - len(decode(first, anchor)), ends[-1]), len(text))
            ends.append(end)
            if last - anchor >= _LOOK_BACK and not so_far.endswith("\ufffd"):
                anchor, before = last, end
        starts = []
        for start, end in itertools.pairwise(ends):
            blanks = len(text[start:end]) - len(text[start:end].lstrip())
            starts.append(start + blanks if blanks < end - start else start)
        return cls(text=text, starts=tuple(starts))

    def inside(self, start: int, end: int) -> list[int]:
        """Tokens that begin in ``text[start:end]``."""
        return [i for i, at in enumerate(self.starts) if start <= at < end]

    def touched(self, start: int, end: int) -> list[int]:
        """Tokens with a character in ``text[start:end]``: also the one that begins before it and goes on in
        it."""
        ends = (*self.starts[1:], len(self.text))
        return [
            i for i, (a, b) in enumerate(zip(self.starts, ends, strict=True)) if a < end and b > max(a, start)
        ]


def placed_as_written(adapter: ModelAdapter, ids: Sequence[int], written: str) -> PlacedTokens:
    """Tokens placed in the text as it was written, where that decodes to something a little different."""
    for with_special in (False, True):
        placed = PlacedTokens.of(adapter, ids, with_special=with_special)
        if placed.text == written:
            return placed
    placed = PlacedTokens.of(adapter, ids)
    matcher = difflib.SequenceMatcher(None, placed.text.casefold(), written.casefold(), autojunk=False)
    blocks = matcher.get_matching_blocks()

    def moved(position: int) -> int:
        for block in blocks:
            if position < block.a + block.size or not block.size:
                return block.b + max(position - block.a, 0)
        return len(written)

    return PlacedTokens(text=written, starts=tuple(moved(start) for start in placed.starts))


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """``[start, end)`` of each sentence: up to a full stop and a space, or a line's end; not after an
    abbreviation."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[start : match.end()]) and "\n" not in match.group():
            continue
        yield start, match.end()
        start = match.end()
    if text[start:].strip():
        yield start, len(text)


def pieces(text: str, separator: str) -> Iterator[tuple[int, int]]:
    """``[start, end)`` of what stands between separators; a separator belongs to what it ends."""
    start = 0
    while start < len(text):
        at = text.find(separator, start)
        end = len(text) if at < 0 else at + len(separator)
        if text[start:end].replace(separator, "").strip():
            yield start, end
        start = end
