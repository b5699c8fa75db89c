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

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError, InseqError, InvalidArgumentError
from inseq_core.torch import planner, seams
from inseq_core.torch.adapter import RowPass, TorchAdapter
from inseq_core.torch.selfcheck import check_tape
from inseq_core.torch.tape import Reach, Tape

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

    back = way_back(adapter, batch, grid) if rules is None else WayBack(adapter)
    try:
        return along(back)
    except Exception as error:  # a tape is there for speed alone
        if back.tape is None or isinstance(error, InseqError) or adapter.is_out_of_memory(error):
            raise
        found = along(WayBack(adapter))
        adapter.traits.uses_tape = False
        reason = (str(error) or type(error).__name__).splitlines()[0]
        adapter.traits.note(f"passes are recorded by autograd alone: {reason}")
        return found


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


@attrs.frozen(eq=False)
class CotangentRows:
    """Cotangents of hidden states, one for each of K scored tokens.

    Attributes:
        values: (K, D).
        step: (K,) which of T steps each belongs to.
        scored: where they stand.
        shape: B, L of the pass.
    """

    values: Tensor
    step: IntArray
    scored: StepGrid
    shape: tuple[int, ...]

    @property
    def n_steps(self) -> int:
        """T."""
        return int(self.step.max()) + 1

    def chosen(self, start: int, stop: int) -> tuple[Tensor, Reach]:
        """Those of some steps as the rows of a tape, (N + 1, D), and which rows they are."""
        device = self.values.device
        at = np.flatnonzero((self.step >= start) & (self.step < stop))
        step, sequence, position = (
            x[at] for x in (self.step - start, self.scored.sequence, self.scored.position - 1)
        )
        b, length = self.shape
        reach = Reach.of(step, sequence, position, (stop - start, b, length), device)
        places = torch.from_numpy((step * b + sequence) * length + position).to(device)
        rows = self.values.new_zeros(len(reach.top) + 1, self.values.shape[1])
        rows.index_add_(0, reach.top.back[places], self.values[torch.from_numpy(at).to(device)])
        return rows, reach

    def spread(self, start: int, stop: int) -> Tensor:
        """Those of some steps, each among zeros for every other row: (C, K, D)."""
        steps = torch.arange(start, stop, device=self.values.device)
        step = torch.from_numpy(self.step).to(steps.device)
        return self.values[None] * (step[None, :] == steps[:, None])[:, :, None]


@attrs.frozen(eq=False)
class WayBack:
    """From the rows of a pass to what it began at, for the cotangents of many steps.

    Attributes:
        tape: what the pass is kept on; None where autograd alone records it.
    """

    adapter: TorchAdapter
    tape: Tape | None = None

    def begin(self, leaf: Tensor, side: str) -> None:
        """The pass begins at this leaf, whose rows are positions of a side."""
        if self.tape is not None:
            self.tape.begin(leaf, side)

    def of_head(self, rowpass: RowPass, by_logits: Tensor) -> Tensor:
        """(R, 1, V) cotangents of the logits -> (R, D), those of what entered the head."""
        if self.tape is None:
            (found,) = torch.autograd.grad(rowpass.logits, rowpass.detached, by_logits)
            return found
        rows = by_logits.reshape(len(by_logits), -1)
        return self.tape.vjps(rowpass.logits, rows, None, 1, [rowpass.detached])[0][0]

    def of_steps(
        self, rowpass: RowPass, leaves: Sequence[Tensor], rows: CotangentRows, tokens: int
    ) -> list[Tensor]:
        """Products of the rows' cotangents with the body's Jacobian, step by step: a (T, …) tensor for each leaf.

        Args:
            tokens: positions of a sequence.
        """
        adapter, n_steps = self.adapter, rows.n_steps
        parts: list[Sequence[Tensor]] = []
        for start, stop in planner.cotangent_batches(adapter, rows.shape[0] * tokens, n_steps):
            if self.tape is None:
                sent = rows.spread(start, stop)
                parts.append(batched_vjp(adapter, rowpass.hidden, leaves, sent, keep=stop < n_steps))
            else:
                chosen, reach = rows.chosen(start, stop)
                adapter.counts["backward"] += 1
                parts.append(self.tape.vjps(rowpass.every, chosen, reach, stop - start, leaves))
        return [_joined(chunks) for chunks in zip(*parts, strict=True)]

    def of_all(self, output: Tensor, leaf: Tensor, cotangents: Tensor) -> Tensor:
        """Products of (T, B, S, D) cotangents with the Jacobian of ``output`` (B, S, D): (T, B, S, D)."""
        adapter, n_steps = self.adapter, cotangents.shape[0]
        parts = []
        for start, stop in planner.cotangent_batches(adapter, leaf.shape[0] * leaf.shape[1], n_steps):
            sent = cotangents[start:stop]
            if self.tape is None:
                parts.append(batched_vjp(adapter, output, [leaf], sent, keep=stop < n_steps)[0])
            else:
                adapter.counts["backward"] += 1
                rows = sent.reshape(-1, sent.shape[-1])
                parts.append(self.tape.vjps(output, rows, None, stop - start, [leaf])[0])
        return _joined(parts)


def way_back(adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid) -> WayBack:
    """How a pass of many steps is differentiated: on a tape, once that is proved on this model."""
    traits = adapter.traits
    if grid.n_steps == 1 or not traits.uses_tape:
        return WayBack(adapter)
    if traits.checked and not traits.proved_tape:
        check_tape(adapter, batch)
    return WayBack(adapter, Tape() if traits.uses_tape else None)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def batched_vjp(
    adapter: TorchAdapter, output: Tensor, leaves: Sequence[Tensor], sent: Tensor, *, keep: bool
) -> tuple[Tensor, ...]:
    """C vector-Jacobian products of one graph at once, or one after the other where an operation has no batching rule.

    Args:
        sent: (C, *output.shape) cotangents.
        keep: the graph is used again.

    Returns:
        (C, *leaf.shape) for each leaf.
    """
    count = len(sent)
    if count > 1 and adapter.traits.batches_cotangents:
        try:
            adapter.counts["backward"] += 1
            grads = torch.autograd.grad(
                output, leaves, sent, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
            return tuple(_present(g, leaf, count) for g, leaf in zip(grads, leaves, strict=True))
        except RuntimeError as error:
            if adapter.is_out_of_memory(error) or not ("vmap" in str(error) or "atching rule" in str(error)):
                raise
            adapter.traits.batches_cotangents = False
            adapter.traits.note(f"backward passes run one step at a time: {str(error).splitlines()[0]}")
    each = []
    for c, cotangent in enumerate(sent):
        adapter.counts["backward"] += 1
        grads = torch.autograd.grad(
            output, leaves, cotangent, retain_graph=keep or c < count - 1, allow_unused=True
        )
        each.append([_present(g, leaf, None) for g, leaf in zip(grads, leaves, strict=True)])
    return tuple(torch.stack(grads) for grads in zip(*each, strict=True))


def _present(grad: Tensor | None, leaf: Tensor, cotangents: int | None) -> Tensor:
    if grad is not None:
        return grad
    shape = leaf.shape if cotangents is None else (cotangents, *leaf.shape)
    return torch.zeros(shape, dtype=leaf.dtype, device=leaf.device)


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
