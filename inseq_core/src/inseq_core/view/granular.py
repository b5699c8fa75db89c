"""Trailing axes (layer, head, dimension) as something to leaf through.

Each axis gets one more entry at its end, *all*: the axis reduced by the function that the method's
default aggregation has for it. A view then only ever takes one entry of each axis. Long axes are cut to
the entries with the largest scores.
Axes: I rows, T columns, then the trailing axes, each of its shown entries and *all*.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreArray
from inseq_core.errors import InvalidArgumentError, invalid, unknown_name
from inseq_core.hooks import aggregation_functions
from inseq_core.view.readable import visible
from inseq_core.view.table import ScoreTable

DEFAULT_SHOWN = 20
_MOST_VALUES = 1_500_000
"""Scores that one text may have on a page: some ten megabytes."""

Dim = int | str
Span = tuple[int, int]


@attrs.frozen(kw_only=True)
class BrowsedAxis:
    """One axis to leaf through.

    Attributes:
        name: "layer", "head", "hidden" …
        entries: the indices that are shown, ascending.
        size: how many there are.
        reduction: the aggregation function that makes *all* of them one.
        keeps_sign: what it makes of signed scores is signed.
    """

    name: str
    entries: tuple[int, ...]
    size: int
    reduction: str
    keeps_sign: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """The shown entries by name, then *all*."""
        return (*(f"{self.name} {entry}" for entry in self.entries), self.all_label)

    @property
    def all_label(self) -> str:
        """What *all* is called: ``mean over 12``."""
        return f"{self.reduction} over {self.size}"


@attrs.frozen(kw_only=True)
class Choice:
    """What of the trailing axes is to be shown, in the words of the user.

    Attributes:
        show_dim: the axis to leaf through first, by its name or its number in the array (from 2).
        slice_dims: axis -> (start, end) of its indices.
        max_show_size: how many entries an axis may have.
    """

    show_dim: Dim | None = None
    slice_dims: Mapping[Dim, Span] | None = None
    max_show_size: int | None = None


def with_all(
    table: ScoreTable, attribution: FeatureAttributionSequenceOutput, choice: Choice
) -> tuple[ScoreTable, tuple[BrowsedAxis, ...]]:
    """The table with sliced, shortened and extended axes, and what their entries are.

    Raises:
        UnknownNameError: no such axis. InvalidArgumentError: a slice that holds nothing.
    """
    axes = attribution.axes
    spans = _spans(choice.slice_dims or {}, axes, attribution)
    limit = _limit(choice.max_show_size)
    functions = tuple(reversed(attribution.default_aggregation))[-len(axes) :] if axes else ()
    functions = ("mean",) * (len(axes) - len(functions)) + functions
    known = [aggregation_functions().get(name) for name in functions]
    weights = [np.where(np.isfinite(group.values), np.abs(group.values), 0.0) for group in table.groups]
    entries = []
    for a, (start, stop) in enumerate(spans):
        room = min(limit, _room(table, spans, a))
        others = tuple(d for d in range(2 + len(axes)) if d != 2 + a)
        mass = sum(w.sum(axis=others)[start:stop] for w in weights)
        strongest = np.argsort(-np.broadcast_to(mass, (stop - start,)), kind="stable")[:room]
        entries.append(tuple(sorted(int(start + e) for e in strongest)))
    groups = []
    for group in table.groups:
        values = group.values.astype(np.float32 if group.values.dtype.itemsize < 8 else group.values.dtype)
        unscored = np.isnan(values).all(axis=tuple(range(2, values.ndim)))
        for a in reversed(range(len(axes))):
            values = _extended(values, 2 + a, spans[a], entries[a], known[a].load())
        values[unscored] = np.nan
        groups.append(attrs.evolve(group, values=values))
    browsed = tuple(
        BrowsedAxis(
            name=visible(axes[a]),
            entries=entries[a],
            size=stop - start,
            reduction=functions[a],
            keeps_sign=known[a].spec.signed,
        )
        for a, (start, stop) in enumerate(spans)
    )
    return attrs.evolve(table, groups=groups), browsed


def panels(table: ScoreTable, axes: Sequence[BrowsedAxis], shown: int) -> Iterator[tuple[str, ScoreTable]]:
    """One table for each entry of one axis, all of the others; and what to call it."""
    others = [f"{axis.name}: {axis.all_label}" for a, axis in enumerate(axes) if a != shown]
    for e, entry in enumerate(axes[shown].entries):
        index = tuple(e if a == shown else -1 for a in range(len(axes)))
        name = f"{axes[shown].name} {entry}" + (f" ({', '.join(others)})" if others else "")
        yield name, entry_of(table, index)


def entry_of(table: ScoreTable, index: Sequence[int]) -> ScoreTable:
    """The table of one entry of every axis, without axes."""
    groups = [group.entry(index) for group in table.groups]
    return attrs.evolve(table, groups=groups, axes=())


def axis_number(dim: Dim, axes: Sequence[str]) -> int:
    """Which trailing axis a name or a number of an array dimension means.

    Raises:
        UnknownNameError: no such axis.
    """
    if isinstance(dim, str):
        if dim not in axes:
            raise unknown_name("axis", dim, list(axes), existing="There are")
        return list(axes).index(dim)
    try:
        number = operator.index(dim)
    except TypeError:
        raise invalid("dimension", dim, f"one of the names {', '.join(axes)} or a number") from None
    number = number + len(axes) if number < 0 else number - 2
    if not 0 <= number < len(axes):
        named = ", ".join(f"{2 + a} ({axis})" for a, axis in enumerate(axes))
        raise InvalidArgumentError(
            f"Dimension {dim} is not a trailing axis.\n"
            f"  Trailing axes: {named or 'none'}; 0 and 1 are positions and steps."
        )
    return number


def check_size(max_show_size: Any) -> None:
    """Raises InvalidArgumentError for what is no size of a table."""
    is_whole = isinstance(max_show_size, numbers.Integral) and not isinstance(max_show_size, bool)
    if max_show_size is not None and not (is_whole and max_show_size >= 1):
        raise invalid("max_show_size", max_show_size, "a whole number of at least 1")


def _limit(max_show_size: int | None) -> int:
    check_size(max_show_size)
    return max_show_size or DEFAULT_SHOWN


def _spans(
    slice_dims: Mapping[Dim, Span], axes: Sequence[str], attribution: FeatureAttributionSequenceOutput
) -> list[Span]:
    scores = attribution.source_attributions
    scores = attribution.target_attributions if scores is None else scores
    sizes = scores.shape[2:] if scores is not None else (0,) * len(axes)
    spans = [(0, size) for size in sizes]
    if not isinstance(slice_dims, Mapping):
        raise invalid("slice_dims", slice_dims, "a dict: axis -> (start, end)")
    for dim, span in slice_dims.items():
        a = axis_number(dim, axes)
        try:
            start, stop, _ = slice(*span).indices(sizes[a])
        except TypeError:
            raise invalid(f"slice_dims[{dim!r}]", span, "a pair (start, end)") from None
        ends = [bound for bound in tuple(span)[:2] if bound is not None]
        if any(not -sizes[a] <= bound <= sizes[a] for bound in ends) and stop > start:
            raise InvalidArgumentError(
                f"slice_dims[{dim!r}] = {span!r} goes beyond the {sizes[a]} entries.\n"
                f"  Give positions from 0 to {sizes[a]}, the end exclusive, or None for an open side."
            )
        if stop <= start:
            raise InvalidArgumentError(
                f"slice_dims[{dim!r}] = {span!r} holds none of the {sizes[a]} entries."
            )
        spans[a] = (start, stop)
    return spans


def _room(table: ScoreTable, spans: Sequence[Span], axis: int) -> int:
    """How many entries of an axis fit on a page if every other one is shown."""
    cells = sum(group.absent.size for group in table.groups)
    others = 1
    for a, (start, stop) in enumerate(spans):
        others *= 1 if a == axis else min(stop - start, DEFAULT_SHOWN) + 1
    return max(1, _MOST_VALUES // max(1, cells * others))


def _extended(
    values: ScoreArray, axis: int, span: Span, entries: Sequence[int], reduce: Callable[..., Any]
) -> ScoreArray:
    """The chosen entries of an axis, followed by all of its span reduced to one."""
    chosen = np.take(values, list(entries), axis=axis)
    every = np.take(values, range(*span), axis=axis)
    with np.errstate(invalid="ignore"):
        reduced = np.asarray(reduce(every, axis), dtype=values.dtype)
    return np.concatenate([chosen, np.expand_dims(reduced, axis)], axis=axis)
