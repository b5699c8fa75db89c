"""Rows of a batch, with no more of the batch than they need.

Axes: B sequences, R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from inseq_core.data.batch import EncodedText, IntArray, TokenBatch
from inseq_core.data.steps import StepGrid


@attrs.frozen(kw_only=True, eq=False)
class RowSet:
    """Some rows of some texts.

    Attributes:
        batch: the texts whole; ``prefix`` is what the rows look at.
        grid: the rows.
    """

    batch: TokenBatch
    grid: StepGrid

    @classmethod
    def of(
        cls,
        texts: Sequence[EncodedText],
        spans: Sequence[tuple[int, int]],
        chosen: Sequence[int],
        pad_id: int,
    ) -> RowSet:
        """Every attributed step of the chosen texts of a call."""
        batch = TokenBatch.of((texts[i] for i in chosen), pad_id, origin=chosen)
        return cls(batch=batch, grid=StepGrid.of(batch, [spans[i] for i in chosen]))

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def prefix(self) -> TokenBatch:
        """The texts cut to what the last row looks at."""
        return self.batch.truncated(self.grid.prefix_length)

    def take(self, rows: Sequence[int] | IntArray) -> RowSet:
        """The chosen rows, and only the sequences that they are of."""
        grid = self.grid.take(rows)
        used, sequence = np.unique(grid.sequence, return_inverse=True)
        return RowSet(batch=self.batch.take(used.tolist()), grid=attrs.evolve(grid, sequence=sequence))

    def summed(self) -> RowSet:
        """One row a sequence, for all of its rows together."""
        positions = [self.grid.position[rows] for _, rows in self.by_sequence()]
        spans = [(int(p.min()), int(p.max()) + 1) for p in positions]
        return attrs.evolve(self, grid=StepGrid.summed(self.batch, spans))

    def by_sequence(self) -> Iterator[tuple[int, IntArray]]:
        """Each sequence that has rows, and its rows."""
        for sequence in np.unique(self.grid.sequence).tolist():
            yield sequence, self.grid.rows_of(sequence)
