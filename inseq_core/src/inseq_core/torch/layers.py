"""Layers: any module of the model, as a place where attributions are computed.

A module's output (B, L, D) takes the place that token embeddings have elsewhere: it is captured, replaced,
and differentiated at, through the same seam. Its positions are those of the side (encoder or decoder) that it
runs in. Axes: B sequences, T steps, L positions, D width of the module's output, K copies of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inseq_core.data.batch import TokenBatch
from inseq_core.errors import InvalidArgumentError, closest, listed
from inseq_core.torch import seams
from inseq_core.torch.gradients import LayerPoint, step_gradients
from inseq_core.torch.inputs import InputTensors

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter
    from inseq_core.torch.context import TorchContext


def named_module(adapter: TorchAdapter, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The module called ``layer``, or ``layer`` itself if it is one of the model's.

    Raises:
        InvalidArgumentError: no such module; says the closest names.
    """
    modules = dict(adapter.model.named_modules())
    if isinstance(layer, nn.Module):
        name = next((n for n, m in modules.items() if m is layer), None)
        if name is None:
            raise InvalidArgumentError(
                f"target_layer {type(layer).__name__} is not a module of {adapter.profile.name}."
            )
        return name, layer
    if not isinstance(layer, str):
        raise InvalidArgumentError(
            f"target_layer = {layer!r}: expected a module's name, a module, or a list of them."
        )
    if layer not in modules or not layer:
        guess = closest(layer, [n for n in modules if n])
        ending = [n for n in modules if n.endswith(f".{layer}") or f".{layer}." in n] if layer else []
        hint = f" Did you mean {guess!r}?" if guess else ""
        names = ending or [n for n in modules if n and n.count(".") <= 2]
        raise InvalidArgumentError(
            f"{adapter.profile.name} has no module {layer!r}.{hint}\n  Modules: {listed(names, 24)}."
        )
    return layer, modules[layer]


def layer_output(
    ctx: TorchContext, layer: str | nn.Module, inputs: InputTensors | None = None
) -> tuple[LayerPoint, Tensor]:
    """What a module gives on the context's texts (B, L, D), and which side it runs in.

    Args:
        inputs: embeddings (B, S, D), (B, L, D) to run on instead of the texts' own.

    Raises:
        InvalidArgumentError: unknown module, one that never runs or runs more than once, or gives no (B, L,
            D) output.
    """
    adapter = ctx.adapter
    name, module = named_module(adapter, layer)
    inputs = ctx.inputs if inputs is None else inputs
    with torch.inference_mode(False), torch.no_grad(), adapter.quiet(), seams.output_seam(module) as tap:
        memory, side = None, "target"
        if ctx.batch.has_source:
            memory = adapter.encode_memory(ctx.batch, inputs.source)
            if tap.calls:
                side = "source"
        if side == "target":
            adapter.decode_rows(ctx.batch, ctx.grid, target=inputs.target, memory=memory)
    width = (ctx.batch.source_ids if side == "source" else ctx.batch.target_ids).shape[1]
    if tap.calls != 1 or tap.output is None:
        raise InvalidArgumentError(
            f"target_layer {name!r} ran {tap.calls} times in one forward pass, expected once."
            + (
                " It is not used on the way to the output."
                if not tap.calls
                else " Choose a module inside it."
            )
        )
    if tap.output.dim() != 3 or tap.output.shape[:2] != (len(ctx.batch), width):
        raise InvalidArgumentError(
            f"target_layer {name!r} gives {tuple(tap.output.shape)}, expected (B, L, D) = ({len(ctx.batch)}, "
            f"{width}, …)."
        )
    return LayerPoint(name=name, module=module, side=side), tap.output.detach()


def layer_gradients(ctx: TorchContext, point: LayerPoint, values: Tensor) -> tuple[Tensor, Tensor]:
    """Every step's gradient at a module's output.

    Args:
        values: (K·B, L, D) the module's output for K copies of the batch.

    Returns:
        (K·B, T, L, D) gradients and (K·R,) scores.
    """
    copies = values.shape[0] // len(ctx.batch)
    batch: TokenBatch = ctx.batch if copies == 1 else ctx.batch.take(list(range(len(ctx.batch))) * copies)
    grid = ctx.grid.repeated(copies, len(ctx.batch))
    on_source = point.side == "source"
    dense = step_gradients(
        ctx.adapter,
        batch,
        grid,
        lambda output: ctx.score_of(batch, grid, output),
        source=values if on_source else None,
        target=None if on_source else values,
        want_source=on_source,
        want_target=not on_source,
        at=point,
        name=f"attributed function {ctx.request.attributed.name!r}",
    )
    gradients = dense.source if on_source else dense.target
    if gradients is None:
        raise InvalidArgumentError(f"target_layer {point.name!r} has no gradient.")
    return gradients, dense.scores
