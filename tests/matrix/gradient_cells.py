"""Gradient and path methods against autograd on each step's own prefix, by plain calls of the model.

Draws (of noise, of points) are the engine's own; everything that is done with them is done again here, slowly.
Axes: S source positions, L target positions, D hidden, M points of a path.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from matrix.cells import Cell, against_rows, alone_and_padded
from support.contexts import of_text, prefix_embeddings, prefix_gradients, prefix_score, tiny_context
from support.tiny_models import MIXTURES_OF_EXPERTS
from torch import Tensor

from inseq_captum.gradients import InputXGradient, Saliency
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.noise import SmoothGrad, SquareGrad
from inseq_captum.passthrough import CaptumAlgorithm
from inseq_captum.shap import GradientShap, interpolation_points
from inseq_core.torch import TorchContext
from inseq_example_method.expected_gradients import ExpectedGradients
from inseq_path_gradients.discretized import DiscretizedIntegratedGradients
from inseq_path_gradients.sequential import SequentialIntegratedGradients
from inseq_propagation.deeplift import DeepLift

JUMPS = {**dict.fromkeys(MIXTURES_OF_EXPERTS, "routing jumps"), "gemma3n": "streams"}
"""Where DeepLIFT's scores do not sum to the change: there is no pair of input and reference to compare."""
DEVIATION = 0.1
WORDS, NEIGHBOURS = 2, 8
COMPLETE = 1e-5
"""Differences of near-equal numbers over differences of near-equal numbers lose half of the digits."""


def gradients_at(ctx: TorchContext, row: int, points: Sequence[Tensor]) -> list[Tensor]:
    """Autograd on one row's own prefix with other embeddings in it."""
    at = [x.detach().clone().requires_grad_() for x in points]
    return list(torch.autograd.grad(prefix_score(ctx, row)(at), at))


def saliency(ctx: TorchContext, row: int) -> list[Tensor]:
    return [g[0].abs() for g in prefix_gradients(ctx, row)]


def input_x_gradient(ctx: TorchContext, row: int) -> list[Tensor]:
    sides = zip(prefix_gradients(ctx, row), prefix_embeddings(ctx, row), strict=True)
    return [(g * x)[0] for g, x in sides]


def path_sum(
    ctx: TorchContext,
    row: int,
    nodes: Iterable[tuple[float, float]],
    ends: list[Tensor],
    starts: list[Tensor],
) -> list[Tensor]:
    """Σ weight · gradient at start + alpha (end - start), times (end - start)."""
    total = [torch.zeros_like(x) for x in ends]
    for alpha, weight in nodes:
        points = [s + alpha * (e - s) for s, e in zip(starts, ends, strict=True)]
        for t, g in zip(total, gradients_at(ctx, row, points), strict=True):
            t += weight * g
    return [(t * (e - s))[0] for t, s, e in zip(total, starts, ends, strict=True)]


def quadrature(n: int) -> list[tuple[float, float]]:
    """Gauss–Legendre on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return [(float(p + 1) / 2, float(w) / 2) for p, w in zip(points, weights, strict=True)]


def integrated_gradients(ctx: TorchContext, row: int) -> list[Tensor]:
    ends, starts = prefix_embeddings(ctx, row), of_text(ctx, ctx.baseline(), row)
    return path_sum(ctx, row, quadrature(4), ends, starts)


def gradient_shap(ctx: TorchContext, row: int) -> list[Tensor]:
    """Each sample at its own point between the baseline and its own noisy input."""
    alphas = interpolation_points(ctx, 2)[:, int(ctx.grid.sequence[row])]
    starts, total = of_text(ctx, ctx.baseline(), row), None
    for alpha, noise in zip(alphas, ctx.draw(2), strict=True):
        shifts = of_text(ctx, noise, row)
        noisy = [x + DEVIATION * n for x, n in zip(prefix_embeddings(ctx, row), shifts, strict=True)]
        one = path_sum(ctx, row, [(float(alpha), 0.5)], noisy, starts)
        total = one if total is None else [a + b for a, b in zip(total, one, strict=True)]
    return total


def expected_gradients(ctx: TorchContext, row: int) -> list[Tensor]:
    total = None
    for alpha, reference in ctx.draw_references(2):
        starts = of_text(ctx, reference, row)
        one = path_sum(ctx, row, [(alpha, 0.5)], prefix_embeddings(ctx, row), starts)
        total = one if total is None else [a + b for a, b in zip(total, one, strict=True)]
    return total


def noisy_saliency(power: int) -> Any:
    """Mean of |gradient|, or of its square, over noisy inputs."""

    def expected(ctx: TorchContext, row: int) -> list[Tensor]:
        total = [torch.zeros_like(x[0]) for x in prefix_embeddings(ctx, row)]
        sides = ("source", "target") if ctx.batch.has_source else ("target",)
        deviations = [DEVIATION * ctx.adapter.embedding_matrix(side).double().std() for side in sides]
        for noise in ctx.draw(2):
            drawn = zip(prefix_embeddings(ctx, row), of_text(ctx, noise, row), deviations, strict=True)
            for t, g in zip(total, gradients_at(ctx, row, [x + d * n for x, n, d in drawn]), strict=True):
                t += g[0].abs() ** power / 2
        return total

    return expected


def sequential(ctx: TorchContext, row: int) -> list[Tensor]:
    """One token after the other: its own path, everything else in place."""
    ends, starts = prefix_embeddings(ctx, row), of_text(ctx, ctx.baseline(), row)
    found = [torch.zeros_like(x[0]) for x in ends]
    for side, (end, start) in enumerate(zip(ends, starts, strict=True)):
        for position in range(end.shape[1]):
            shift = (end - start)[0, position]
            for alpha, weight in quadrature(2) if shift.any() else ():
                points = [x.clone() for x in ends]
                points[side][0, position] = start[0, position] + alpha * shift
                gradient = gradients_at(ctx, row, points)[side]
                found[side][position] += weight * gradient[0, position] * shift
    return found


def discretized(ctx: TorchContext, row: int) -> list[Tensor]:
    """Σ gradient(w_k) · (w_{k+1} - w_k) along paths that are walked again, one token after the other."""
    text, position = ctx.batch.texts[int(ctx.grid.sequence[row])], int(ctx.grid.position[row])
    sides = [("target", text.target_ids[:position])]
    sides = [("source", text.source_ids), *sides] if text.source_ids is not None else sides
    paths = []
    for (side, ids), end, start in zip(
        sides, prefix_embeddings(ctx, row), of_text(ctx, ctx.baseline(), row), strict=True
    ):
        matrix, final = ctx.adapter.embedding_matrix(side).detach(), ctx.adapter.baseline_ids("unk", side)
        walks = [
            walk(matrix, int(token), final) if (end[0, i] != start[0, i]).any() else [end[0, i]] * (WORDS + 2)
            for i, token in enumerate(ids)
        ]
        paths.append([torch.stack(points)[None] for points in zip(*walks, strict=True)])
    total = [torch.zeros_like(path[0][0]) for path in paths]
    for here, there in itertools.pairwise(zip(*paths, strict=True)):
        for t, g, a, b in zip(total, gradients_at(ctx, row, here), here, there, strict=True):
            t += (g * (b - a))[0]
    return total


def walk(matrix: Tensor, word: int, final: int) -> list[Tensor]:
    """One word's path from the final word to itself (Sanyal and Ren 2021, algorithm 1, greedy), scalar by scalar."""
    end, at, present = matrix[final].double(), word, matrix[word].double()
    points, met = [present], {word, final}
    for _ in range(WORDS):
        distances = (matrix.double() - matrix[at].double()).norm(dim=1)
        distances[at] = float("inf")
        near = [int(i) for i in distances.argsort(stable=True)[:NEIGHBOURS] if int(i) not in met]
        here = matrix[at].double()
        costs = [float((matrix[i].double() - inside(here, end, matrix[i].double())).norm()) for i in near]
        at = near[int(np.argmin(costs))] if near and at != final else final
        met.add(at)
        present = inside(present, end, matrix[at].double())
        points.append(present)
    return [*[p.to(matrix.dtype) for p in (end, *reversed(points))]]


def inside(here: Tensor, end: Tensor, word: Tensor) -> Tensor:
    """A word, in each dimension where it is not between here and the end a step of the straight way."""
    between = (word - here) * (word - end) <= 0
    return torch.where(between, word, here + (end - here) / WORDS)


def completeness(name: str) -> float:
    """DeepLIFT: what its scores do not sum to, relative to the largest change of the score."""
    ctx = tiny_context(name)
    found = DeepLift().attribute(ctx)
    change = (ctx.scores() - ctx.scores(ctx.baseline())).double()
    total = sum(side.double().sum(dim=(1, 2)) for side in (found.source, found.target) if side is not None)
    return float((total - change).abs().max() / change.abs().max())


def deeplift(name: str) -> float:
    """Completeness; and a text in a batch as alone, also where routing jumps."""
    alike = alone_and_padded(DeepLift().attribute, tiny_context)(name)
    return max(alike, completeness(name)) if alike < COMPLETE else float("inf")


def by_rows(method: str, made: Any, expected: Any, **more: Any) -> Cell:
    """A column of a method with an oracle of its rows."""
    return Cell(method=method, measure=against_rows(made, expected, tiny_context), **more)


TITLE = "Gradients and paths"
CELLS = (
    by_rows("saliency", Saliency(), saliency),
    by_rows("input_x_gradient", InputXGradient(), input_x_gradient),
    by_rows("integrated_gradients", IntegratedGradients(n_steps=4), integrated_gradients),
    by_rows("gradient_shap", GradientShap(n_samples=2, stdevs=DEVIATION), gradient_shap),
    by_rows("expected_gradients", ExpectedGradients(n_samples=2), expected_gradients),
    by_rows("smoothgrad", SmoothGrad(n_samples=2, stdevs=DEVIATION), noisy_saliency(1)),
    by_rows("squaregrad", SquareGrad(n_samples=2, stdevs=DEVIATION), noisy_saliency(2)),
    by_rows(
        "sequential_integrated_gradients",
        SequentialIntegratedGradients(n_steps=2),
        sequential,
    ),
    by_rows(
        "discretized_integrated_gradients",
        DiscretizedIntegratedGradients(n_steps=WORDS, n_neighbors=NEIGHBOURS, use_cache=False),
        discretized,
    ),
    by_rows("captum", CaptumAlgorithm(algorithm="InputXGradient"), input_x_gradient),
    Cell(method="deeplift", measure=deeplift, bound=COMPLETE, excused=JUMPS),
)
