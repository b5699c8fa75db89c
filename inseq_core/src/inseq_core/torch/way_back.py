"""From the rows of a forward pass back to what it began at, for the cotangents of many steps at once.

Along a tape (``torch.tape``), once that is proved on the loaded model; by autograd's own graph where it cannot be.
Axes: B sequences, T steps, K scored tokens, C cotangents, S source positions, L target positions, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.data.batch import IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import InseqError
from inseq_core.torch import planner
from inseq_core.torch.adapter import RowPass, TorchAdapter
from inseq_core.torch.selfcheck import check_tape
from inseq_core.torch.tape import Reach, Tape

Made = TypeVar("Made")


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


def along_a_tape(
    adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid, work: Callable[[WayBack], Made]
) -> Made:
    """``work`` on a pass of many steps that is kept on a tape, once that is proved on this model; by autograd alone where it
    cannot be.
    """
    back = _way_back(adapter, batch, grid)
    try:
        return work(back)
    except Exception as error:  # a tape is there for speed alone
        if back.tape is None or isinstance(error, InseqError) or adapter.is_out_of_memory(error):
            raise
        found = work(WayBack(adapter))
        adapter.traits.uses_tape = False
        reason = (str(error) or type(error).__name__).splitlines()[0]
        adapter.traits.note(f"passes are recorded by autograd alone: {reason}")
        return found


def _way_back(adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid) -> WayBack:
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
