"""A pass, branch by branch: what each attention product does to the residual stream, once that is proved.

Axes: B sequences, L positions, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from inseq_core.errors import CapabilityError
from inseq_core.torch.attention_branch import AttentionBranch, wide
from inseq_core.torch.attention_map import SideMap, attention_map, probe_of, run_sides
from inseq_core.torch.branch_trace import BranchMode
from inseq_core.torch.internals import run

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter
    from inseq_core.torch.context import TorchContext

Kept = TypeVar("Kept")


def visit_branches(ctx: TorchContext, visit: Callable[[AttentionBranch], Kept | None]) -> list[Kept]:
    """What ``visit`` makes of every attention branch of one pass; None is not kept.

    Raises:
        CapabilityError: the model has no attention, or its way to the residual stream is no linear map.
    """
    adapter = ctx.adapter
    found = attention_map(adapter, ctx.batch)
    check_branches(ctx)
    kept: list[Kept] = []

    def keep(branch: AttentionBranch) -> None:
        made = visit(branch)
        if made is not None:
            kept.append(made)

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        adapter.quiet(),
        adapter.visible_attention(),
        _following(adapter, found.side, keep),
    ):
        run(ctx)
    return kept


@contextmanager
def _following(
    adapter: TorchAdapter, side_map: Callable[[str], SideMap], visit: Callable[[AttentionBranch], None]
) -> Iterator[None]:
    @contextmanager
    def watch(side: str, ids: Tensor) -> Iterator[None]:
        blocks = side_map(side)
        mode = BranchMode(batch=ids.shape[0], length=ids.shape[1], slots=blocks.slots)

        def before(leaf: int) -> Callable[..., None]:
            def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
                mode.begin(tree_leaves((args, kwargs))[leaf] if leaf >= 0 else None)

            return hook

        def after(_module: nn.Module, _args: Any, _output: Any) -> None:
            mode.is_paused = True
            try:
                for branch in mode.finished():
                    visit(branch)
            finally:
                mode.is_paused = False

        with mode, ExitStack() as stack:
            for block, call in zip(blocks.blocks, blocks.calls, strict=True):
                hook = before(call.hidden)
                stack.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
                stack.callback(block.register_forward_hook(after).remove)
            yield

    with adapter.watching(watch):
        yield


def check_branches(ctx: TorchContext) -> None:
    """Prove that every way makes of the attention's output what the model adds to its stream; once a model.

    Raises:
        CapabilityError: it does not.
    """
    from inseq_core.torch.selfcheck import close

    adapter = ctx.adapter
    if adapter.traits.follows_branches:
        return
    found = attention_map(adapter, ctx.batch)
    seen: list[bool] = []

    def holds(branch: AttentionBranch) -> None:
        everywhere = torch.arange(branch.value.shape[1], device=branch.value.device)
        again = branch.replayed(0, everywhere)
        seen.append(close(again, wide(branch.value[0]), adapter.dtype))

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        adapter.quiet(),
        adapter.visible_attention(),
        adapter.uncounted(),
        _following(adapter, found.side, holds),
    ):
        run_sides(adapter, probe_of(ctx.batch))
    n_products = len(found.source.slots) + len(found.target.slots)
    if len(seen) != n_products or not all(seen):
        raise CapabilityError(
            f"{adapter.profile.name}: the way of attention to the residual stream was followed wrongly in "
            f"{n_products - sum(seen)} of {n_products} products ({adapter.profile.model_class}). "
            "Use attention, attention_rollout or value_zeroing."
        )
    adapter.traits.follows_branches = True
