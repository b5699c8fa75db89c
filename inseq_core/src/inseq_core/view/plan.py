"""From results to pictures: rows, columns, digits and colours, decided once for every medium."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreArray
from inseq_core.errors import InvalidArgumentError, invalid
from inseq_core.view.colors import ColorScale, color_scale
from inseq_core.view.granular import BrowsedAxis, Choice, Dim, Span, axis_number, check_size, with_all
from inseq_core.view.heading import Heading, View, heading, reading
from inseq_core.view.numbers import NumberFormat, exact_decimals, number_format
from inseq_core.view.table import ScoreTable, is_blank, score_table
from inseq_core.view.tokens import StepText, WrapAfter, check_wrap, highlight_scale, step_texts

_TERMINAL_SIZE = 100
"""Inputs and steps that a terminal shows unless asked for more: some ten screens."""
_PAGE_STEPS = 1000
_PAGE_CELLS, _PAGE_CELLS_OF_ALL = 150_000, 2_000_000
"""Scores of one text, and of all texts, that a page shows unless asked for more: some 3 and 50 megabytes."""

Attributions = (
    FeatureAttributionOutput | FeatureAttributionSequenceOutput | Iterable[FeatureAttributionSequenceOutput]
)
Info = Mapping[str, Any] | None
Reduced = tuple[bool, ...]
"""For each trailing axis, whether a slice has *all* of it."""


@attrs.frozen(kw_only=True)
class Look:
    """How scores are coloured and written.

    Attributes:
        decimals: those of an exact score.
        ends: the lowest and the highest finite score, which the colours need not reach; None if unknown.
    """

    colors: ColorScale
    numbers: NumberFormat
    decimals: int
    ends: tuple[float, float] | None = None


@attrs.frozen(kw_only=True)
class PlannedText:
    """One text's table.

    Attributes:
        table: its values are (I, T, *axes), *all* of each axis included.
        axes: what can be leafed through.
        first: the entry of each axis that a page begins with.
    """

    table: ScoreTable
    axes: tuple[BrowsedAxis, ...] = ()
    first: tuple[int, ...] = ()

    def reduced(self, index: Sequence[int]) -> Reduced:
        """Which axes a slice has *all* of."""
        return tuple(entry == len(axis.entries) for axis, entry in zip(self.axes, index, strict=True))


@attrs.frozen(kw_only=True)
class TablePlan:
    """Tables that share their colours, before they are drawn.

    Attributes:
        looks: which axes are reduced -> how those slices look; single entries of an axis and *all* of it
            may differ by orders of magnitude.
        reading: how to read it, one statement each.
        view: what it is drawn as.
        shown_axis: the axis that a terminal goes through.
    """

    texts: tuple[PlannedText, ...]
    looks: Mapping[Reduced, Look]
    heading: Heading
    reading: tuple[str, ...]
    view: View = "table"
    shown_axis: int = 0

    @property
    def tables(self) -> list[ScoreTable]:
        """Every text's table."""
        return [text.table for text in self.texts]

    @property
    def is_granular(self) -> bool:
        """Whether there are axes to leaf through."""
        return any(text.axes for text in self.texts)

    @property
    def is_blank(self) -> bool:
        """Whether no score differs from zero: then there are no colours to explain."""
        return is_blank(self.tables)

    @property
    def plain_reading(self) -> tuple[str, ...]:
        """``reading`` for a picture without colours."""
        scales = [look.colors for look in self.looks.values()]
        return reading(self.tables, scales, self.heading.explains, view=self.view, has_color=False)


@attrs.frozen(kw_only=True)
class TokensPlan:
    """Texts step by step, before they are drawn.

    Attributes:
        highlight, highlights: the step score that colours the attributed tokens, and its scale.
        left_out: for each text, what of it is not shown, as a sentence; "" for nothing.
    """

    base: TablePlan
    texts: tuple[tuple[StepText, ...], ...]
    left_out: tuple[str, ...]
    highlight: str | None = None
    highlights: ColorScale | None = None


def planned(
    attributions: Attributions,
    *,
    aggregate: bool = True,
    max_show_size: int | None = None,
    min_val: float | None = None,
    max_val: float | None = None,
    show_dim: Dim | None = None,
    slice_dims: Mapping[Dim, Span] | None = None,
    on_page: bool = False,
) -> TablePlan:
    """Tables of an output's texts, aggregated or with trailing axes to leaf through.

    Args:
        aggregate: reduce trailing axes by their method's default first.
        max_show_size: inputs and steps of a table; entries of an axis where there are trailing axes.
        on_page: for a page, which has more room than a terminal.

    Raises:
        InvalidArgumentError: nothing to show, or texts with different axes.
    """
    sequences, info = _opened(attributions, aggregate)
    check_size(max_show_size)
    is_granular = any(s.is_granular for s in sequences)
    for name, value in (("show_dim", show_dim), ("slice_dims", slice_dims)):
        if value is not None and not is_granular:
            raise invalid(
                name,
                value,
                "none: these scores have no axis beyond input and step (any more).\n"
                "  show_granular() and do_aggregation=False show the axes of a result that has them",
            )
    if is_granular:
        choice = Choice(show_dim=show_dim, slice_dims=slice_dims, max_show_size=max_show_size)
        return _granular_plan(sequences, info, choice, min_val, max_val, on_page)
    room = _Room(on_page=on_page, n_texts=len(sequences))
    return _table_plan([_table(s, max_show_size, room) for s in sequences], info, min_val, max_val)


def planned_tokens(
    attributions: Attributions,
    *,
    aggregate: bool = True,
    min_val: float | None = None,
    max_val: float | None = None,
    replace: Mapping[str, str] | None = None,
    wrap_after: WrapAfter = None,
    highlight: str | None = None,
    on_page: bool = True,
) -> TokensPlan:
    """Texts with coloured tokens, step by step.

    The text before a step is shown whole: of long texts, only the first steps are.

    Raises:
        InvalidArgumentError: scores with trailing axes that are not aggregated.
        UnknownNameError: no step score ``highlight``.
    """
    sequences, info = _opened(attributions, aggregate)
    check_wrap(wrap_after)
    if highlight is not None and not isinstance(highlight, str):
        raise invalid("step_score_highlight", highlight, "the name of a step score")
    if any(s.is_granular for s in sequences):
        raise InvalidArgumentError(
            f"The scores have the axes {sequences[0].axes}, and a token has one colour.\n"
            "  Leave do_aggregation=True, aggregate before, or use show_granular()."
        )
    if replace is not None and not (
        isinstance(replace, Mapping) and all(isinstance(t, str) for pair in replace.items() for t in pair)
    ):
        raise invalid("replace_char", replace, "a dict of strings to replace, such as {'▁': ' '}")
    room = _Room(on_page=on_page, n_texts=len(sequences))
    tables = [score_table(s, max_steps=room.texts(s), replace=replace) for s in sequences]
    base = _table_plan(tables, info, min_val, max_val, view="tokens")
    highlights = None if highlight is None else highlight_scale(base.tables, highlight)
    colors = base.looks[()].colors
    texts = tuple(
        step_texts(table, colors, wrap_after=wrap_after, highlight=highlight, highlights=highlights)
        for table in base.tables
    )
    return TokensPlan(
        base=base,
        texts=texts,
        left_out=tuple(map(_hidden_steps, base.tables)),
        highlight=highlight,
        highlights=highlights,
    )


def _hidden_steps(table: ScoreTable) -> str:
    hidden = table.hidden_steps
    if not hidden:
        return ""
    return f"Left out: the last {f'{hidden} steps' if hidden > 1 else 'step'} of {len(table.steps) + hidden}."


def _opened(
    attributions: Attributions, aggregate: bool
) -> tuple[list[FeatureAttributionSequenceOutput], Info]:
    info: Info = None
    if isinstance(attributions, FeatureAttributionSequenceOutput):
        sequences = [attributions]
    elif isinstance(attributions, FeatureAttributionOutput):
        sequences, info = list(attributions.sequence_attributions), attributions.info
    else:
        sequences = list(attributions) if isinstance(attributions, Iterable) else []
        for item in [attributions] if not isinstance(attributions, Iterable) else sequences:
            if not isinstance(item, FeatureAttributionSequenceOutput):
                raise invalid("attributions", item, "what model.attribute() returned, or some of its texts")
    if not sequences:
        raise InvalidArgumentError("Nothing to show: the output holds no text.")
    return [s.aggregate() if aggregate and s.is_granular else s for s in sequences], info


def _table_plan(
    tables: Sequence[ScoreTable],
    info: Info,
    min_val: float | None,
    max_val: float | None,
    view: View = "table",
) -> TablePlan:
    arrays = [array for table in tables for array in table.arrays]
    colors = color_scale(arrays, signed=_is_signed(tables), min_val=min_val, max_val=max_val)
    words = heading(info)
    return TablePlan(
        texts=tuple(PlannedText(table=table) for table in tables),
        looks={(): _look(arrays, colors)},
        heading=words,
        reading=reading(tables, [colors], words.explains, view=view),
        view=view,
    )


def _granular_plan(
    sequences: Sequence[FeatureAttributionSequenceOutput],
    info: Info,
    choice: Choice,
    min_val: float | None,
    max_val: float | None,
    on_page: bool,
) -> TablePlan:
    axes = sequences[0].axes
    for sequence in sequences:
        if sequence.axes != axes:
            raise invalid("attributions", sequence.axes, f"the same trailing axes in every text, here {axes}")
    shown = None if choice.show_dim is None else axis_number(choice.show_dim, axes)
    room = _Room(on_page=on_page, n_texts=len(sequences))
    extended = [with_all(_table(s, None, room), s, choice) for s in sequences]
    tables = [table for table, _ in extended]
    looks = {}
    for reduced in itertools.product((False, True), repeat=len(axes)):
        arrays = [_entries(array, reduced) for table in tables for array in table.arrays]
        keeps_sign = all(a.keeps_sign for a, r in zip(extended[0][1], reduced, strict=True) if r)
        signed = _is_signed(tables) and keeps_sign
        colors = color_scale(arrays, signed=signed, min_val=min_val, max_val=max_val)
        looks[reduced] = _look(arrays, colors)
    words = heading(info)
    return TablePlan(
        texts=tuple(
            PlannedText(table=table, axes=browsed, first=_first_entries(browsed, shown))
            for table, browsed in extended
        ),
        looks=looks,
        heading=words,
        reading=reading(tables, [look.colors for look in looks.values()], words.explains),
        shown_axis=shown or 0,
    )


@attrs.frozen(kw_only=True)
class _Room:
    """How much of a text is shown where the user did not say.

    Attributes:
        n_texts: how many share the page.
    """

    on_page: bool
    n_texts: int

    def size(self, sequence: FeatureAttributionSequenceOutput) -> tuple[int, int]:
        """Inputs and steps."""
        if not self.on_page:
            return _TERMINAL_SIZE, _TERMINAL_SIZE
        steps = min(_PAGE_STEPS, max(_TERMINAL_SIZE // 2, self._cells // _TERMINAL_SIZE))
        return max(_TERMINAL_SIZE // 2, self._cells // max(1, min(sequence.n_steps, steps))), steps

    def texts(self, sequence: FeatureAttributionSequenceOutput) -> int:
        """Steps whose whole text before them is shown."""
        _, steps = self.size(sequence)
        inputs = len(sequence.source) + sequence.attr_pos_end
        return max(_TERMINAL_SIZE // 2, min(steps, self._cells // max(1, inputs)))

    @property
    def _cells(self) -> int:
        return min(_PAGE_CELLS, _PAGE_CELLS_OF_ALL // max(1, self.n_texts))


def _table(sequence: FeatureAttributionSequenceOutput, max_show_size: int | None, room: _Room) -> ScoreTable:
    inputs, steps = (max_show_size, max_show_size) if max_show_size else room.size(sequence)
    return score_table(sequence, max_inputs=inputs, max_steps=steps)


def _look(arrays: Sequence[ScoreArray], colors: ColorScale) -> Look:
    finite = [array[np.isfinite(array)] for array in arrays]
    lowest = min((float(a.min()) for a in finite if a.size), default=0.0)
    highest = max((float(a.max()) for a in finite if a.size), default=0.0)
    return Look(
        colors=colors,
        numbers=number_format(arrays),
        decimals=exact_decimals(arrays),
        ends=(lowest, highest),
    )


def _is_signed(tables: Sequence[ScoreTable]) -> bool:
    return any(table.meaning.signed for table in tables)


def _entries(values: ScoreArray, reduced: Reduced) -> ScoreArray:
    """Of each axis its last entry, *all*, or the others."""
    return values[(..., *(slice(-1, None) if is_all else slice(None, -1) for is_all in reduced))]


def _first_entries(axes: Sequence[BrowsedAxis], shown: int | None) -> tuple[int, ...]:
    return tuple(0 if a == shown else len(axis.entries) for a, axis in enumerate(axes))
