"""The neighbour graph of a vocabulary's embeddings: for a token, the k nearest others.

Rows of the graph are computed when a path first needs them, many at a time, and kept: in memory, and as plain
arrays in a file under the user's cache folder, whose name contains a hash of the embeddings. A file that is
damaged or of other embeddings is made again; one that cannot be read or written is done without.
Axes: V vocabulary, D hidden, W tokens asked for, k neighbours.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor

CACHE_VARIABLE = "INSEQ_CACHE"


@attrs.define(eq=False)
class NeighbourGraph:
    """k nearest tokens by Euclidean distance of embeddings.

    Attributes:
        embeddings: (V, D).
        k: neighbours of a token, itself not among them.
        folder: where the graph is kept; None keeps it in memory only.
    """

    embeddings: Tensor
    k: int
    folder: Path | None = None
    _rows: dict[int, np.ndarray] = attrs.field(init=False, factory=dict)
    _loaded: bool = attrs.field(init=False, default=False)

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """(W, k) nearest tokens of each of ``tokens`` (W,), nearest first."""
        self._load()
        missing = np.array([t for t in np.unique(tokens) if int(t) not in self._rows], dtype=np.int64)
        if len(missing):
            for token, row in zip(missing, self._nearest(missing), strict=True):
                self._rows[int(token)] = row
            self._save()
        return np.stack([self._rows[int(t)] for t in tokens])

    def _nearest(self, tokens: np.ndarray) -> np.ndarray:
        """By one matrix product for at most 1,024 tokens at a time."""
        k = min(self.k, self.embeddings.shape[0] - 1)
        everything = self.embeddings.float()
        squares = (everything * everything).sum(1)
        found = []
        for start in range(0, len(tokens), 1024):
            chosen = torch.as_tensor(tokens[start : start + 1024], device=everything.device)
            distances = (
                squares[None] - 2 * everything[chosen] @ everything.T
            )  # + own square, the same along a row
            distances[torch.arange(len(chosen)), chosen] = float("inf")
            found.append(distances.topk(k, dim=1, largest=False).indices.cpu().numpy())
        return np.concatenate(found)

    @property
    def path(self) -> Path | None:
        """The file of this graph."""
        if self.folder is None:
            return None
        data = self.embeddings.detach().float().cpu().contiguous().numpy()
        digest = hashlib.sha256(data.tobytes() + str(data.shape).encode()).hexdigest()[:32]
        return self.folder / f"neighbours-{digest}-{self.k}.npz"

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        path = self.path
        if path is None:
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                tokens, rows = file["tokens"], file["neighbours"]
            size = self.embeddings.shape[0]
            width = min(self.k, size - 1)
            fits = (
                tokens.ndim == 1
                and rows.shape == (len(tokens), width)
                and rows.dtype.kind == tokens.dtype.kind == "i"
            )
            if fits and rows.size and rows.min() >= 0 and rows.max() < size:
                self._rows = {int(t): row for t, row in zip(tokens, rows, strict=True)}
        except Exception:  # whatever numpy, zipfile and zlib make of damage: it is made again
            return

    def _save(self) -> None:
        path = self.path
        if path is None:
            return
        tokens = np.array(sorted(self._rows), dtype=np.int64)
        content = io.BytesIO()
        np.savez(content, tokens=tokens, neighbours=np.stack([self._rows[int(t)] for t in tokens]))
        with contextlib.suppress(OSError):  # a cache that cannot be written is not needed
            _replace(path, content.getvalue())


def _replace(path: Path, data: bytes) -> None:
    """Written beside and moved, so that a reader never sees half of it; nothing else is left in the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}-{secrets.token_hex(8)}.tmp")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def cache_folder() -> Path:
    """``$INSEQ_CACHE``, or ``inseq`` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inseq"
