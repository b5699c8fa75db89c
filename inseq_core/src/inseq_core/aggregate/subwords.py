"""Word pieces: the pieces that a tokenizer cut a word into become one position again.

Where words begin is what the tokenizer said when the result was made. Results that do not know it (read from
elsewhere) are looked at: byte-level pieces mark a beginning with ``Ġ``, SentencePiece with ``▁``, WordPiece
marks the other pieces with ``##``, and some tokenizers mark the end of a word with ``</w>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import attrs

from inseq_core.aggregate.record import AggregatorRecord, flag, optional_function, warn_of_meaning
from inseq_core.aggregate.spans import Spans, merge_spans
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.token import TokenWithId
from inseq_core.errors import invalid

BYTE_LEVEL = ("Ġ", "Ċ", "ĉ")
SENTENCE_PIECE = ("▁",)
WORD_PIECE = "##"
END_OF_WORD = "</w>"

_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z_0-9]{2,20}\]|<\|[^<>\s]{1,40}\|>")
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def _symbols(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    symbols = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not symbols or not all(isinstance(symbol, str) and symbol for symbol in symbols):
        raise invalid("special_chars", value, "one or more symbols, such as '▁' or ('Ġ', 'Ċ')")
    return symbols


@attrs.frozen(kw_only=True, repr=False)
class SubwordAggregator(AggregatorRecord):
    """Merges word pieces (aggregator ``subwords``). Special tokens are never merged.

    Punctuation that the tokenizer attaches to a word (byte-level, SentencePiece) is part of it; ``words``
    keeps it apart.

    Attributes:
        aggregate_fn: function for attributions; default ``absmax``.
        aggregate_source, aggregate_target: which sides to merge.
        special_chars: symbols to look for instead of what the tokenizer said.
        is_suffix_symbol: a piece that begins with such a symbol continues a word (``##``); otherwise it
            begins one (``▁``).
    """

    name: ClassVar[str] = "subwords"

    aggregate_fn: Any = attrs.field(default=None, converter=optional_function)
    aggregate_source: bool = flag(True)
    aggregate_target: bool = flag(True)
    special_chars: tuple[str, ...] | None = attrs.field(default=None, converter=_symbols)
    is_suffix_symbol: bool = flag(False)

    def aggregate(self, attribution: FeatureAttributionSequenceOutput) -> FeatureAttributionSequenceOutput:
        """The attribution with each word as one position."""
        source, target = (
            self._spans(
                getattr(attribution, side),
                getattr(attribution, f"{side}_word_starts"),
                special_flags(attribution, side),
            )
            for side in ("source", "target")
        )
        return merge_spans(
            attribution,
            source if self.aggregate_source else (),
            target if self.aggregate_target else (),
            function=self.aggregate_fn,
            aggregator=self.name,
        )

    def _spans(
        self, tokens: Sequence[TokenWithId], starts: Sequence[bool] | None, special: Sequence[bool]
    ) -> Spans:
        if self.special_chars is not None:
            symbols, suffix = self.special_chars, self.is_suffix_symbol
            starts = [str(token).startswith(symbols) != suffix for token in tokens]
        return runs(word_starts(tokens, special) if starts is None else starts, special)


def special_flags(attribution: FeatureAttributionSequenceOutput, side: str) -> tuple[bool, ...]:
    """Special tokens of a side: as the tokenizer said, else what looks like one (``</s>``, ``[SEP]``)."""
    flags: tuple[bool, ...] | None = getattr(attribution, f"{side}_special")
    if flags is not None:
        return flags
    return tuple(
        bool(_SPECIAL.fullmatch(str(token))) and not _BYTE_PIECE.fullmatch(str(token))
        for token in getattr(attribution, side)
    )


def word_starts(tokens: Sequence[TokenWithId], special: Sequence[bool]) -> list[bool]:
    """Where words begin, seen from the marks in the tokens themselves.

    Without any mark among several tokens every token counts as a word, with a warning.
    """
    texts = [str(token) for token in tokens]
    ordinary = [text for text, is_special in zip(texts, special, strict=True) if not is_special]
    begins = _convention(ordinary)
    if begins is None:
        if len(ordinary) > 1:
            warn_of_meaning(
                "Subwords cannot be found: the result does not say where words begin, and no token has a mark"
                " (Ġ ▁ ## </w>). Nothing is merged.\n"
                "  Give the symbols: special_chars=('_',), is_suffix_symbol=True if they continue words.",
            )
        return [True] * len(texts)
    return [begins(text, texts[i - 1] if i else "") for i, text in enumerate(texts)]


def _convention(texts: Sequence[str]) -> Callable[[str, str], bool] | None:
    """``begins(piece, previous piece)`` for the convention that these pieces follow."""
    if any(text.startswith(SENTENCE_PIECE) for text in texts):
        return lambda text, _: text.startswith(SENTENCE_PIECE)
    if any(text.startswith(BYTE_LEVEL) for text in texts):
        return lambda text, before: text.startswith(BYTE_LEVEL) or before.startswith(("Ċ", "ĉ"))
    if any(text.startswith(WORD_PIECE) and len(text) > 2 for text in texts):
        return lambda text, _: not (text.startswith(WORD_PIECE) and len(text) > 2)
    if any(text.endswith(END_OF_WORD) and text != END_OF_WORD for text in texts):
        return lambda _, before: before.endswith(END_OF_WORD)
    if any(text[:1].isspace() for text in texts):
        return lambda text, _: text[:1].isspace()
    return None


def runs(starts: Sequence[bool], special: Sequence[bool]) -> Spans:
    """Spans of several positions, each from a start up to the next; special positions are on their own."""
    spans: list[tuple[int, int]] = []
    begin = 0
    for i in range(1, len(starts) + 1):
        is_cut = i == len(starts) or starts[i] or special[i] or special[i - 1]
        if is_cut:
            if i - begin > 1:
                spans.append((begin, i))
            begin = i
    return tuple(spans)
