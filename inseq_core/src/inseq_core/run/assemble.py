"""Rows to results: scores of chunks of rows become the arrays of each text.

Numbers leave the framework here, as float32 numpy. Where a target position is not before its step there is
NaN. Axes: R rows, S source positions, L target positions, T steps of one text, then the method's trailing
axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.aggregate.functions import find_function
from inseq_core.contracts.context import AttributionContext
from inseq_core.contracts.guard import Guard
from inseq_core.contracts.step_function import Prepared, StepCall
from inseq_core.data.batch import EncodedText
from inseq_core.data.plain import as_plain
from inseq_core.data.result import MethodOutput
from inseq_core.data.steps import StepGrid
from inseq_core.errors import MethodOutputError
from inseq_core.run.method_output import broken_promise
from inseq_core.run.request import AttributeRequest
from inseq_core.run.rows import RowSet
from inseq_core.run.score import check_finite, column_labels

GRANULAR_BUDGET = 2**30
"""Bytes of scores with trailing axes that a call keeps without being asked to."""

ROW_SPECIFIC_NOTES = ("features", "feature_scores")
"""Notes of removal methods that are about rows, not about the call."""

_DEFECT = "This is a defect of the method: tell its authors, or run its conformance checks."

_TOO_LARGE = (
    "Results are float32, whose largest number is 3.4e38: scale what is explained, or the scores, down."
)


@attrs.define(kw_only=True, eq=False)
class TextScores:
    """The scores of one text while they come in.

    Attributes:
        text, span: what they are scores of; one step a column.
        labels: target position -> what is shown in place of its token.
        source, target: (S, T, *trailing), (L, T, *trailing); None where that side is not attributed.
        step_scores: name -> (T,).
        sequence_scores: name -> what the method said about the whole text.
        features: the features that were removed, where the method removes.
    """

    text: EncodedText
    span: tuple[int, int]
    labels: Mapping[int, str] = attrs.field(factory=dict)
    source: np.ndarray | None = None
    target: np.ndarray | None = None
    step_scores: dict[str, np.ndarray] = attrs.field(factory=dict)
    sequence_scores: dict[str, np.ndarray] = attrs.field(factory=dict)
    features: Any = None

    @property
    def n_steps(self) -> int:
        """T."""
        return self.span[1] - self.span[0]

    def blank(self, side: str, trailing: Sequence[int] = ()) -> np.ndarray:
        """(S or L, T, *trailing) of NaN."""
        ids = self.text.source_ids if side == "source" else self.text.target_ids
        return np.full((0 if ids is None else len(ids), self.n_steps, *trailing), np.nan, dtype=np.float32)

    def put_step_scores(self, steps: np.ndarray, scores: Mapping[str, np.ndarray]) -> None:
        """Values (n,) for the given steps."""
        for name, values in scores.items():
            column = self.step_scores.setdefault(name, np.full(self.n_steps, np.nan, dtype=np.float32))
            column[steps] = values


@attrs.define(kw_only=True, eq=False)
class Ledger:
    """Everything a call has found out so far.

    Attributes:
        call: what the whole call shares.
        texts: scores of each text of the call.
        axes: names of the trailing axes of what came in, before any was reduced.
        reduced: trailing axes are reduced as they come in; None until the first scores show their size.
        notes: plain facts from the method.
    """

    request: AttributeRequest
    call: StepCall
    texts: tuple[TextScores, ...]
    axes: tuple[str, ...] = ()
    reduced: bool | None = None
    notes: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, request: AttributeRequest, call: StepCall, prepared: Prepared) -> Ledger:
        """An empty one."""
        columns = [(end - 1, end) if request.is_summed else (start, end) for start, end in call.spans]
        labels = column_labels(request, call, prepared)
        return cls(
            request=request,
            call=call,
            texts=tuple(
                TextScores(text=text, span=span, labels=shown)
                for text, span, shown in zip(call.texts, columns, labels, strict=True)
            ),
            notes=dict(prepared.notes),
        )

    def put(self, rows: RowSet, ctx: AttributionContext, output: MethodOutput) -> None:
        """Enter what a method gave for some rows.

        Raises:
            MethodOutputError: it is not what the contract says.
            NonFiniteScoreError: NaN or infinity where there should be a score.
        """
        with self._guard():
            self._put(rows, ctx, output)

    def _put(self, rows: RowSet, ctx: AttributionContext, output: MethodOutput) -> None:
        self._check(rows, ctx, output)
        self.axes = self._axes_of(output)
        sides = {}
        for side in ("source", "target"):
            values = getattr(output, side)
            if values is not None:
                values = self._real(f"{side} scores", values)
                self._check_finite(rows, ctx, side, values, self._whence())
                sides[side] = _single(self._reduce(values))
                if sides[side] is not values:
                    self._check_finite(rows, ctx, side, sides[side], _TOO_LARGE)
        for sequence, chosen in rows.by_sequence():
            sheet = self.texts[rows.batch.origin[sequence]]
            for side, values in sides.items():
                self._enter(sheet, side, chosen, rows.grid, values)
        self._put_beside(rows, ctx, output)
        own = {name: self._numbers(rows, name, values) for name, values in output.step_scores.items()}
        self.put_step_scores(rows, own, f"It comes from the method ({self.request.method.entry.provenance}).")
        self._put_sequence_scores(rows, output.sequence_scores)
        self._put_notes(rows, output.notes)

    def put_step_scores(
        self, rows: RowSet, scores: Mapping[str, np.ndarray], advice: str | None = None
    ) -> None:
        """Enter (R,) values of each name.

        Args:
            advice: what to do about NaN or infinity among them.

        Raises:
            NonFiniteScoreError: there is one, or a number beyond float32.
        """
        for name, values in scores.items():
            what = f"The step score {name!r}"
            check_finite(self.request, rows, what, np.isfinite(values), advice)
            check_finite(self.request, rows, what, np.isfinite(_single(values)), _TOO_LARGE)
        for sequence, chosen in rows.by_sequence():
            sheet = self.texts[rows.batch.origin[sequence]]
            sheet.put_step_scores(rows.grid.step[chosen], {n: v[chosen] for n, v in scores.items()})

    @property
    def n_reduced(self) -> int:
        """How many of the last axes were reduced as they came in."""
        return len(self.request.method.spec.default_aggregation) if self.reduced else 0

    @property
    def kept_axes(self) -> tuple[str, ...]:
        """Names of the trailing axes that the scores still have."""
        return self.axes[: len(self.axes) - self.n_reduced]

    @property
    def _name(self) -> str:
        return self.request.method.name

    def _wrong(self, problem: str) -> MethodOutputError:
        return MethodOutputError(
            f"The method {self._name!r} ({self.request.method.entry.provenance}) {problem}.\n  {_DEFECT}"
        )

    def _guard(self) -> Guard:
        """What names the method where something that it gave cannot be read."""
        return Guard(
            MethodOutputError,
            f"What the method {self._name!r} ({self.request.method.entry.provenance}) gave cannot be read",
            advice=_DEFECT,
            passes=self.request.adapter.is_out_of_memory,
        )

    def _whence(self) -> str | None:
        """Where NaN come from that neither precision nor the attributed function explains."""
        if self.request.profile.dtype not in ("float32", "float64"):
            return None
        return (
            f"What is explained is finite there, in {self.request.profile.dtype}: it comes from the method "
            f"({self.request.method.entry.provenance}), or from the gradients of the model."
        )

    def _check(self, rows: RowSet, ctx: AttributionContext, output: MethodOutput) -> None:
        taken = [function.name for function in self.request.step_functions]
        problem = broken_promise(output, n_texts=len(ctx.batch), taken=taken)
        if problem is not None:
            raise self._wrong(problem)
        if output.source is None and output.target is None:
            return
        trailing = self._axes_of(output)
        expected_shapes = self._expected_shapes(ctx, output)
        for side, expected in expected_shapes.items():
            values = getattr(output, side)
            if values is None and expected is None:
                continue
            if values is None:
                raise self._wrong(f"gave no {side} scores, expected shape {self._shape(expected, trailing)}")
            if expected is None:
                raise self._wrong(f"gave {side} scores, which were not asked for")
            shape = tuple(getattr(values, "shape", ()))
            if shape[:2] != expected or len(shape) != 2 + len(trailing):
                raise self._wrong(
                    f"gave {side} scores of shape {shape}, expected {self._shape(expected, trailing)}"
                )

    def _axes_of(self, output: MethodOutput) -> tuple[str, ...]:
        """Names of the trailing axes: the output's own, where they differ from what the spec says."""
        return self.request.method.spec.trailing_axes if output.axes is None else tuple(output.axes)

    def _expected_shapes(
        self, ctx: AttributionContext, output: MethodOutput
    ) -> dict[str, tuple[int, int] | None]:
        """Side -> (R, positions), None where the side has no scores."""
        sides = {"source": ctx.source_shape, "target": ctx.target_shape}
        if self.request.method.spec.one_sided and (output.source is None) != (output.target is None):
            given, other = ("source", "target") if output.target is None else ("target", "source")
            ids = ctx.batch.source_ids if given == "source" else ctx.batch.target_ids
            sides = {given: (ctx.n_rows, ids.shape[1]), other: None}
        return sides

    @staticmethod
    def _shape(expected: tuple[int, int] | None, trailing: Sequence[str]) -> str:
        return f"({', '.join([*map(str, expected or ()), *trailing])})"

    def _real(self, what: str, values: Any) -> np.ndarray:
        numbers = self.request.adapter.to_numpy(values)
        if numbers.dtype.kind not in "fiub":
            raise self._wrong(f"gave {what} of type {numbers.dtype}, expected real numbers")
        return numbers

    def _check_finite(
        self, rows: RowSet, ctx: AttributionContext, side: str, values: np.ndarray, advice: str | None
    ) -> None:
        """Refuse NaN and infinity where a row can see the position."""
        is_finite = np.isfinite(values).all(axis=tuple(range(2, values.ndim))) | ~ctx.visible(side)
        what = f"The {side} attribution of {self._name!r}"
        check_finite(self.request, rows, what, is_finite.all(axis=1), advice)

    def _numbers(self, rows: RowSet, name: str, values: Any) -> np.ndarray:
        numbers = self._real(f"step score {name!r}", values)
        if numbers.shape != (len(rows),):
            raise self._wrong(f"gave step score {name!r} of shape {numbers.shape}, expected ({len(rows)},)")
        return numbers

    def _reduce(self, values: np.ndarray) -> np.ndarray:
        """(R, positions, *trailing), where that would be too much to keep without those of the last axes that the
        method says how to reduce.
        """
        if values.ndim == 2:
            return values
        if self.reduced is None:
            self.reduced = self._is_too_much(values.shape[2:])
        if not self.reduced:
            return values
        for name in self.request.method.spec.default_aggregation:
            values = find_function(name)(values, -1)
        return values

    def _is_too_much(self, trailing: Sequence[int]) -> bool:
        spec = self.request.method.spec
        if self.request.options.keep_granular or not 0 < len(spec.default_aggregation) <= len(trailing):
            return False
        positions = sum(
            (len(sheet.text.target_ids) + len(() if (s := sheet.text.source_ids) is None else s))
            * sheet.n_steps
            for sheet in self.texts
        )
        return 4 * positions * math.prod(trailing) > GRANULAR_BUDGET

    def _enter(
        self, sheet: TextScores, side: str, chosen: np.ndarray, grid: StepGrid, values: np.ndarray
    ) -> None:
        """The chosen rows of (R, positions, *trailing) into (positions, T, *trailing) of one text."""
        array = getattr(sheet, side)
        if array is None:
            array = sheet.blank(side, values.shape[2:])
            setattr(sheet, side, array)
        _fill(array, side, chosen, grid, values)

    def _put_beside(self, rows: RowSet, ctx: AttributionContext, output: MethodOutput) -> None:
        """Numbers about each score, as sequence scores of the side that stands first."""
        for name, sides in output.beside.items():
            for side, values in zip(("source", "target"), sides, strict=True):
                expected = ctx.source_shape if side == "source" else ctx.target_shape
                if values is None and expected is None:
                    continue
                numbers = None if values is None else self._real(f"{name!r} beside its scores", values)
                if numbers is None or numbers.shape != expected:
                    shape = None if numbers is None else numbers.shape
                    raise self._wrong(f"gave {name!r} of shape {shape} for the {side}, expected {expected}")
                title = name if side == "source" or ctx.source_shape is None else f"target_{name}"
                for sequence, chosen in rows.by_sequence():
                    sheet = self.texts[rows.batch.origin[sequence]]
                    array = sheet.sequence_scores.setdefault(title, sheet.blank(side))
                    _fill(array, side, chosen, rows.grid, numbers)

    def _put_sequence_scores(self, rows: RowSet, scores: Mapping[str, Any]) -> None:
        for name, values in scores.items():
            for sequence, chosen in rows.by_sequence():
                sheet = self.texts[rows.batch.origin[sequence]]
                if len(chosen) != sheet.n_steps:
                    raise self._wrong(
                        f"gave sequence score {name!r} for {len(chosen)} of {sheet.n_steps} steps of a text: "
                        "its spec needs all_steps=True"
                    )
                numbers = self._real(f"sequence score {name!r}", values[sequence])
                is_by_step = numbers.ndim > 1 and not name.startswith(("encoder", "decoder"))
                if is_by_step and numbers.shape[1] != sheet.n_steps:
                    raise self._wrong(
                        f"gave sequence score {name!r} of shape {numbers.shape}, expected (positions, "
                        f"{sheet.n_steps}): one column a step"
                    )
                sheet.sequence_scores[name] = numbers

    def _put_notes(self, rows: RowSet, notes: Mapping[str, Any]) -> None:
        if "features" in notes:
            for sequence, _ in rows.by_sequence():
                self.texts[rows.batch.origin[sequence]].features = notes["features"]
        for name, value in notes.items():
            if name in ROW_SPECIFIC_NOTES:
                continue
            value, known = as_plain(value), self.notes.get(name)
            self.notes[name] = known + value if name == "passes" and _are_counts(known, value) else value


def _are_counts(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _single(values: np.ndarray) -> np.ndarray:
    """The same as float32; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _fill(array: np.ndarray, side: str, chosen: np.ndarray, grid: StepGrid, values: np.ndarray) -> None:
    """The chosen rows of (R, positions, …) into (positions, T, …), as far as each row sees."""
    for row in chosen.tolist():
        end = len(array) if side == "source" else int(grid.position[row])
        array[:end, grid.step[row]] = values[row, :end]
