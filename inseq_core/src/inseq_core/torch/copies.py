"""Copies of the batch in one graph: path nodes, noisy samples. Fewer of them where memory runs out.

What was too much once is not tried again in the same call.
Axes: B sequences, T steps, R rows, L positions (of either side), D hidden, K copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inseq_core.contracts.memory import in_parts
from inseq_core.torch.gradients import StepGradients

if TYPE_CHECKING:
    from inseq_core.torch.context import TorchContext

AT_ONCE = "copies of the batch at once"
"""Where a call keeps how many fitted, once more did not."""


def gradients_of_copies(
    ctx: TorchContext, copies: int, work: Callable[[range], StepGradients]
) -> StepGradients:
    """``work`` on all copies together, or on halves of halves of them where memory ran out.

    Args:
        work: gradients of the copies in a range: (k·B, T, L, D) and (k·R,).
    """
    cache = ctx.request.cache
    most = max(int(cache.get(AT_ONCE, copies)), 1)
    parts = [range(first, min(first + most, copies)) for first in range(0, copies, most)]
    sizes: list[int] = []

    def measured(part: range) -> StepGradients:
        found = work(part)
        sizes.append(len(part))
        return found

    try:
        done = list(in_parts(ctx.adapter, parts, measured))
    except Exception as error:
        if ctx.adapter.is_out_of_memory(error):
            cache[AT_ONCE] = 1
        raise
    if len(done) == 1:
        return done[0]
    if len(done) > len(parts):
        cache[AT_ONCE] = max(sizes)
    return StepGradients(
        source=_joined([part.source for part in done]),
        target=_joined([part.target for part in done]),
        scores=torch.cat([part.scores for part in done]),
    )


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def of_copies(values: Tensor, texts: int, part: range) -> Tensor:
    """(K·B, …) -> (k·B, …): those of the copies in ``part``."""
    return values[part.start * texts : part.stop * texts]
