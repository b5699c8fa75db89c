"""The attention graph of one text, and how much can flow through it.

Nodes are positions after each layer; an edge's capacity is the share that a node takes from another. In
encoder–decoder models every decoder layer has two rows of nodes: after self-attention and after
cross-attention, whose edges come from the encoder's last layer too.
Axes: S source positions, L target positions.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

SCALE = 1 << 28
"""Capacities are whole numbers in the solver: shares in units of 2^-28."""


@attrs.define(eq=False)
class LayerGraph:
    """Edges as they come, layer by layer.

    Attributes:
        encoder, decoder: number of the first node of each row of nodes, input first.
    """

    encoder: list[int] = attrs.field(factory=list)
    decoder: list[int] = attrs.field(factory=list)
    _size: int = 0
    _edges: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = attrs.field(factory=list)
    _graph: Any = None

    def add_self(self, kind: str, matrix: np.ndarray) -> None:
        """A layer of self-attention (L, L), residual included."""
        rows = self.encoder if kind == "encoder" else self.decoder
        if not rows:
            self._new_row(rows, len(matrix))
        before = rows[-1]
        self._connect(before, self._new_row(rows, len(matrix)), matrix)

    def add_cross(self, matrix: np.ndarray, residual: np.ndarray) -> None:
        """A layer of cross-attention (L, S), and the residual's share (L,)."""
        if not self.decoder:
            self._new_row(self.decoder, len(matrix))
        before = self.decoder[-1]
        after = self._new_row(self.decoder, len(matrix))
        self._connect(self.encoder[-1], after, matrix)
        self._connect(before, after, np.diag(residual))

    def flow(self, side: str, token: int, position: int) -> float:
        """Largest flow from an input token of "encoder" or "decoder" to a position of the last decoder
        row.
        """
        if self._graph is None:
            heads, tails, capacities = (np.concatenate(part) for part in zip(*self._edges, strict=True))
            self._graph = csr_array((capacities, (tails, heads)), shape=(self._size, self._size))
        rows = self.encoder if side == "encoder" else self.decoder
        return (
            float(maximum_flow(self._graph, rows[0] + token, self.decoder[-1] + position).flow_value) / SCALE
        )

    def _new_row(self, rows: list[int], length: int) -> int:
        rows.append(self._size)
        self._size += length
        return rows[-1]

    def _connect(self, before: int, after: int, matrix: np.ndarray) -> None:
        """Edges from each node j before to each node i after, with capacity matrix[i, j]."""
        capacity = np.rint(matrix * SCALE).astype(np.int32)
        i, j = np.nonzero(capacity)
        self._edges.append(((after + i).astype(np.int32), (before + j).astype(np.int32), capacity[i, j]))
