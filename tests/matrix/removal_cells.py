"""Removal methods against plain calls of the model on each step's own prefix, and the arithmetic done again.

Methods take texts one by one, so there is no padded batch here; versions share passes and prefixes wherever they
can. Which versions a method drew is watched; what it makes of them is derived again: subsets by brute force,
surrogates by scikit-learn, ReAGent round by round.
Axes: P versions, F features, S source positions, L target positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from matrix.cells import Cell, distance_of_rows, some_rows
from sklearn.linear_model import Lasso, Ridge
from support.contexts import PAIR
from support.hf_adapters import tiny_adapter
from support.plain_removal import Step, removal_context

from inseq_core.contracts.context import AttributionContext
from inseq_core.contracts.removal import RemovalWay
from inseq_core.data.batch import EncodedText
from inseq_core.model import AttributionModel
from inseq_core.torch import TorchContext
from inseq_perturbation.context_cite import ContextCite
from inseq_perturbation.kernel_shap import KernelShap
from inseq_perturbation.lime import Lime
from inseq_perturbation.occlusion import LeaveOneOut, Occlusion
from inseq_perturbation.reagent import CANDIDATES, STEEPEST, Reagent
from inseq_perturbation.shapley import Shapley
from inseq_perturbation.versions import uniform_draws

Scores = Callable[[TorchContext, Step, "Watched"], np.ndarray]
"""A context, one of its steps, and what the method asked for -> (F,) scores of the features that the step sees."""

GROUP = 4
"""Tokens of a feature where all subsets are run."""


class Watched:
    """What a method asked its context for.

    Attributes:
        kept: (P, F) of each call of ``removal_scores``.
        texts: of each call of ``version_scores``.
    """

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []
        self.texts: list[list[EncodedText]] = []

    def watching(self) -> Any:
        """A ``with`` block in which contexts are watched."""
        removal, version = AttributionContext.removal_scores, AttributionContext.version_scores

        def removal_scores(ctx: Any, kept: np.ndarray) -> np.ndarray:
            self.kept.append(np.array(kept))
            return removal(ctx, kept)

        def version_scores(ctx: Any, texts: Any, *more: Any) -> np.ndarray:
            self.texts.append(list(texts))
            return version(ctx, texts, *more)

        return mock.patch.multiple(
            AttributionContext, removal_scores=removal_scores, version_scores=version_scores
        )


def against(
    method: Any, expected: Scores, removal: RemovalWay | None = None, group: int = 1
) -> Callable[[str], float]:
    """A measure: a method on each text, every prefix shared that can be, against scores of single steps."""

    def measure(name: str) -> float:
        worst = 0.0
        for pair in PAIR:
            ctx, watched = removal_context(name, pair, removal, group), Watched()
            with watched.watching(), mock.patch("inseq_core.torch.removal.pass_cost", lambda adapter: 0):
                found = method.attribute(ctx)

            def of(ctx: TorchContext, row: int, watched: Watched = watched) -> list[np.ndarray]:
                step = Step.of(ctx, row)
                return on_positions(step, expected(ctx, step, watched))

            worst = max(worst, distance_of_rows(ctx, found, of, some_rows(ctx)))
        return worst

    return measure


def on_positions(step: Step, scores: np.ndarray) -> list[np.ndarray]:
    """(F,) -> each position the score of its feature: (S,) and (L,)."""
    sides = {"source": step.source, "target": step.prefix}
    placed = {side: np.zeros(len(ids)) for side, ids in sides.items() if ids is not None}
    for score, (side, positions) in zip(scores, step.features, strict=True):
        placed[side][list(positions)] = score
    return list(placed.values())


def windows(ctx: TorchContext, step: Step, _watched: Watched) -> np.ndarray:
    """Windows of two features: a feature's score is the mean over those that cover it."""
    n, full = len(step.features), step.without(np.ones((1, len(step.features)), dtype=bool))[0]
    falls: list[list[float]] = [[] for _ in range(n)]
    for first in range(n):
        window = [f for f in (first, first + 1) if f < n and step.features[f][0] == step.features[first][0]]
        kept = np.ones((1, n), dtype=bool)
        kept[0, window] = False
        fall = float(full - step.without(kept)[0])
        for f in window:
            falls[f].append(fall)
    return np.array([np.mean(fall) for fall in falls])


def one_by_one(score: Callable[[Step, str, tuple[int, ...]], float]) -> Scores:
    """What the step loses with each feature."""

    def expected(_ctx: TorchContext, step: Step, _watched: Watched) -> np.ndarray:
        full = step.without(np.ones((1, len(step.features)), dtype=bool))[0]
        return np.array([full - score(step, *feature) for feature in step.features])

    return expected


def replaced(step: Step, side: str, positions: tuple[int, ...]) -> float:
    kept = [[(side, positions) != feature for feature in step.features]]
    return float(step.without(np.array(kept))[0])


def every_order(_ctx: TorchContext, step: Step, _watched: Watched) -> np.ndarray:
    """Shapley values from all subsets (Shapley 1953)."""
    n = len(step.features)
    kept = np.array(np.meshgrid(*[[False, True]] * n, indexing="ij")).reshape(n, -1).T
    value = dict(zip(map(tuple, kept.tolist()), step.without(kept).tolist(), strict=True))
    found = np.zeros(n)
    for subset, score in value.items():
        for f in range(n):
            if not subset[f]:
                more = (*subset[:f], True, *subset[f + 1 :])
                found[f] += (value[more] - score) / (n * math.comb(n - 1, sum(subset)))
    return found


def coalitions(_ctx: TorchContext, step: Step, watched: Watched) -> np.ndarray:
    """The drawn coalitions' least-squares problem under its constraint, by its stationarity conditions."""
    kept = watched.kept[0][:, list(step.index)]
    x, y = kept.astype(float), step.without(kept)
    full, empty, size, n = y[0], y[-1], x.sum(axis=1), x.shape[1]
    inner = (size > 0) & (size < n) & (np.arange(len(x)) > 0) & (np.arange(len(x)) < len(x) - 1)
    weight = inner / np.maximum(size * (n - size), 1)  # where every size is as likely: 1 / (k (F - k))
    gram = (x * weight[:, None]).T @ x
    system = np.block([[gram, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    right = np.append((x * weight[:, None]).T @ (y - empty), full - empty)
    return np.linalg.lstsq(system, right, rcond=1e-12)[0][:n]


def ridge(_ctx: TorchContext, step: Step, watched: Watched) -> np.ndarray:
    kept = watched.kept[0][:, list(step.index)]
    distance = 1.0 - np.sqrt(kept.mean(axis=1))  # the cosine of a binary vector and ones
    weight = np.exp(-((distance / 0.25) ** 2))
    return Ridge(alpha=0.01).fit(kept.astype(float), step.without(kept), sample_weight=weight).coef_


def lasso(_ctx: TorchContext, step: Step, watched: Watched) -> np.ndarray:
    """On standardised parts, of the probability's logit; the penalty in units of the logit's deviation."""
    kept = watched.kept[0][:, list(step.index)].astype(float)
    p = step.without(kept.astype(bool))
    y = np.log(p) - np.log1p(-p)
    spread = np.where(kept.std(axis=0) > 0, kept.std(axis=0), 1.0)
    x = (kept - kept.mean(axis=0)) / spread
    fit = Lasso(alpha=0.01 * y.std(), tol=1e-12, max_iter=100_000).fit(x, y)
    return fit.coef_ / spread


REAGENT = Reagent(max_probe_steps=4, num_probes=2, keep_top_n=2, replacements="vocabulary")


def rounds(ctx: TorchContext, step: Step, watched: Watched) -> np.ndarray:
    """ReAGent's rounds one by one: what was replaced is read off the texts; a look after each of the first four."""
    probes = REAGENT.num_probes
    begin = uniform_draws(ctx, ctx.generator(), probes)[:, list(step.index)]
    importance, is_open = begin.copy(), [True] * probes
    full = step.without(np.ones((1, len(step.features)), dtype=bool))[0]
    for number in range(REAGENT.max_probe_steps):
        texts = watched.texts[2 * number][1:]  # each round is followed by a look
        for probe in range(probes):
            if not is_open[probe]:
                continue
            source, prefix = texts[probe].source_ids, texts[probe].target_ids[: len(step.prefix)]
            changed = np.array([has_changed(step, feature, source, prefix) for feature in step.features])
            fall = full - step.score(prefix[None], None if source is None else source[None])[0]
            fall = float(np.clip(fall, -STEEPEST, STEEPEST))
            gain = math.log((1 + fall) / (1 - fall))
            importance[probe] += np.where(changed, gain, -gain)
            is_open[probe] = not is_enough(ctx, step, importance[probe], number, probe)
    power = np.exp(importance - importance.max(axis=1, keepdims=True))
    return (power / power.sum(axis=1, keepdims=True)).mean(axis=0)


def has_changed(step: Step, feature: Any, source: Any, prefix: Any) -> bool:
    side, positions = feature
    new, old = (source, step.source) if side == "source" else (prefix, step.prefix)
    return bool((np.asarray(new)[list(positions)] != np.asarray(old)[list(positions)]).any())


def is_enough(ctx: TorchContext, step: Step, importance: np.ndarray, number: int, probe: int) -> bool:
    """Whether the target is likely still with all but the most important features replaced."""
    from inseq_core.contracts.replacements import replacement_pool

    top = set(importance.argsort()[-REAGENT.keep_top_n :].tolist())
    source, prefix = (None if step.source is None else step.source.copy()), step.prefix.copy()
    choice = (number + probe) % CANDIDATES
    for f, (side, positions) in enumerate(step.features):
        if f not in top:
            ids = source if side == "source" else prefix
            ids[list(positions)] = replacement_pool(ctx, side, CANDIDATES)[list(positions), choice]
    return step.rank(prefix, source) < REAGENT.stopping_condition_top_k


def several_texts(method: str, **arguments: Any) -> Callable[[str], float]:
    """A measure: two texts in one call, as a user makes it, against each of them in a call of its own."""

    def measure(name: str) -> float:
        model = AttributionModel(tiny_adapter(name, dtype=torch.float64))
        has_source = model.is_encoder_decoder
        outputs = [output if has_source else text + output for text, output in PAIR]
        options = {"method": method, "attribute_target": has_source, "show_progress": False, **arguments}
        together = model.attribute([text for text, _ in PAIR], outputs, **options)
        gap = top = 0.0
        for (text, _), output, found in zip(PAIR, outputs, together, strict=True):
            alone = model.attribute(text, output, **options)[0]
            for side in ("source_attributions", "target_attributions"):
                if getattr(alone, side) is not None:
                    gap = max(gap, float(np.nanmax(np.abs(getattr(found, side) - getattr(alone, side)))))
                    top = max(top, float(np.nanmax(np.abs(getattr(alone, side)))))
        return gap / top

    return measure


TITLE = "Removal"
CELLS = (
    Cell(method="occlusion", measure=against(Occlusion(window=2), windows)),
    Cell(method="occlusion", detail="several texts", measure=several_texts("occlusion")),
    Cell(method="leave_one_out", detail="token", measure=against(LeaveOneOut(), one_by_one(replaced))),
    Cell(
        method="leave_one_out",
        detail="delete",
        measure=against(LeaveOneOut(), one_by_one(Step.deleted), RemovalWay(way="delete")),
    ),
    Cell(
        method="leave_one_out",
        detail="mask",
        measure=against(LeaveOneOut(), one_by_one(Step.masked), RemovalWay(way="mask")),
    ),
    Cell(
        method="leave_one_out",
        detail="mean",
        measure=against(LeaveOneOut(), one_by_one(Step.blank), RemovalWay(way="mean")),
    ),
    Cell(method="shapley", measure=against(Shapley(), every_order, group=GROUP)),
    Cell(
        method="kernel_shap",
        detail="exact",
        measure=against(KernelShap(n_samples=4096), every_order, group=GROUP),
    ),
    Cell(method="kernel_shap", detail="sampled", measure=against(KernelShap(n_samples=128), coalitions)),
    Cell(method="lime", measure=against(Lime(), ridge)),
    Cell(
        method="context_cite", measure=against(ContextCite(n_bootstrap=0, scale="logit"), lasso), bound=1e-4
    ),
    Cell(method="reagent", measure=against(REAGENT, rounds)),
)
