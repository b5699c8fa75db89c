"""Looking inside: attention weights, hidden states and their replacement, layer by layer, in one pass.

Visitors are called while the pass runs and keep what they need; nothing else outlives its layer. So a method
holds a few rows of each layer, never all of N·H·L².
Axes: B sequences, H heads, L target positions, K keys (source or target positions), R rows, D hidden, v width
of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import torch
from torch import Tensor, nn

from inseq_core.errors import CapabilityError
from inseq_core.torch import seams
from inseq_core.torch.adapter import RowPass
from inseq_core.torch.attention_map import AttentionMap, attention_map, block_map, watching_attention
from inseq_core.torch.attention_seam import AttentionHandler, AttentionProduct, QueryRows
from inseq_core.torch.gradients import row_cotangents
from inseq_core.torch.way_back import CotangentRows, WayBack, along_a_tape

if TYPE_CHECKING:
    from inseq_core.torch.context import TorchContext

Kept = TypeVar("Kept")


@attrs.frozen(kw_only=True, eq=False)
class LayerWeights:
    """Attention of the rows in one layer.

    Attributes:
        kind: "decoder" (keys are target positions) or "cross" (keys are source positions).
        layer: which of its kind, from 0.
        weights: (R, H, K) of the query that each row is predicted from.
        gradients: (R, H, K) derivative of the row's score with respect to its weights, where asked for.
    """

    kind: str
    layer: int
    weights: Tensor
    gradients: Tensor | None = None


@attrs.frozen(kw_only=True, eq=False)
class LayerStates:
    """What one block gives: ``states`` (B, L, D) of ``kind`` "encoder" or "decoder" behind block
    ``layer``.
    """

    kind: str
    layer: int
    states: Tensor


def context_map(ctx: TorchContext) -> AttentionMap:
    """Where the attention of the context's model is."""
    return attention_map(ctx.adapter, ctx.batch)


def run(ctx: TorchContext, *, with_head: bool = False, graph: bool = False) -> RowPass:
    """One pass over the context's texts, for those who watch; the head runs only if it is wanted."""
    inputs = ctx.inputs if ctx.is_moved else None
    batch, grid = ctx.batch, ctx.grid if with_head else ctx.grid.take([])
    memory = None
    if batch.has_source:
        memory = ctx.adapter.encode_memory(batch, None if inputs is None else inputs.source)
    return ctx.adapter.decode_rows(
        batch, grid, target=None if inputs is None else inputs.target, memory=memory, graph=graph
    )


def visit_attention(ctx: TorchContext, visit: Callable[[AttentionProduct], Kept | None]) -> list[Kept]:
    """What ``visit`` makes of every attention product of one pass; None is not kept."""
    kept: list[Kept] = []

    def handler(product: AttentionProduct) -> None:
        made = visit(product)
        if made is not None:
            kept.append(made)

    found = context_map(ctx)
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        ctx.adapter.quiet(),
        watching_attention(ctx.adapter, found, handler),
    ):
        run(ctx)
    return kept


def row_attention(ctx: TorchContext) -> list[LayerWeights]:
    """(R, H, K) weights of the rows in every decoder and cross-attention layer, in the order of the pass."""

    places = QueryRows.of(ctx.rows, ctx.row_queries)

    def rows(product: AttentionProduct) -> LayerWeights | None:
        if product.kind == "encoder":
            return None
        weights = product.row_weights(places)
        return LayerWeights(kind=product.kind, layer=product.layer, weights=weights)

    return visit_attention(ctx, rows)


# -- blocks ------------------------------------------------------------------------------------------


def hidden_of(output: Any) -> Tensor:
    """The hidden states among what a block takes or gives: it, or its first entry.

    Raises:
        CapabilityError: there is no one state for each position (some models pass several streams on).
    """
    first = output if isinstance(output, Tensor) else output[0]
    if not isinstance(first, Tensor) or first.dim() != 3:
        shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise CapabilityError(
            f"A block gives {shape} where one state for each position (B, L, D) is needed.\n"
            "  Use attention, attention_rollout, alti, a gradient or a removal method."
        )
    return first


def with_hidden(output: Any, states: Tensor) -> Any:
    """A block's output with other hidden states in it."""
    if isinstance(output, Tensor):
        return states.to(output.dtype)
    return (states.to(output[0].dtype), *output[1:])


@contextmanager
def watching_blocks(ctx: TorchContext, handler: Callable[[LayerStates], Tensor | None]) -> Iterator[None]:
    """Every pass inside the block shows what the model's blocks give; the handler may return other states.

    Raises:
        CapabilityError: the model's layers are in no list of modules.
    """
    found = block_map(ctx.adapter, ctx.batch)
    if not found.target.blocks:
        raise CapabilityError(
            f"{ctx.adapter.profile.name} ({ctx.adapter.profile.model_class}) keeps its layers in no list of "
            "modules, so they cannot be told apart.\n  Use layer methods with a module's name."
        )

    def hook(kind: str, layer: int) -> Callable[[nn.Module, Any, Any], Any]:
        def after(_module: nn.Module, _args: Any, output: Any) -> Any:
            states = handler(LayerStates(kind=kind, layer=layer, states=hidden_of(output)))
            return None if states is None else with_hidden(output, states)

        return after

    with ExitStack() as stack:
        for kind, side in (("encoder", found.source), ("decoder", found.target)):
            for layer, block in enumerate(side.blocks):
                stack.callback(block.register_forward_hook(hook(kind, layer)).remove)
        yield


def visit_blocks(ctx: TorchContext, visit: Callable[[LayerStates], Kept | None]) -> list[Kept]:
    """What ``visit`` makes of every block of one pass; None is not kept."""
    kept: list[Kept] = []

    def handler(states: LayerStates) -> None:
        made = visit(states)
        if made is not None:
            kept.append(made)

    with torch.inference_mode(False), torch.no_grad(), ctx.adapter.quiet(), watching_blocks(ctx, handler):
        run(ctx)
    return kept


@contextmanager
def intervening(
    ctx: TorchContext,
    attention: AttentionHandler | None = None,
    hidden: Callable[[LayerStates], Tensor | None] | None = None,
) -> Iterator[None]:
    """Attention products and block outputs replaced in every pass inside the block."""
    with ExitStack() as stack:
        if attention is not None:
            stack.enter_context(watching_attention(ctx.adapter, context_map(ctx), attention))
        if hidden is not None:
            stack.enter_context(watching_blocks(ctx, hidden))
        yield


# -- gradients ---------------------------------------------------------------------------------------


def attention_gradients(ctx: TorchContext) -> list[LayerWeights]:
    """Weights of the rows, and the derivative of each row's score with respect to its own weights.

    The weights of row r act through the product's output at its query alone: ∂f_r/∂a_rhk = ⟨∂f_r/∂o_rh,
    v_hk⟩. So one zero is added to that output for each row, and the derivative of every step is taken with
    respect to it, in batched products.
    """
    return along_a_tape(ctx.adapter, ctx.batch, ctx.grid, partial(_attention_gradients, ctx))


def _attention_gradients(ctx: TorchContext, back: WayBack) -> list[LayerWeights]:
    """The same, the way back chosen."""
    adapter, batch, grid = ctx.adapter, ctx.batch, ctx.grid
    found = context_map(ctx)
    sequence, query = ctx.rows, ctx.row_queries
    places = QueryRows.of(sequence, query)
    leaves: list[Tensor] = []
    seen: list[tuple[LayerWeights, Tensor]] = []

    def handler(product: AttentionProduct) -> Tensor | None:
        if product.kind == "encoder":
            return None
        output = product.output
        leaf = output.new_zeros(ctx.n_rows, product.shape[1], product.value_width).requires_grad_()
        leaves.append(leaf)
        weights = product.row_weights(places).detach()
        seen.append(
            (LayerWeights(kind=product.kind, layer=product.layer, weights=weights), product.values.detach())
        )
        moved = output.transpose(1, 2).index_put((sequence, query), leaf, accumulate=True)
        return moved.transpose(1, 2)

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        adapter.quiet(),
        seams.differentiable_attention(),
    ):
        with back.tape or nullcontext(), watching_attention(adapter, found, handler):
            rowpass = run(ctx, with_head=True, graph=True)
        name = f"attributed function {ctx.request.attributed.name!r}"
        _, cotangents, scale = row_cotangents(
            rowpass, lambda output: ctx.score_of(batch, grid, output), name, back
        )
        steps = grid.step - int(grid.step.min())
        sent = CotangentRows(cotangents, steps, grid, batch.target_ids.shape)
        found_steps = back.of_steps(rowpass, leaves, sent, batch.target_ids.shape[1])
        step, row = adapter.as_array(steps), torch.arange(len(grid), device=cotangents.device)
        found_rows = [part[step, row] for part in found_steps]
    made = []
    for (layer, values), scaled in zip(seen, found_rows, strict=True):
        by_output = scaled if scale is None else scaled.float() * scale[:, None, None]
        gradients = torch.zeros_like(layer.weights)
        for b in range(len(batch)):
            rows = (sequence == b).nonzero()[:, 0]
            gradients[rows] = torch.einsum("rhv,hkv->rhk", by_output[rows], values[b].to(by_output.dtype)).to(
                gradients
            )
        made.append(attrs.evolve(layer, gradients=gradients))
    return made
