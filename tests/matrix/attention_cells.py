"""Attention methods against the model's own ``output_attentions``, and what autograd makes of them.

Ours run on every implementation of attention that the model has; the oracles on the written-out one, each text
alone. Axes: R rows, S source positions, L target positions, K keys, N layers, H heads, D hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import networkx as nx
import numpy as np
import torch
from matrix.cells import BATCHES, Cell, distance_of_rows, some_rows
from support.attention import (
    IMPLEMENTATIONS,
    attention_context,
    own_attentions,
    own_scores,
    query_of,
    sequence_of,
)
from support.attention_truth import Carried, alti_rows, carried, flow_graph, rolled_out, zeroed
from support.tiny_models import STATE_SPACE

from inseq_attention.alti import Alti
from inseq_attention.norms import AttentionNorms
from inseq_attention.rollout import AttentionFlow, AttentionRollout
from inseq_attention.value_zeroing import ValueZeroing
from inseq_attention.weights import Attention, GradXAttention
from inseq_core.torch import TorchContext

Pair = tuple[str, str]


@attrs.frozen(kw_only=True, eq=False)
class Truth:
    """One text alone on the written-out model.

    Attributes:
        ctx: its context.
        own: kind -> (1, H, L, K) weights of each layer, as the library gives them.
    """

    name: str
    ctx: TorchContext
    own: dict[str, tuple[torch.Tensor, ...]]

    @functools.cached_property
    def n_source(self) -> int:
        """S, 0 for decoder-only models."""
        return int(self.own["encoder"][0].shape[-1]) if "encoder" in self.own else 0

    @functools.cached_property
    def branches(self) -> list[Carried]:
        """What attention carries."""
        return carried(self.name, self.ctx, 0)

    def by_side(self, rows: np.ndarray, query: int) -> list[np.ndarray]:
        """One query's row of (L, S + L), cut at what it sees, source first."""
        source = [rows[query, : self.n_source]] if self.n_source else []
        return [*source, rows[query, self.n_source :][: query + 1]]

    def by_kind(self, score: Callable[[str], Sequence[Any]], query: int) -> list[np.ndarray]:
        """Scores (K, …) of each layer of one query, stacked to (K, N, …); those of the source first."""
        kinds = ("cross", "decoder") if self.n_source else ("decoder",)
        cut = {"cross": self.n_source, "decoder": query + 1}
        return [np.stack([np.asarray(x)[: cut[k]] for x in score(k)], axis=1) for k in kinds]


@functools.lru_cache(maxsize=8)
def truth(name: str, pair: Pair) -> Truth:
    ctx = attention_context(name, "eager", (pair,))
    return Truth(name=name, ctx=ctx, own=own_attentions(ctx, 0))


Expected = Callable[[Truth, int, int], Sequence[Any]]
"""A text, the how-many-th of its rows, and the query of that row -> the row's scores, source first."""


def against(
    method: Any, expected: Expected, rows: Callable[[TorchContext], Any] = some_rows
) -> Callable[[str], float]:
    """A measure: a method on every implementation of attention, padded and alone."""

    def measure(name: str) -> float:
        worst = 0.0
        kinds = [kind for other, kind in IMPLEMENTATIONS if other == name] or ["eager"]
        for kind in kinds:
            for pairs in BATCHES:
                ctx = attention_context(name, kind, pairs)

                def of(ctx: TorchContext, row: int, pairs: Any = pairs) -> Sequence[Any]:
                    sequence = sequence_of(ctx, row)
                    number = row - int(ctx.grid.rows_of(sequence)[0])
                    return expected(truth(name, pairs[sequence]), number, query_of(ctx, row))

                worst = max(worst, distance_of_rows(ctx, method.attribute(ctx), of, rows(ctx)))
        return worst

    return measure


def raw(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    return text.by_kind(lambda kind: [w[0, :, query].detach().T for w in text.own[kind]], query)


def times_gradient(text: Truth, number: int, query: int) -> list[np.ndarray]:
    """Autograd on the step's own prefix."""
    attentions, score = own_scores(text.ctx, number)

    def scores(kind: str) -> list[torch.Tensor]:
        gradients = torch.autograd.grad(score, attentions[kind], retain_graph=True)
        return [(w * g)[0, :, -1].detach().T for w, g in zip(attentions[kind], gradients, strict=True)]

    return text.by_kind(scores, query)


def rollout(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    return text.by_side(rolled_out(text.own), query)


def flow(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    """Another solver of the same problem, one token after the other."""
    graph = flow_graph(text.own)
    sink = (f"d{len(text.own['decoder'])}", query)

    def most(node: tuple[str, int]) -> float:
        return float(nx.maximum_flow_value(graph, node, sink)) if node in graph else 0.0

    source = [np.array([most(("e0", s)) for s in range(text.n_source)])] if text.n_source else []
    return [*source, np.array([most(("d0", k)) for k in range(query + 1)])]


def norms(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    def of_kind(kind: str) -> list[Any]:
        return [b.vectors[query].norm(dim=-1) for b in text.branches if b.kind == kind]

    return text.by_kind(of_kind, query)


def normed_norms(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    """With the residual at the position itself, and behind the norm of the sum."""

    def of_kind(kind: str) -> list[Any]:
        found = []
        for branch in (b for b in text.branches if b.kind == kind):
            vectors = branch.vectors.clone()
            if kind == "decoder":
                here = torch.arange(len(vectors))
                vectors[here, here] += branch.residual
            found.append(branch.behind_norm(vectors)[query].norm(dim=-1))
        return found

    return text.by_kind(of_kind, query)


def shares(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    return text.by_side(alti_rows(text.branches), query)


def zeroing(text: Truth, _number: int, query: int) -> list[np.ndarray]:
    def of_kind(kind: str) -> list[Any]:
        return [zeroed(text.ctx, 0, b)[query] for b in text.branches if b.kind == kind]

    return text.by_kind(of_kind, query)


def last_rows(ctx: TorchContext) -> list[int]:
    """The last row of each text."""
    return [int(ctx.grid.rows_of(b)[-1]) for b in range(len(ctx.batch))]


def column(
    method: str,
    made: Any,
    expected: Expected,
    rows: Any = some_rows,
    refused: tuple[str, ...] = STATE_SPACE,
    **more: Any,
) -> Cell:
    """A method that refuses models without attention."""
    return Cell(method=method, measure=against(made, expected, rows), refused=refused, **more)


TITLE = "Attention"
CELLS = (
    column("attention", Attention(), raw),
    column("grad_x_attention", GradXAttention(), times_gradient, bound=1e-5),
    column("attention_rollout", AttentionRollout(), rollout),
    column("attention_flow", AttentionFlow(), flow, rows=last_rows),
    column("attention_norms", AttentionNorms(), norms),
    column("attention_norms", AttentionNorms(variant="attnresln"), normed_norms, detail="attnresln"),
    column("alti", Alti(), shares),
    column(
        "value_zeroing",
        ValueZeroing(output_encoder_self_scores=False),
        zeroing,
        refused=(*STATE_SPACE, "gemma3n"),  # four states a position: none that could be said to move
    ),
)
