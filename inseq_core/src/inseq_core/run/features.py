"""The features of a text: what removal methods remove as a whole, and how.

A text is cut into tokens, words, sentences, segments (turns of a chat, what stands between separators, spans
of characters), or as a function says. Special tokens and the decoder's start belong to no feature, and
neither does a target position that no attributed step sees. Axes: S source positions, L target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.guard import Guard
from inseq_core.contracts.removal import WAYS, RemovalWay
from inseq_core.data.batch import EncodedText
from inseq_core.data.features import Feature, FeatureSet
from inseq_core.data.plain import items_of
from inseq_core.errors import InvalidArgumentError, closest, invalid, listed, unknown_argument
from inseq_core.run.binding import construct, plain_number
from inseq_core.run.cutting import PlacedTokens, pieces, placed_as_written, sentences

BLANK_LINE = "\n\n"

_EXPECTED = (
    "'token', 'word', 'sentence', 'segment', a kind of segment such as 'turn', {'separator': …}, a list of "
    "spans of characters (start, end) or (start, end, label) of the input, or a function"
)


_KINDS = ("token", "word", "sentence", "segment")
"""Kinds that every text has."""

_SIDES = {"source": "the source", "target": "the target"}


@attrs.frozen
class Separator:
    """Segments are what stands between occurrences of a text."""

    text: str


@attrs.frozen
class Spans:
    """Segments are spans of characters of the input: for each text of the call ``(start, end, label)`` of
    each.
    """

    of_text: tuple[tuple[tuple[int, int, str], ...], ...]


FeatureFunction = Callable[[EncodedText, ModelAdapter], Iterable[Feature]]
FeatureChoice = str | Separator | Spans | FeatureFunction
"""A name, one of the records above, or a function that cuts a text."""


def check_features(value: Any) -> FeatureChoice:
    """What a text is to be cut into.

    Raises:
        InvalidArgumentError: nothing of the kind.
    """
    if isinstance(value, (Separator, Spans)) or callable(value):
        return value
    if isinstance(value, str) and value:
        return value
    if isinstance(value, Mapping) and set(value) == {"separator"}:
        if isinstance(value["separator"], str) and value["separator"]:
            return Separator(value["separator"])
        raise invalid("features: separator", value["separator"], "a text")
    if isinstance(value, Mapping) and set(value) == {"spans"}:
        value = value["spans"]
    spans = None if isinstance(value, str) else items_of(value)
    if spans:
        of_text = [spans] if _is_span(spans[0]) else spans
        return Spans(tuple(tuple(map(_as_span, _spans_of_text(spans))) for spans in of_text))
    raise invalid("features", value, _EXPECTED)


def _spans_of_text(value: Any) -> Sequence[Any]:
    spans = None if isinstance(value, str) else items_of(value)
    if spans:
        return spans
    raise invalid("features", value, "spans of characters (start, end) for each text")


def _is_span(value: Any) -> bool:
    span = items_of(value) or ("",)
    return isinstance(plain_number(span[0]), int)


def _as_span(value: Any) -> tuple[int, int, str]:
    span = items_of(value) or ()
    start, end = (plain_number(place) for place in span[:2]) if len(span) in (2, 3) else (None, None)
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
        return start, end, str(span[2]) if len(span) == 3 else ""
    raise invalid(
        "features", value, "a span of characters (start, end) or (start, end, label), 0 <= start < end"
    )


def check_spans(choice: Any, texts: Sequence[Any]) -> None:
    """Spans must lie in the texts that they are of.

    Raises:
        InvalidArgumentError: they do not, or are of another number of texts.
    """
    if not isinstance(choice, Spans):
        return
    if len(choice.of_text) != len(texts):
        raise InvalidArgumentError(
            f"features has spans for {len(choice.of_text)} texts, input_texts has {len(texts)}: expected one"
            " list of spans for each."
        )
    for i, (text, spans) in enumerate(zip(texts, choice.of_text, strict=True)):
        beyond = [span for span in spans if isinstance(text, str) and span[1] > len(text)]
        if beyond:
            raise InvalidArgumentError(
                f"features: the span {beyond[0][:2]} ends behind text {i}, which has {len(text)} characters."
            )


def as_removal(value: Any) -> RemovalWay | None:
    """A way to remove features: its name, a baseline token, a dict of ``RemovalWay``'s fields, or one itself.

    Raises:
        InvalidArgumentError: no such way.
    """
    if value is None or isinstance(value, RemovalWay):
        return value
    if isinstance(value, str) and value:
        return RemovalWay.of(value)
    if isinstance(value, Mapping):
        names = [field.name for field in attrs.fields(RemovalWay)]
        for name in value:
            if name not in names:
                raise unknown_argument(str(name), "removal", {"RemovalWay": names})
        return construct("removal", RemovalWay, value)
    raise invalid("removal", value, f"one of {', '.join(WAYS)}, a baseline token, or a RemovalWay")


def check_baseline(way: RemovalWay, adapter: ModelAdapter, side: str) -> None:
    """Refuse a baseline token that there is not; it may be a misspelt way to remove.

    Raises:
        InvalidArgumentError: no such token.
    """
    try:
        adapter.baseline_ids(way.token, side)
    except InvalidArgumentError as error:
        guess = closest(str(way.token), WAYS)
        hint = f" Did you mean {guess!r}?" if guess and guess != way.token else ""
        reason = str(error).splitlines()[0].removeprefix("baseline = ")
        raise InvalidArgumentError(
            f"removal = {reason}{hint}\n"
            f"  Use {', '.join(map(repr, WAYS[1:]))}, or a single token such as 'unk', 'pad', 'eos'."
        ) from error


def feature_set(
    choice: FeatureChoice,
    text: EncodedText,
    adapter: ModelAdapter,
    *,
    end: int,
    with_target: bool,
    include_eos: bool = False,
    index: int = 0,
) -> FeatureSet:
    """The features of one text.

    Args:
        choice: how the text is cut.
        end: end (exclusive) of the attributed span; its last step sees positions before ``end - 1``.
        with_target: target positions are features too.
        include_eos: an end token is a feature.
        index: which text of the call it is.

    Raises:
        InvalidArgumentError: nothing to remove, or features that are none.
    """
    sides: list[tuple[str, np.ndarray]] = []
    if text.source_ids is not None:
        sides.append(("source", text.source_ids))
    if with_target or text.source_ids is None:
        sides.append(("target", text.target_ids[: end - 1]))
    free = {
        side: ~np.asarray(adapter.kept_in_baseline(ids, side, include_eos), dtype=np.bool_)
        for side, ids in sides
    }
    if isinstance(choice, str):
        choice = _resolved(choice, text)
    cut = _Cut(text=text, adapter=adapter, index=index)
    features: list[Feature] = []
    if callable(choice):
        kind = getattr(choice, "__name__", "feature")
        features = [_checked(f, free) for f in _from_function(choice, text, adapter, kind)]
        features = [f for f in features if f.positions]
        if not features:
            raise InvalidArgumentError(
                f"The features function {kind!r} gave no token that can be removed from {text.input_text!r}.\n"
                f"  Positions are those of {_listed_sides(free)}; special tokens, and what no step sees, stay."
            )
    else:
        kind = choice if isinstance(choice, str) else "segment"
        for side, ids in sides:
            features += cut.side(choice, side, ids, free[side])
    if not features:
        check_kind(kind, text)
        raise InvalidArgumentError(
            f"There is nothing to remove: all tokens of {_listed_sides(free)} are special: {text.input_text!r}.\n"
            f"  {_what_helps(with_target, text)}"
        )
    n_source = 0 if text.source_ids is None else len(text.source_ids)
    return FeatureSet(features=features, kind=kind, n_source=n_source, n_target=len(text.target_ids))


def check_misspelt_kind(choice: Any, text: EncodedText) -> None:
    """Refuse what can only be meant for a kind of features that every text has, before anything is generated.

    Other kinds may come with the output ("reasoning", "answer").
    """
    if isinstance(choice, str) and get_close_matches(choice.lower(), _KINDS, cutoff=0.8):
        check_kind(choice, text)


def check_kind(choice: str, text: EncodedText) -> None:
    """Refuse a kind of features that the text does not have.

    Raises:
        InvalidArgumentError: names the kinds that there are.
    """
    kinds = sorted({segment.kind for segment in text.segments})
    if choice in (*_KINDS, *kinds):
        return
    guess = closest(choice, [*_KINDS, *kinds])
    hint = f" Did you mean {guess!r}?" if guess else ""
    of_text = f", or a kind of segment that the text has: {listed(kinds)}" if kinds else ""
    raise InvalidArgumentError(
        f"features = {choice!r}: the text has no features of this kind: {text.input_text!r}.{hint}\n"
        f"  Use features={', '.join(map(repr, _KINDS))}{of_text}."
    )


def _listed_sides(free: Mapping[str, np.ndarray]) -> str:
    return " and ".join(_SIDES[side] for side in free)


def _what_helps(with_target: bool, text: EncodedText) -> str:
    if text.source_ids is None or with_target:
        return "Give it at least one word."
    return "Give it at least one word, or remove parts of the target prefix: attribute_target=True."


def _from_function(
    function: Callable[..., Any], text: EncodedText, adapter: ModelAdapter, name: str
) -> list[Any]:
    advice = "It is called as fn(text, adapter) with an EncodedText, and returns a list of Feature."
    with Guard(InvalidArgumentError, f"The features function {name!r} failed", advice=advice):
        return list(function(text, adapter))


def _resolved(choice: str, text: EncodedText) -> FeatureChoice:
    """``"segment"`` is what the text is made of: segments of its own, the turns of a chat, or paragraphs."""
    kinds = {segment.kind for segment in text.segments}
    if choice != "segment" or choice in kinds:
        return choice
    return "turn" if "turn" in kinds else Separator(BLANK_LINE)


def _checked(feature: Any, free: Mapping[str, np.ndarray]) -> Feature:
    """A caller's feature, without the positions that are never removed or that no step sees."""
    if not isinstance(feature, Feature):
        raise invalid("features: the function gave", feature, "Feature(label=…, side=…, positions=…) records")
    if not isinstance(feature.label, str):
        raise invalid("features: label", feature.label, "a text")
    if feature.side not in _SIDES:
        raise invalid(f"features: side of {feature.label!r}", feature.side, "'source' or 'target'")
    if feature.side == "source" and "source" not in free:
        raise invalid(f"features: side of {feature.label!r}", "source", "'target': the model has no source")
    if any(not isinstance(p, (int, np.integer)) or p < 0 for p in feature.positions):
        raise invalid(
            f"features: positions of {feature.label!r}",
            feature.positions,
            "positions of input tokens, from 0",
        )
    removable = free.get(feature.side, np.zeros(0, dtype=np.bool_))
    positions = sorted({int(p) for p in feature.positions if p < len(removable) and removable[p]})
    return attrs.evolve(feature, positions=positions)


@attrs.frozen(kw_only=True, eq=False)
class _Cut:
    """One text, to be cut side by side."""

    text: EncodedText
    adapter: ModelAdapter
    index: int

    def side(
        self, choice: str | Separator | Spans, side: str, ids: np.ndarray, free: np.ndarray
    ) -> Iterator[Feature]:
        if choice in ("token", "word"):
            shown = self.adapter.token_texts(ids.tolist(), side)
            starts = (True,) * len(ids) if choice == "token" else shown.word_starts
            for positions in _groups(free, starts):
                yield Feature(
                    label="".join(shown.tokens[p] for p in positions), side=side, positions=positions
                )
        elif isinstance(choice, Spans):
            yield from self._spans(choice, side, ids, free)
        elif isinstance(choice, Separator) or choice == "sentence":
            yield from self._by_text(choice, side, ids, free)
        else:
            for segment in self.text.segments:
                if segment.side == side and segment.kind == choice:
                    positions = [p for p in range(segment.start, min(segment.end, len(ids))) if free[p]]
                    if positions:
                        yield Feature(label=segment.label, side=side, positions=positions)

    def _by_text(
        self, choice: str | Separator, side: str, ids: np.ndarray, free: np.ndarray
    ) -> Iterator[Feature]:
        """Sentences, or pieces between separators; what was given and what was generated are cut apart."""
        border = self.text.prompt_length if side == "target" else len(ids)
        for first, last in ((0, min(border, len(ids))), (border, len(ids))):
            placed = PlacedTokens.of(self.adapter, ids[first:last].tolist())
            found = sentences(placed.text) if isinstance(choice, str) else pieces(placed.text, choice.text)
            taken: set[int] = set()
            for start, end in found:
                inside = [first + p for p in placed.inside(start, end)]
                positions = [p for p in inside if free[p] and p not in taken]
                taken.update(positions)
                if positions:
                    yield Feature(label=placed.text[start:end].strip(), side=side, positions=positions)

    def _spans(self, choice: Spans, side: str, ids: np.ndarray, free: np.ndarray) -> Iterator[Feature]:
        """Spans are of the input: the source, or the prompt."""
        if side == "target" and self.text.source_ids is not None:
            return
        given = ids if side == "source" else ids[: self.text.prompt_length]
        placed = placed_as_written(self.adapter, given.tolist(), self.text.input_text)
        for start, end, label in choice.of_text[self.index]:
            positions = [p for p in placed.inside(start, end) if free[p]]
            if not positions:
                raise InvalidArgumentError(
                    f"features: no token that could be removed begins in the span ({start}, {end}): "
                    f"{self.text.input_text[start:end]!r}."
                )
            yield Feature(label=label or placed.text[start:end].strip(), side=side, positions=positions)


def _groups(free: np.ndarray, starts: Sequence[bool]) -> Iterator[list[int]]:
    """Runs of free positions, cut where one starts."""
    group: list[int] = []
    for position, is_free in enumerate(free.tolist()):
        if group and (not is_free or starts[position]):
            yield group
            group = []
        if is_free:
            group.append(position)
    if group:
        yield group
