"""All-steps gradients.

One forward pass over the texts, then one vector-Jacobian product for each attributed step, batched. Exact for causal
decoders: the score of step t does not depend on tokens at or after t, so the gradient of the one pass is the gradient of
that step's own prefix pass.

The head is split off: it runs on the R rows only, on detached hidden states, and one backward pass of the summed scores
gives every row's derivative with respect to its hidden state (rows do not mix in the head). Those are the cotangents of the
body. Cotangent t carries the t-th step of every sequence: sequences do not mix in the body.
Axes: B sequences, T steps, R rows, S source positions, L target positions, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor, nn

from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError, InvalidArgumentError
from inseq_core.torch import seams
from inseq_core.torch.adapter import RowPass, TorchAdapter
from inseq_core.torch.way_back import CotangentRows, WayBack, along_a_tape

ScoreOfRows = Callable[[ForwardOutput], Tensor]
"""Attributed function at the rows: ``ForwardOutput`` with logits (R, 1, V) -> (R,)."""


@attrs.frozen(kw_only=True, eq=False)
class StepGradients:
    """Gradients of every step, dense in (sequence, step).

    Attributes:
        source: (B, T, S, D) or None. target: (B, T, L, D) or None. Zero where a sequence has fewer than T steps.
        scores: (R,) attributed function.
    """

    source: Tensor | None
    target: Tensor | None
    scores: Tensor


class ForwardRules(Protocol):
    """Other rules for the backward pass, in force while the forward pass is recorded (relevance propagation, DeepLIFT).

    A reusable ``with`` block; ``mark`` tells it which tensors vary with the input.
    """

    def mark(self, tensor: Tensor) -> Tensor: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> Any: ...


@attrs.frozen(kw_only=True, eq=False)
class LayerPoint:
    """A module inside the model, the side that it runs in, and the side whose positions its output (B, L, D) has.

    The two differ for what a decoder computes from encoder states, such as the keys of cross-attention.
    """

    name: str
    module: nn.Module
    side: str
    positions: str


def step_gradients(
    adapter: TorchAdapter,
    batch: TokenBatch,
    grid: StepGrid,
    score: ScoreOfRows,
    *,
    source: Tensor | None = None,
    target: Tensor | None = None,
    want_source: bool = False,
    want_target: bool = True,
    at: LayerPoint | None = None,
    rules: ForwardRules | None = None,
    name: str = "the attributed function",
) -> StepGradients:
    """Gradient of every row's score with respect to the embeddings before it.

    Args:
        batch, grid: texts and rows; ``grid.step`` counts from any start.
        source, target: (B, S, D), (B, L, D) embeddings to differentiate at; the texts' own where None.
        want_source, want_target: sides to differentiate.
        at: differentiate at the output of this module instead of the token embeddings; its side is the one wanted, and
            ``source`` or ``target`` are values of that output.
        rules: backward rules to record instead of the derivatives.

    Raises:
        CapabilityError: the attributed function detaches the graph.
        InvalidArgumentError: the model makes no use of the module's output.
    """

    def along(back: WayBack) -> StepGradients:
        sides = (source, target, want_source, want_target)
        return _step_gradients(back, batch, grid, score, *sides, at, rules, name)

    if rules is not None:
        return along(WayBack(adapter))
    return along_a_tape(adapter, batch, grid, along)


def _step_gradients(
    back: WayBack,
    batch: TokenBatch,
    grid: StepGrid,
    score: ScoreOfRows,
    source: Tensor | None,
    target: Tensor | None,
    want_source: bool,
    want_target: bool,
    at: LayerPoint | None,
    rules: ForwardRules | None,
    name: str,
) -> StepGradients:
    """The same, the way back chosen."""
    adapter = back.adapter
    at_source = at.module if at is not None and at.side == "source" else None
    at_target = at.module if at is not None and at.side == "target" else None
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        adapter.quiet(),
        seams.differentiable_attention(),
        rules or nullcontext(),
    ):
        leaves: list[Tensor] = []
        memory = memory_leaf = source_leaf = target_leaf = None
        scored = grid.scored
        with back.tape or nullcontext():
            if batch.has_source and want_source:
                source_leaf = _leaf(
                    source if source is not None else adapter.batch_embeddings(batch, "source"), rules
                )
                back.begin(source_leaf, "source")
                memory = adapter.encode_memory(batch, source_leaf, at_source)
                memory_leaf = memory.detach().requires_grad_()
                back.begin(memory_leaf, "source")
                leaves.append(memory_leaf)
            elif batch.has_source:
                with torch.no_grad():
                    memory_leaf = adapter.encode_memory(batch, source, at_source)
            if want_target:
                target_leaf = _leaf(
                    target if target is not None else adapter.batch_embeddings(batch, "target"), rules
                )
                back.begin(target_leaf, "target")
                target = target_leaf
                leaves.append(target_leaf)
            rowpass = adapter.decode_rows(
                batch, scored, target=target, memory=memory_leaf, at=at_target, graph=True
            )
        end = memory if at_source is not None else rowpass.hidden
        if at is not None and end is not None and not end.requires_grad:
            raise InvalidArgumentError(
                f"target_layer {at.name!r}: nothing of its (first) output is used on the way to the scores, so it has no "
                "gradient.\n  Choose a module around it, or behind it."
            )
        scores, cotangents, scale = row_cotangents(rowpass, score, name, back)
        if grid.span_ids is not None and scale is not None:
            cotangents, scale = _one_scale(cotangents, scale, adapter.as_array(grid.owner), len(grid))
        # the tokens of a summed row share a step: their cotangents go through the body in one product
        steps = grid.step[grid.owner] - int(grid.step.min())
        n_steps = int(steps.max()) + 1
        rows = CotangentRows(cotangents, steps, scored, batch.target_ids.shape)
        tokens = max(leaf.shape[1] for leaf in leaves)
        through_body = back.of_steps(rowpass, leaves, rows, tokens)
        by_leaf = dict(zip(map(id, leaves), through_body, strict=True))
        grad_target = by_leaf.get(id(target_leaf)) if target_leaf is not None else None
        grad_source = None
        if source_leaf is not None and memory is not None:
            grad_source = back.of_all(memory, source_leaf, by_leaf[id(memory_leaf)])
        step = adapter.as_array(steps)
        unscale = _dense_scale(scale, adapter.as_array(scored.sequence), step, len(batch), n_steps)
    return StepGradients(
        source=_finish(grad_source, unscale), target=_finish(grad_target, unscale), scores=scores.detach()
    )


def row_cotangents(
    rowpass: RowPass, score: ScoreOfRows, name: str, back: WayBack
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Every row's derivative of its score with respect to what enters the head.

    In half precision each row's cotangent is divided by its largest entry on the way (the products are linear in it), so
    that small probabilities do not underflow; the third value undoes it.

    Returns:
        scores (R,), cotangents (R, D), scale (R,) or None.
    """
    half = rowpass.logits.dtype in (torch.float16, torch.bfloat16)
    at = rowpass.logits.detach()
    logits = (at.float() if half else at).requires_grad_()
    scores = score(ForwardOutput(logits=logits, raw=rowpass.raw))
    if not isinstance(scores, Tensor) or not scores.requires_grad:
        raise CapabilityError(
            f"{name} detaches the graph: its value has no gradient with respect to the logits. "
            "Use torch operations without .detach(), .item(), argmax or comparisons, or a removal method."
        )
    (by_logits,) = torch.autograd.grad(scores.sum(), logits)
    scale = None
    if half:
        scale = by_logits.abs().amax(dim=(1, 2)).clamp_min(torch.finfo(torch.float32).tiny)
        by_logits = (by_logits / scale[:, None, None]).to(rowpass.logits.dtype)
    cotangents = back.of_head(rowpass, by_logits)
    if half and scale is not None:
        peak = cotangents.float().abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        cotangents = (cotangents.float() / peak[:, None]).to(rowpass.hidden.dtype)
        scale = scale * peak
    return scores, cotangents, scale


def _one_scale(cotangents: Tensor, scale: Tensor, owner: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """(K, D) cotangents on the largest scale of the row that each belongs to, so that they can be added up."""
    largest = scale.new_zeros(n_rows).scatter_reduce(0, owner, scale, "amax")[owner]
    return (cotangents.float() * (scale / largest)[:, None]).to(cotangents.dtype), largest


def _leaf(embeddings: Tensor, rules: ForwardRules | None) -> Tensor:
    leaf = embeddings.detach().clone().requires_grad_()
    return leaf if rules is None else rules.mark(leaf)


def _dense_scale(
    scale: Tensor | None, sequence: Tensor, step: Tensor, n_sequences: int, n_steps: int
) -> Tensor | None:
    if scale is None:
        return None
    dense = torch.zeros(n_steps, n_sequences, dtype=scale.dtype, device=scale.device)
    dense[step, sequence] = scale
    return dense[:, :, None, None]


def _finish(grad: Tensor | None, unscale: Tensor | None) -> Tensor | None:
    """(T, B, …) -> (B, T, …), in float32 or better."""
    if grad is None:
        return None
    if unscale is not None:
        grad = grad.float() * unscale
    return grad.transpose(0, 1)
