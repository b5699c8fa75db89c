"""An attribution as a table: which rows, which columns, and which cells cannot have a score.

Rows are inputs (source tokens, then the target tokens before the steps), columns are attributed steps. A
cell is *absent* where its input comes at or after its step: nothing was there to be scored. That is not the
same as a missing score (NaN), and every view shows the two differently.
Axes: I rows of a group, T columns, then the trailing axes of a granular attribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.scores import ScoreArray, ScoreMeaning
from inseq_core.data.token import Segment
from inseq_core.errors import invalid
from inseq_core.view.readable import ShownToken, shown_tokens, visible

_SHORTEST_BAND = 3
"""Many segments with fewer tokens on average are not worth a line each."""


@attrs.frozen(kw_only=True)
class Band:
    """A labelled run of positions: a chat turn, a document."""

    label: str
    start: int
    end: int


@attrs.frozen(kw_only=True, eq=False)
class RowGroup:
    """Inputs of one kind.

    Attributes:
        title: "Source", "Prompt", "Generated before the step" …
        side: "source" or "target".
        start, end: the positions that belong to the group.
        positions: (I,) those that are shown, ascending.
        values: (I, T, *axes).
        absent: (I, T) True where the input is at or after the step.
    """

    title: str
    side: str
    start: int
    end: int
    positions: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    values: ScoreArray
    absent: NDArray[np.bool_]

    def entry(self, index: Sequence[int]) -> RowGroup:
        """The group with one entry of each trailing axis."""
        chosen: tuple[Any, ...] = (..., *index)
        return attrs.evolve(self, values=self.values[chosen])

    def hidden_before(self, row: int) -> int:
        """How many inputs are left out between this row and the one above it."""
        above = self.positions[row - 1] + 1 if row else self.start
        return self.positions[row] - above

    @property
    def hidden_at_end(self) -> int:
        """How many inputs are left out below the last row."""
        return self.end - (self.positions[-1] + 1 if self.positions else self.start)


@attrs.frozen(kw_only=True, eq=False)
class ScoreTable:
    """One text's attribution, ready to be drawn.

    Attributes:
        source, target: every token of the two sides, also those without a row.
        steps: (T,) target positions of the columns.
        groups: the rows.
        step_scores: name -> (T,).
        source_bands, target_bands: segments that do not overlap.
        axes: names of the trailing axes of the values.
        hidden_steps: attributed steps that are left out, after the last column.
        meaning: what a score stands for.
        has_source: the source is a text of its own, not the prompt that the target begins with.
        feature_kind: what was scored: "token", or "word", "sentence" … whose tokens all show its score.
        is_spread: they show their shares of it instead.
    """

    source: tuple[ShownToken, ...] = attrs.field(converter=tuple[ShownToken, ...])
    target: tuple[ShownToken, ...] = attrs.field(converter=tuple[ShownToken, ...])
    steps: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    groups: tuple[RowGroup, ...] = attrs.field(converter=tuple[RowGroup, ...])
    step_scores: Mapping[str, ScoreArray]
    source_bands: tuple[Band, ...] = ()
    target_bands: tuple[Band, ...] = ()
    axes: tuple[str, ...] = ()
    hidden_steps: int = 0
    meaning: ScoreMeaning = attrs.field(factory=ScoreMeaning)
    has_source: bool = False
    feature_kind: str = "token"
    is_spread: bool = False

    def tokens(self, group: RowGroup) -> tuple[ShownToken, ...]:
        """(I,) the tokens of a group's rows."""
        side = self.source if group.side == "source" else self.target
        return tuple(side[position] for position in group.positions)

    def band_at(self, group: RowGroup, row: int) -> str:
        """The label of the segment that begins with a row, or goes on from the group before; else ""."""
        position = group.positions[row]
        above = group.positions[row - 1] if row else -1
        for band in self.bands(group.side):
            if above < band.start <= position < band.end or (not row and band.start <= position < band.end):
                return band.label
        return ""

    def bands(self, side: str) -> tuple[Band, ...]:
        """The bands of one side."""
        return self.source_bands if side == "source" else self.target_bands

    @property
    def columns(self) -> tuple[ShownToken, ...]:
        """(T,) the attributed tokens."""
        return tuple(self.target[position] for position in self.steps)

    @property
    def arrays(self) -> list[ScoreArray]:
        """The values of every group."""
        return [group.values for group in self.groups]

    @property
    def has_missing_scores(self) -> bool:
        """Whether some cell that could have a score is NaN."""
        return any(bool(missing(group).any()) for group in self.groups)

    @property
    def hidden_inputs(self) -> int:
        """Inputs that are left out."""
        return sum(group.end - group.start - len(group.positions) for group in self.groups)


def missing(group: RowGroup) -> NDArray[np.bool_]:
    """(I, T) True where a score could be and every value is NaN."""
    unscored = np.isnan(group.values).all(axis=tuple(range(2, group.values.ndim)))
    return np.asarray(unscored & ~group.absent)


def is_blank(tables: Iterable[ScoreTable]) -> bool:
    """Whether no score of any table differs from zero."""
    return not any(np.nan_to_num(array).any() for table in tables for array in table.arrays)


def score_table(
    attribution: FeatureAttributionSequenceOutput,
    *,
    max_inputs: int | None = None,
    max_steps: int | None = None,
    replace: Mapping[str, str] | None = None,
) -> ScoreTable:
    """The table of one text.

    Args:
        max_inputs: show only so many rows: those with the largest sums of absolute scores.
        max_steps: show only so many columns: the first ones.
        replace: strings to replace in tokens.
    """
    for name, limit in (("max_inputs", max_inputs), ("max_steps", max_steps)):
        if limit is not None and limit < 1:
            raise invalid(name, limit, "a whole number of at least 1")
    first = attribution.attr_pos_start
    n_steps = min(attribution.n_steps, max_steps or attribution.n_steps)
    groups = _groups(attribution, n_steps)
    if max_inputs is not None:
        groups = _strongest(groups, max_inputs)
    return ScoreTable(
        source=shown_tokens(
            attribution.source,
            special=attribution.source_special,
            word_starts=attribution.source_word_starts,
            replace=replace,
        ),
        target=shown_tokens(
            attribution.target,
            special=attribution.target_special,
            word_starts=attribution.target_word_starts,
            replace=replace,
        ),
        steps=tuple(range(first, first + n_steps)),
        groups=groups,
        step_scores={visible(name): scores[:n_steps] for name, scores in attribution.step_scores.items()},
        source_bands=bands(attribution.segments, "source"),
        target_bands=bands(attribution.segments, "target"),
        axes=attribution.axes,
        hidden_steps=attribution.n_steps - n_steps,
        meaning=attribution.meaning,
        has_source=bool(attribution.source)
        and attribution.source != attribution.target[: len(attribution.source)],
        feature_kind=visible(attribution.feature_kind),
        is_spread=attribution.is_spread,
    )


def _groups(attribution: FeatureAttributionSequenceOutput, n_steps: int) -> tuple[RowGroup, ...]:
    first = attribution.attr_pos_start
    groups = []
    if attribution.source_attributions is not None:
        groups.append(
            _group("Source", "source", attribution.source_attributions, (0, len(attribution.source)), None)
        )
    if attribution.target_attributions is not None:
        scores = attribution.target_attributions[:, :n_steps]
        # A token comes before no step but its later ones: the last attributed token needs no row.
        end = first + max(n_steps - 1, 0)
        if attribution.source_attributions is not None:
            groups.append(_group("Target prefix", "target", scores, (0, end), first))
        else:
            groups.append(_group("Prompt", "target", scores, (0, first), first))
            groups.append(_group("Generated before", "target", scores, (first, end), first))
    return tuple(
        attrs.evolve(group, values=group.values[:, :n_steps], absent=group.absent[:, :n_steps])
        for group in groups
        if group.positions
    )


def _group(
    title: str, side: str, scores: ScoreArray, span: tuple[int, int], first_step: int | None
) -> RowGroup:
    positions = np.arange(*span)
    values = scores[span[0] : span[1]]
    absent = np.zeros(values.shape[:2], dtype=np.bool_)
    if first_step is not None:
        absent = positions[:, None] >= first_step + np.arange(values.shape[1])[None, :]
    return RowGroup(
        title=title,
        side=side,
        start=span[0],
        end=span[1],
        positions=positions.tolist(),
        values=values,
        absent=absent,
    )


def _strongest(groups: Sequence[RowGroup], limit: int) -> tuple[RowGroup, ...]:
    """The groups with their ``limit`` strongest rows together."""
    weights = [
        np.nansum(np.abs(np.where(np.isfinite(g.values), g.values, 0.0)), axis=tuple(range(1, g.values.ndim)))
        for g in groups
    ]
    joined = np.concatenate([*weights, np.zeros(0)])
    kept = np.zeros(len(joined), dtype=np.bool_)
    kept[np.argsort(-joined, kind="stable")[:limit]] = True
    smaller, begin = [], 0
    for group in groups:
        rows = np.flatnonzero(kept[begin : begin + len(group.positions)])
        begin += len(group.positions)
        smaller.append(
            attrs.evolve(
                group,
                positions=[group.positions[row] for row in rows],
                values=group.values[rows],
                absent=group.absent[rows],
            )
        )
    return tuple(smaller)


def bands(segments: Iterable[Segment], side: str) -> tuple[Band, ...]:
    """Segments of one side as bands that do not overlap.

    Of two that overlap the longer one is kept, else the earlier; one inside another (the reasoning in an
    answer) cuts it in pieces. Special tokens are no bands, nor are many segments of a token or two: words.
    """
    candidates = [s for s in segments if s.side == side and s.end > s.start and s.kind != "special"]
    lengths: dict[str, list[int]] = {}
    for segment in candidates:
        lengths.setdefault(segment.kind, []).append(segment.end - segment.start)
    words = {kind for kind, all_of in lengths.items() if len(all_of) > 2 and np.mean(all_of) < _SHORTEST_BAND}
    candidates = [s for s in candidates if s.kind not in words]
    chosen: list[Segment] = []
    inner: list[Segment] = []
    for segment in sorted(candidates, key=lambda s: (s.start - s.end, s.start)):
        met = [other for other in chosen if segment.start < other.end and other.start < segment.end]
        if not met:
            chosen.append(segment)
        elif all(_is_inside(segment, o) and segment.label != o.label for o in met) and not any(
            segment.start < other.end and other.start < segment.end for other in inner
        ):
            inner.append(segment)
    pieces = [piece for outer in chosen for piece in _cut(outer, [i for i in inner if _is_inside(i, outer)])]
    return tuple(sorted(pieces, key=lambda band: band.start))


def _is_inside(segment: Segment, outer: Segment) -> bool:
    return outer.start <= segment.start and segment.end <= outer.end


def _cut(outer: Segment, inner: Sequence[Segment]) -> Iterable[Band]:
    label = visible(outer.label) or outer.kind
    at = outer.start
    for segment in sorted(inner, key=lambda s: s.start):
        if segment.start > at:
            yield Band(label=label, start=at, end=segment.start)
        yield Band(
            label=f"{label}: {visible(segment.label) or segment.kind}", start=segment.start, end=segment.end
        )
        at = segment.end
    if at < outer.end:
        yield Band(label=label, start=at, end=outer.end)
