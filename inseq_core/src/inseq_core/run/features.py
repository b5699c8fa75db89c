"""The features of a text: what removal methods remove as a whole, and how.

Special tokens and the decoder's start belong to no feature, and neither does a target position that no
attributed step sees. Axes: S source positions, L target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.removal import WAYS, RemovalWay
from inseq_core.data.batch import EncodedText
from inseq_core.data.features import Feature, FeatureSet
from inseq_core.errors import InvalidArgumentError, invalid
from inseq_core.run.binding import construct

FeatureChoice = str | Callable[[EncodedText, ModelAdapter], Iterable[Feature]]
"""``"token"``, ``"word"``, a kind of segment, or a function that cuts a text."""

_CUTS = ("token", "word")


def check_features(value: Any) -> FeatureChoice:
    """A name or a function.

    Raises:
        InvalidArgumentError: something else.
    """
    if callable(value) or (isinstance(value, str) and value):
        return value
    raise invalid("features", value, "'token', 'word', a kind of segment such as 'turn', or a function")


def as_removal(value: Any) -> RemovalWay | None:
    """A way to remove features: its name, a baseline token, a dict of ``RemovalWay``'s fields, or one itself.

    Raises:
        InvalidArgumentError: no such way.
    """
    if value is None or isinstance(value, RemovalWay):
        return value
    if isinstance(value, str) and value:
        return RemovalWay(way=value) if value in WAYS else RemovalWay(token=value)
    if isinstance(value, Mapping):
        way = construct("removal", RemovalWay, value)
        if way.way in WAYS:
            return way
    raise invalid("removal", value, f"one of {', '.join(WAYS)}, a baseline token, or a RemovalWay")


def feature_set(
    choice: FeatureChoice,
    text: EncodedText,
    adapter: ModelAdapter,
    *,
    end: int,
    with_target: bool,
    include_eos: bool = False,
) -> FeatureSet:
    """The features of one text.

    Args:
        choice: how the text is cut.
        end: end (exclusive) of the attributed span; its last step sees positions before ``end - 1``.
        with_target: target positions are features too.
        include_eos: an end token is a feature.

    Raises:
        InvalidArgumentError: nothing to remove.
    """
    sides: list[tuple[str, np.ndarray]] = []
    if text.source_ids is not None:
        sides.append(("source", text.source_ids))
    if with_target or text.source_ids is None:
        sides.append(("target", text.target_ids[: end - 1]))
    features: list[Feature] = []
    if callable(choice):
        features, kind = list(choice(text, adapter)), getattr(choice, "__name__", "feature")
    else:
        kind = choice
        for side, ids in sides:
            free = ~np.asarray(adapter.kept_in_baseline(ids, side, include_eos), dtype=np.bool_)
            features += _cut(choice, text, adapter, side, ids, free)
    if not features:
        raise InvalidArgumentError(
            f"The text has no features of kind {kind!r}, so there is nothing to remove: "
            f"{text.input_text!r}.\n"
            f"  Use features='token' or 'word'{_kinds_of(text)}."
        )
    n_source = 0 if text.source_ids is None else len(text.source_ids)
    return FeatureSet(features=features, kind=kind, n_source=n_source, n_target=len(text.target_ids))


def _cut(
    choice: str, text: EncodedText, adapter: ModelAdapter, side: str, ids: np.ndarray, free: np.ndarray
) -> Iterator[Feature]:
    if choice in _CUTS:
        shown = adapter.token_texts(ids.tolist(), side)
        starts = (True,) * len(ids) if choice == "token" else shown.word_starts
        for positions in _groups(free, starts):
            label = "".join(shown.tokens[p] for p in positions)
            yield Feature(label=label, side=side, positions=positions)
        return
    for segment in text.segments:
        if segment.side == side and choice in (segment.kind, "segment"):
            positions = [p for p in range(segment.start, min(segment.end, len(ids))) if free[p]]
            if positions:
                yield Feature(label=segment.label, side=side, positions=positions)


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


def _kinds_of(text: EncodedText) -> str:
    kinds = sorted({segment.kind for segment in text.segments})
    return f", or a kind of segment that the text has: {', '.join(kinds)}" if kinds else ""
