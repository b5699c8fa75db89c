"""Discretized integrated gradients: a path through real words.

Interpolation points of a straight path are no word's embedding. Here each token walks to its baseline from
word to word in the neighbour graph of the embeddings; each word on the way is moved only in the dimensions
where it would leave the box between the path's present point and its end, so that every coordinate is
monotonic. Axes: B sequences, R rows, L positions (of either side), D hidden, M = n_steps + 2 points of a
path, W words.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.data.result import MethodOutput
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import InputTensors, TorchContext, planner
from inseq_path_gradients.neighbours import NeighbourGraph, cache_folder
from inseq_path_gradients.parameters import at_least_one, known_strategy
from inseq_path_gradients.sequential import stacked


@attrs.frozen(kw_only=True)
class DiscretizedIntegratedGradients:
    """Integrated gradients along a monotonic path of word embeddings (Sanyal and Ren 2021, equation 3,
    algorithm 1).

    The walk goes through words that it has not met, never through the baseline's before its end. As in the
    paper the gradient at each point weighs the move to the next: a Riemann sum whose steps are as long as
    words are apart, so the delta is not small.

    Args:
        n_steps: words on each token's path, >= 1.
        method: how the next word is chosen among the neighbours: "greedy" (least moved to be monotonic) or
            "maxcount" (most monotonic dimensions).
        n_neighbors: neighbours of a word that are tried, >= 1.
        baseline: "unk", "pad", "mask", "eos", or a token: the word that paths end at.
        multiply_by_inputs: weigh each gradient by the path's next move; False by the length of the path
            alone.
        return_convergence_delta: report each step's delta (sum of scores minus change of the attributed
            function) as "deltas".
        internal_batch_size: points × texts in one graph; planned from memory if not given.
        use_cache: keep the neighbour graph in the user's cache folder (``INSEQ_CACHE``).
    """

    n_steps: int = attrs.field(default=30, validator=at_least_one)
    method: str = attrs.field(default="greedy", validator=known_strategy)
    n_neighbors: int = attrs.field(default=50, validator=at_least_one)
    baseline: str | int = attrs.field(default="unk")
    multiply_by_inputs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    return_convergence_delta: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    internal_batch_size: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(at_least_one)
    )
    use_cache: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        if self.baseline in ("zero", "mean"):
            raise InvalidArgumentError(
                f"baseline = {self.baseline!r} is no word: paths of this method end at one. Use 'unk', "
                f"'pad', 'mask' or a token."
            )

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        path = self._path(ctx)
        moves = len(path) - 1
        total = ctx.zeros()
        planned = planner.copies_at_once(ctx.adapter, ctx.batch, ctx.grid, moves)
        at_once = max((self.internal_batch_size or planned * len(ctx.batch)) // len(ctx.batch), 1)
        for start in range(0, moves, at_once):
            chosen = range(start, min(start + at_once, moves))
            gradients = ctx.step_gradients(stacked([path[m] for m in chosen]))
            for i, m in enumerate(chosen):
                one = gradients.map(itemgetter(slice(i * ctx.n_rows, (i + 1) * ctx.n_rows)))
                one = attrs.evolve(one, rows=ctx.rows)
                total = total + (one * (path[m + 1] - path[m]) if self.multiply_by_inputs else one / moves)
        step_scores = {}
        if self.return_convergence_delta:
            change = ctx.scores(path[-1]).double() - ctx.scores(path[0]).double()
            summed = torch.stack([side.double().sum(dim=(1, 2)) for side in total.sides()]).sum(0)
            step_scores["deltas"] = summed - change
        return ctx.output(
            total, step_scores=step_scores, notes={"points": len(path), "strategy": self.method}
        )

    def _path(self, ctx: TorchContext) -> list[InputTensors]:
        """M points from the baseline to the input, each (B, S, D), (B, L, D)."""
        inputs, baseline = ctx.inputs, ctx.baseline(self.baseline)
        walks: dict[str, Tensor] = {}
        for side in ("source", "target"):
            now, end = getattr(inputs, side), getattr(baseline, side)
            if now is not None:
                walks[side] = self._walks(ctx, side, now, end)
        points: list[dict[str, Any]] = [
            {side: walk[m] for side, walk in walks.items()} for m in range(self.n_steps + 2)
        ]
        return [attrs.evolve(inputs, **point) for point in points]

    def _walks(self, ctx: TorchContext, side: str, now: Tensor, end: Tensor) -> Tensor:
        """(M, B, L, D): each distinct pair of word and end walks once."""
        ids = ctx.batch.source_ids if side == "source" else ctx.batch.target_ids
        moves = (now != end).any(dim=2)  # (B, L)
        walk = now[None].repeat(self.n_steps + 2, 1, 1, 1)
        words = np.unique(ids[moves.cpu().numpy()])
        if not len(words):
            return walk
        final = ctx.adapter.baseline_ids(self.baseline, side)
        key = ("word paths", side, self, final)
        known: dict[int, Tensor] = ctx.request.cache.setdefault(key, {})
        fresh = np.array([w for w in words if int(w) not in known], dtype=np.int64)
        if len(fresh):
            paths = self._graph_walks(ctx, side, fresh, final)  # (M, W, D)
            known.update({int(w): paths[:, i] for i, w in enumerate(fresh)})
        table = torch.stack([known[int(w)] for w in words], dim=1)
        where = torch.as_tensor(np.searchsorted(words, ids).clip(max=len(words) - 1), device=now.device)
        return torch.where(moves[None, :, :, None], table[:, where].to(now.dtype), walk)

    def _graph_walks(self, ctx: TorchContext, side: str, words: np.ndarray, final: int) -> Tensor:
        """(M, W, D) from the final word to each of ``words``, all words walking together."""
        matrix = ctx.adapter.embedding_matrix(side)
        key = ("neighbour graph", side, self.n_neighbors)
        graph: NeighbourGraph = ctx.request.cache.setdefault(
            key, NeighbourGraph(matrix, self.n_neighbors, cache_folder() if self.use_cache else None)
        )
        end = matrix[final]
        rows = torch.arange(len(words), device=matrix.device)
        at, present = words, matrix[torch.as_tensor(words, device=matrix.device)]
        met = [np.full(len(words), final), words]
        points = [present]
        for _ in range(self.n_steps):
            near = graph.of(at)  # (W, k)
            candidates = matrix[torch.as_tensor(near, device=matrix.device)]  # (W, k, D)
            here = matrix[torch.as_tensor(at, device=matrix.device)][:, None]
            moved, is_inside = monotonic(here, end, candidates, self.n_steps)
            if self.method == "greedy":
                cost = (candidates - moved).float().norm(dim=2)
            else:
                cost = -is_inside.sum(dim=2).float()
            is_met = np.stack([(near == m[:, None]) for m in met]).any(axis=0)
            cost = cost.masked_fill(torch.as_tensor(is_met, device=cost.device), float("inf"))
            best = cost.argmin(dim=1)
            stuck = (
                (torch.isinf(cost).all(dim=1) | torch.as_tensor(at == final, device=cost.device))
                .cpu()
                .numpy()
            )
            at = np.where(stuck, final, near[np.arange(len(at)), best.cpu().numpy()])
            met.append(at)
            anchor = matrix[torch.as_tensor(at, device=matrix.device)]
            present = monotonic(present[:, None], end, anchor[:, None], self.n_steps)[0][rows, 0]
            points.append(present)
        points.append(end.expand_as(present))
        return torch.stack(points[::-1])


def monotonic(present: Tensor, end: Tensor, candidates: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Candidates moved into the box between present point and end: a coordinate outside it goes 1 / n_steps
    of its way instead.

    Args:
        present: (W, 1, D). end: (D,). candidates: (W, k, D).

    Returns:
        (W, k, D) the moved candidates, and which coordinates were inside already.
    """
    low, high = torch.minimum(present, end), torch.maximum(present, end)
    is_inside = (candidates >= low) & (candidates <= high)
    straight = present + (end - present) / n_steps
    return torch.where(is_inside, candidates, straight), is_inside
