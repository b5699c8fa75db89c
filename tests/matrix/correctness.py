"""The matrix of methods and architectures, each cell against a slow derivation; written into docs/correctness.md.

    .venv/bin/python tests/matrix/correctness.py            run everything and write the table
    .venv/bin/python tests/matrix/correctness.py gpt2 t5    run some architectures and print them

A cell is the largest difference from its oracle over two texts, once each alone and once together in a padded batch, relative to
the largest score. Oracles: autograd on each step's own prefix by plain calls of the model (gradients); the same at every node of
the quadrature (integrated gradients, gradient SHAP); the change of the score (completeness of DeepLIFT); a plain call of the model
on the text without the token (occlusion); transformers' ``output_attentions`` (attention).
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.contexts import (
    PAIR,
    of_row,
    prefix_embeddings,
    prefix_gradients,
    prefix_score,
    tiny_context,
)
from support.tiny_models import ARCHITECTURES, MIXTURES_OF_EXPERTS

from inseq_captum.gradients import InputXGradient, Saliency
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.shap import GradientShap, interpolation_points
from inseq_core.torch import TorchContext
from inseq_propagation.deeplift import DeepLift

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
Cell = Callable[[TorchContext], float]


def _baselines(ctx: TorchContext, row: int) -> list[torch.Tensor]:
    found = ctx.baseline()
    sequence, position = int(ctx.grid.sequence[row]), int(ctx.grid.position[row])
    source = (
        [] if found.source is None else [found.source[[sequence], : int(ctx.batch.source_lengths[sequence])]]
    )
    return [*source, found.target[[sequence], :position]]


def _relative(ctx: TorchContext, found: object, expected: Callable[[int], list[torch.Tensor]]) -> float:
    """Largest difference over rows, relative to the largest expected score."""
    gap = top = 0.0
    for row in range(0, ctx.n_rows, 3):
        for a, e in zip(of_row(ctx, found.source, found.target, row), expected(row), strict=True):
            gap = max(gap, float(np.abs(a - e[0].detach().numpy()).max()))
            top = max(top, float(e.abs().max()))
    return gap / max(top, 1e-30)


def saliency(ctx: TorchContext) -> float:
    return _relative(
        ctx, Saliency().attribute(ctx), lambda row: [g.abs() for g in prefix_gradients(ctx, row)]
    )


def input_x_gradient(ctx: TorchContext) -> float:
    def expected(row: int) -> list[torch.Tensor]:
        return [g * x for g, x in zip(prefix_gradients(ctx, row), prefix_embeddings(ctx, row), strict=True)]

    return _relative(ctx, InputXGradient().attribute(ctx), expected)


def _path_sum(ctx: TorchContext, row: int, nodes: list[tuple[float, float]]) -> list[torch.Tensor]:
    """Σ weight · gradient at baseline + alpha (x - baseline), times (x - baseline)."""
    ends, starts = prefix_embeddings(ctx, row), _baselines(ctx, row)
    total = [torch.zeros_like(x) for x in ends]
    for alpha, weight in nodes:
        at = [(s + alpha * (e - s)).requires_grad_() for s, e in zip(starts, ends, strict=True)]
        for t, g in zip(total, torch.autograd.grad(prefix_score(ctx, row)(at), at), strict=True):
            t += weight * g
    return [t * (e - s) for t, s, e in zip(total, starts, ends, strict=True)]


def integrated_gradients(ctx: TorchContext) -> float:
    points, weights = np.polynomial.legendre.leggauss(4)
    nodes = [(float(p + 1) / 2, float(w) / 2) for p, w in zip(points, weights, strict=True)]
    return _relative(
        ctx, IntegratedGradients(n_steps=4).attribute(ctx), lambda row: _path_sum(ctx, row, nodes)
    )


def gradient_shap(ctx: TorchContext) -> float:
    alphas = interpolation_points(ctx, 2)

    def expected(row: int) -> list[torch.Tensor]:
        return _path_sum(ctx, row, [(float(a), 0.5) for a in alphas[:, int(ctx.grid.sequence[row])]])

    return _relative(ctx, GradientShap(n_samples=2).attribute(ctx), expected)


def deeplift(ctx: TorchContext) -> float:
    """Completeness: the delta relative to the largest change of the score."""
    found = DeepLift(return_convergence_delta=True).attribute(ctx)
    change = (ctx.scores() - ctx.scores(ctx.baseline())).double()
    total = sum(side.double().sum(dim=(1, 2)) for side in (found.source, found.target) if side is not None)
    return float((total - change).abs().max() / change.abs().max())


CELLS: dict[str, Cell] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "deeplift": deeplift,
}


def error(name: str, cell: Cell) -> float:
    """The worst of a padded batch and each text alone."""
    return max(cell(tiny_context(name, pairs)) for pairs in (PAIR, PAIR[:1], PAIR[1:]))


def table(names: list[str]) -> str:
    """The matrix as Markdown."""
    lines = ["| architecture | " + " | ".join(CELLS) + " |", "|---|" + "---|" * len(CELLS)]
    for name in names:
        cells = []
        for label, cell in CELLS.items():
            found = error(name, cell)
            is_routed = label == "deeplift" and name in MIXTURES_OF_EXPERTS
            cells.append(("0" if found == 0 else f"{found:.0e}") + (" (routing jumps)" if is_routed else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    names = sys.argv[1:] or list(ARCHITECTURES)
    found = table(names)
    page = ROOT / "docs" / "correctness.md"
    if sys.argv[1:] or not page.exists():
        return
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{found}\n{END}{after}")


if __name__ == "__main__":
    main()
