"""The steps that are attributed, as rows.

A row is one valid (sequence, step) pair of a batch: the token at target position ``position[r]`` of sequence
``sequence[r]``, explained by everything before it. Ragged texts have no padding rows. A row may also stand
for a span of tokens that ends at its position: its score is the sum of theirs.
Axes: B sequences, T steps of one sequence, R rows, K scored tokens (R where each row is one token).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from inseq_core.data.batch import IntArray, TokenBatch, as_ids


@attrs.frozen(kw_only=True, eq=False)
class StepGrid:
    """The R rows of a batch, sequence by sequence, each in the order of its positions.

    Attributes:
        sequence: (R,) index into the batch.
        position: (R,) target position of the attributed token, >= 1. Its logits come from position - 1.
        target_ids: (R,) the attributed token.
        step: (R,) index of the row among the attributed steps of its text (0 = first attributed token).
        span_ids: (R,) ids of the tokens whose scores each row sums, the attributed token last; None where
            each row is one token.
    """

    sequence: IntArray = attrs.field(converter=as_ids)
    position: IntArray = attrs.field(converter=as_ids)
    target_ids: IntArray = attrs.field(converter=as_ids)
    step: IntArray = attrs.field(converter=as_ids)
    span_ids: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def of(cls, batch: TokenBatch, spans: Sequence[tuple[int, int]]) -> StepGrid:
        """Every target position in ``[start, end)`` of each sequence."""
        sequence, position, target, step = [], [], [], []
        for b, (start, end) in enumerate(spans):
            for s in range(start, end):
                sequence.append(b)
                position.append(s)
                target.append(int(batch.texts[b].target_ids[s]))
                step.append(s - start)
        return cls(sequence=sequence, position=position, target_ids=target, step=step)

    @classmethod
    def summed(cls, batch: TokenBatch, spans: Sequence[tuple[int, int]]) -> StepGrid:
        """One row a sequence: the sum over the target positions in ``[start, end)``, at the last of them."""
        ids = [
            tuple(text.target_ids[start:end].tolist())
            for text, (start, end) in zip(batch.texts, spans, strict=True)
        ]
        return cls(
            sequence=range(len(spans)),
            position=[end - 1 for _, end in spans],
            target_ids=[span[-1] for span in ids],
            step=[0] * len(spans),
            span_ids=tuple(ids),
        )

    def __len__(self) -> int:
        return len(self.sequence)

    @functools.cached_property
    def scored(self) -> StepGrid:
        """The K single tokens behind the rows, each with its step within its span."""
        if self.span_ids is None:
            return self
        lengths = [len(ids) for ids in self.span_ids]
        step = [k for length in lengths for k in range(length)]
        first = np.repeat(self.position + 1 - lengths, lengths)
        return StepGrid(
            sequence=np.repeat(self.sequence, lengths),
            position=first + step,
            target_ids=[i for ids in self.span_ids for i in ids],
            step=step,
        )

    @functools.cached_property
    def owner(self) -> IntArray:
        """(K,) the row that each scored token belongs to."""
        return as_ids(
            np.repeat(np.arange(len(self)), [len(ids) for ids in self.span_ids or [(0,)] * len(self)])
        )

    @property
    def n_steps(self) -> int:
        """T: the largest number of steps of one sequence."""
        return int(np.bincount(self.sequence).max()) if len(self) else 0

    @property
    def prefix_length(self) -> int:
        """Target positions that the last row looks at: no row depends on anything at or after it."""
        return int(self.position.max()) if len(self) else 0

    def take(self, rows: Sequence[int] | IntArray) -> StepGrid:
        """The chosen rows."""
        rows = np.asarray(rows, dtype=np.int64)
        return StepGrid(
            sequence=self.sequence[rows],
            position=self.position[rows],
            target_ids=self.target_ids[rows],
            step=self.step[rows],
            span_ids=None if self.span_ids is None else tuple(self.span_ids[r] for r in rows.tolist()),
        )

    def rows_of(self, sequence: int) -> IntArray:
        """Rows of one sequence."""
        return np.flatnonzero(self.sequence == sequence)

    def repeated(self, times: int, n_sequences: int) -> StepGrid:
        """The same rows for ``times`` copies of the batch laid one after the other: (times * R) rows."""
        shift = np.repeat(np.arange(times) * n_sequences, len(self))
        return StepGrid(
            sequence=np.tile(self.sequence, times) + shift,
            position=np.tile(self.position, times),
            target_ids=np.tile(self.target_ids, times),
            step=np.tile(self.step, times),
            span_ids=None if self.span_ids is None else self.span_ids * times,
        )

    def chunks(self, size: int) -> Iterator[IntArray]:
        """Rows whose ``step`` lies in [0, size), then [size, 2·size), …: chunks that share a prefix."""
        for k in range(0, int(self.step.max(initial=-1)) + 1, size):
            rows = np.flatnonzero((self.step >= k) & (self.step < k + size))
            if len(rows):
                yield rows
