"""The texts of a call in ids: with the context, and the same output without it.

Both have the very same tokens of the current output: only what stands before them differs. So the output is
tokenised once, with its context, and its ids are put behind what there is without context.
Axes: S source positions, L target positions, K tokens of the current output.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import attrs

from inseq_core.contracts.adapter import EncodedInput, ModelAdapter
from inseq_core.data.batch import EncodedText, as_ids
from inseq_core.errors import InvalidArgumentError, MeaningWarning
from inseq_core.pecore.outputs import Output
from inseq_core.pecore.request import ContextRequest
from inseq_core.pecore.templates import FilledText, Span, Template, joined
from inseq_core.run.cutting import PlacedTokens, placed_as_written

_LOOK_BACK = 6


@attrs.frozen(kw_only=True)
class TokenSpan:
    """Some tokens of a text.

    Attributes:
        side: "source" or "target".
        positions: where they stand.
        tokens: their pieces.
    """

    side: str
    positions: tuple[int, ...]
    tokens: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False)
class ContextTexts:
    """A call's texts.

    Attributes:
        input_text, output_text: with context, as ``attribute`` is given them.
        with_context: the same in ids.
        input_context, output_context: their tokens; None where there is no such context.
        current: (K,) tokens of the current output.
        start_without: target ids before the current output, without context.
        source_without: the input without context as a source; None for decoder-only models.
        source_ids_without: the same in ids.
    """

    input_text: str
    output_text: str
    with_context: EncodedText
    input_context: TokenSpan | None
    output_context: TokenSpan | None
    current: TokenSpan
    start_without: tuple[int, ...]
    source_without: str | None
    source_ids_without: tuple[int, ...] | None

    @property
    def current_ids(self) -> list[int]:
        """Ids from the first token of the current output to its last, special ones between them included."""
        first, last = self.current.positions[0], self.current.positions[-1]
        return list(self.with_context.target_ids[first : last + 1].tolist())

    def place_without(self, position: int) -> int:
        """Where the current output's token at a target position stands without context."""
        return len(self.start_without) + position - self.current.positions[0]

    def without_context(self) -> EncodedText:
        """The current output without context."""
        return EncodedText(
            target_ids=as_ids([*self.start_without, *self.current_ids]),
            source_ids=self.source_ids_without,
            prompt_length=len(self.start_without),
        )


def context_texts(
    adapter: ModelAdapter, request: ContextRequest, filled: FilledText, output: Output
) -> ContextTexts:
    """Input and output with and without context, in ids.

    Args:
        filled: the input with its context.

    Raises:
        InvalidArgumentError: a context or a current output without tokens.
    """
    _check_kept(adapter, request.special_tokens_to_keep)
    template = request.output_template
    if output.context is None:
        template = template.without_context()
    written = template.fill(output.current, output.context)
    given = adapter.encode_input(filled.text)
    whole = written.text
    if not adapter.is_encoder_decoder:
        whole = joined(filled.text, written.text, request.decoder_input_output_separator)
    behind = len(whole) - len(written.text)
    ids = adapter.encode_output(whole, given).tolist()
    target = _Placed.of(adapter, ids, whole, "target")
    source = _Placed.of(adapter, given.ids, filled.text, "source") if adapter.is_encoder_decoder else target
    keep = request.special_tokens_to_keep
    current = target.span("output_current_text", _shifted(written.current, behind), keep)
    if current is None:
        raise InvalidArgumentError(f"output_current_text = {output.current!r} has no token.")
    without, start = _start_without(adapter, request, output.current, target.lead(current.positions[0]))
    return ContextTexts(
        input_text=filled.text,
        output_text=whole,
        with_context=EncodedText(
            target_ids=as_ids(ids),
            source_ids=given.ids if adapter.is_encoder_decoder else None,
            prompt_length=len(adapter.start_ids(given)),
        ),
        input_context=source.span("input_context_text", filled.context, keep),
        output_context=target.span("output_context_text", _shifted(written.context, behind), keep),
        current=current,
        start_without=tuple(start),
        source_without=request.contextless_input if adapter.is_encoder_decoder else None,
        source_ids_without=without.ids if adapter.is_encoder_decoder else None,
    )


def _start_without(
    adapter: ModelAdapter, request: ContextRequest, current: str, lead: str
) -> tuple[EncodedInput, list[int]]:
    """The input without context, and the target ids before the current output.

    Args:
        lead: space that belongs to the current output's first token, so that it is not written twice.
    """
    template: Template = request.contextless_output_current_text
    if adapter.is_encoder_decoder:
        given = adapter.encode_input(request.contextless_input)
        prefix = _without_end(template.prefix, lead)
        if prefix:
            return given, adapter.start_ids(given, prefix=prefix).tolist()
        ids = adapter.encode_output(current, given).tolist()  # its frame: start token, language code
        special = adapter.token_texts(ids, "target").special
        return given, list(itertools.takewhile(lambda i: special[ids.index(i)], ids)) or ids[:1]
    separator = request.decoder_input_output_separator
    prompt = joined(request.contextless_input, template.prefix, separator)
    given = adapter.encode_input(_without_end(prompt, lead))
    return given, adapter.start_ids(given).tolist()


def _without_end(text: str, end: str) -> str:
    return text[: len(text) - len(end)] if end and text.endswith(end) else text


def _shifted(span: Span | None, by: int) -> Span | None:
    return None if span is None else (span[0] + by, span[1] + by)


def _check_kept(adapter: ModelAdapter, kept: Sequence[str]) -> None:
    for token in kept:
        if token not in adapter.special_tokens:
            warnings.warn(
                f"special_tokens_to_keep: {token!r} is no special token of {adapter.profile.name}, so that it "
                f"is kept in any case.\n  Special tokens: {', '.join(adapter.special_tokens) or 'none'}.",
                MeaningWarning,
                stacklevel=2,
            )


@attrs.frozen(kw_only=True, eq=False)
class _Placed:
    """Ids with the characters of a text that each of them stands for."""

    adapter: ModelAdapter
    side: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, adapter: ModelAdapter, ids: Sequence[int], written: str, side: str) -> _Placed:
        shown = adapter.token_texts(ids, side)
        return cls(
            adapter=adapter,
            side=side,
            ids=tuple(ids),
            tokens=shown.tokens,
            special=shown.special,
            starts=_starts(adapter, list(ids), written, shown.special),
        )

    def span(self, name: str, span: Span | None, kept: tuple[str, ...]) -> TokenSpan | None:
        """Tokens that begin in a span of the text; special ones only if they are kept.

        Raises:
            InvalidArgumentError: no token does.
        """
        if span is None:
            return None
        positions = tuple(
            i
            for i, at in enumerate(self.starts)
            if span[0] <= at < span[1] and (not self.special[i] or self.tokens[i] in kept)
        )
        if not positions:
            raise InvalidArgumentError(
                f"{name}: no token begins in it.\n  Give a text with at least one word, set apart from its "
                f"neighbours."
            )
        return TokenSpan(side=self.side, positions=positions, tokens=tuple(self.tokens[i] for i in positions))

    def lead(self, position: int) -> str:
        """The space that a token begins with."""
        first = max(position - _LOOK_BACK, 0)
        before = self.adapter.decode(self.ids[first:position], skip_special_tokens=True)
        gained = self.adapter.decode(self.ids[first : position + 1], skip_special_tokens=True)[len(before) :]
        return gained[: len(gained) - len(gained.lstrip())]


def _starts(adapter: ModelAdapter, ids: list[int], written: str, special: Sequence[bool]) -> tuple[int, ...]:
    """(L,) where each token begins in the text as it was written.

    Special tokens around the text have no characters; those within it, which templates have, do.
    """
    end = len(ids)
    while end and special[end - 1]:
        end -= 1
    for last in (end, len(ids)):
        for first in range(min(len(ids), 4)):
            placed = PlacedTokens.of(adapter, ids[first:last], with_special=True)
            if placed.text == written:
                return (-1,) * first + placed.starts + (len(written),) * (len(ids) - last)
            if not special[first]:
                break
    return placed_as_written(adapter, ids, written).starts
