"""Layers: any module of the model, as a place where attributions are computed.

A module's output (B, L, D) takes the place that token embeddings have elsewhere: it is captured, replaced,
and differentiated at, through the same seam. Its positions are those of the side (encoder or decoder) that it
runs in; what a decoder computes from encoder states has those of the source.
Axes: B sequences, T steps, L positions, D width of the module's output, K copies of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import InvalidArgumentError, closest, listed
from inseq_core.torch import seams
from inseq_core.torch.copies import gradients_of_copies, of_copies
from inseq_core.torch.gradients import LayerPoint, StepGradients, step_gradients
from inseq_core.torch.inputs import InputTensors

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter
    from inseq_core.torch.context import TorchContext


def named_module(adapter: TorchAdapter, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The module called ``layer``, or ``layer`` itself if it is one of the model's.

    Raises:
        InvalidArgumentError: no such module; says the closest names.
    """
    modules = dict(adapter.model.named_modules(remove_duplicate=False))
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


def embeddings_of_both_sides(ctx: TorchContext) -> list[str]:
    """Names of the modules that give the token embeddings of source and target, where both are attributed; else
    none.

    They are one place: a path or a reference that moved one of them alone would be another one for each side, and
    scores of the two sides would not add up.
    """
    if not (ctx.attributes_source and ctx.attributes_target):
        return []
    modules = [ctx.adapter.embedding_module(side) for side in ("source", "target")]
    return [named_module(ctx.adapter, module)[0] for module in modules]


def layer_output(
    ctx: TorchContext, layer: str | nn.Module, inputs: InputTensors | None = None
) -> tuple[LayerPoint, Tensor]:
    """What a module gives on the context's texts (B, L, D), which side it runs in, and whose positions it has.

    Args:
        inputs: embeddings (B, S, D), (B, L, D) to run on instead of the texts' own.

    Raises:
        InvalidArgumentError: unknown module, one that never runs or runs more than once, or gives no (B, L,
            D) output.
    """
    adapter = ctx.adapter
    name, module = named_module(adapter, layer)
    inputs = ctx.inputs if inputs is None else inputs
    side, tap = _tapped(adapter, ctx.batch, module, ctx.grid, inputs)
    if tap.calls != 1:
        raise InvalidArgumentError(
            f"target_layer {name!r} ran {tap.calls} times in one forward pass, expected once.\n"
            f"  {_other_choice(adapter.model, name, module, tap.calls)}"
        )
    positions = _positions(adapter, ctx.batch, module)
    texts = len(ctx.batch)
    width = (ctx.batch.source_ids if positions == "source" else ctx.batch.target_ids).shape[1]
    values = None if tap.output is None or positions is None else _by_text(tap.output, texts, width)
    if positions is None or values is None:
        gives = "no tensor" if tap.output is None else f"{tuple(tap.output.shape)}"
        raise InvalidArgumentError(
            f"target_layer {name!r} gives {gives}, expected one vector for each position of each text: "
            f"({texts}, positions, width).\n  Choose a module around it, or behind it."
        )
    return LayerPoint(name=name, module=module, side=side, positions=positions), values.detach()


def _tapped(
    adapter: TorchAdapter, batch: TokenBatch, module: nn.Module, grid: StepGrid, inputs: InputTensors
) -> tuple[str, seams.OutputTap]:
    """One pass without gradients: the side that the module ran in, and what it gave."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        adapter.quiet(),
        _whole_head(adapter, module),
        seams.output_seam(module) as tap,
    ):
        memory, side = None, "target"
        if batch.has_source:
            memory = adapter.encode_memory(batch, inputs.source)
            side = "source" if tap.calls else "target"
        before = tap.calls
        adapter.decode_rows(batch, grid, target=inputs.target, memory=memory)
    return ("target" if tap.calls > before else side), tap


def _positions(adapter: TorchAdapter, batch: TokenBatch, module: nn.Module) -> str | None:
    """The side whose positions a module's output has, from a pass of three source and five target tokens.

    Widths of the texts themselves would not tell where both sides are equally long.
    """
    text = batch.texts[0]
    lengths = {5: "target"} if text.source_ids is None else {3: "source", 5: "target"}
    source = None if text.source_ids is None else np.resize(text.source_ids, 3)
    probe = EncodedText(target_ids=np.resize(text.target_ids, 5), source_ids=source, prompt_length=1)
    one = TokenBatch(texts=(probe,), origin=(0,), pad_id=batch.pad_id)
    grid = StepGrid(sequence=[0], position=[5], target_ids=[0], step=[0])
    with adapter.uncounted():
        _, tap = _tapped(adapter, one, module, grid, InputTensors())
    fitting = [
        side
        for length, side in lengths.items()
        if tap.output is not None and _by_text(tap.output, 1, length) is not None
    ]
    return fitting[0] if fitting else None


def _by_text(output: Tensor, texts: int, length: int) -> Tensor | None:
    """(B, L, D) of what a module gives as that, as (B·L, D), or as (1, L, D) or (L, D) for any batch."""
    if output.dim() == 2 and output.shape[0] == texts * length:
        return output.reshape(texts, length, -1)
    if output.dim() == 2 and output.shape[0] == length:
        return output.expand(texts, *output.shape)
    if output.dim() == 3 and output.shape[0] in (1, texts) and output.shape[1] == length:
        return output.expand(texts, *output.shape[1:])
    return None


def _other_choice(model: nn.Module, name: str, module: nn.Module, calls: int) -> str:
    """What to take instead of a module that does not run once."""
    if calls:
        return "Choose a module that runs once: one around it, before or behind it."
    inside = [f"{name}.{child}" for child, _ in module.named_children()]
    if inside:
        return f"Choose a module inside it: {listed(inside, 8)}."
    weights = {id(p) for p in module.parameters()}
    others = [
        other
        for other, m in model.named_modules()
        if m is not module and any(id(p) in weights for p in m.parameters(recurse=False))
    ]
    if others:
        return f"Its weights are those of {listed(others, 8)}: choose one of them."
    return "It is not used on the way to the output."


@contextmanager
def _whole_head(adapter: TorchAdapter, module: nn.Module) -> Iterator[None]:
    """The head runs on all positions inside the block if the module is part of it."""
    head, splits = adapter.head_module(), adapter.traits.splits_at_head
    if head is None or not any(m is module for m in head.modules()):
        yield
        return
    adapter.traits.splits_at_head = False
    try:
        yield
    finally:
        adapter.traits.splits_at_head = splits


def layer_gradients(ctx: TorchContext, point: LayerPoint, values: Tensor) -> tuple[Tensor, Tensor]:
    """Every step's gradient at a module's output.

    Args:
        values: (K·B, L, D) the module's output for K copies of the batch.

    Returns:
        (K·B, T, L, D) gradients and (K·R,) scores.
    """
    adapter, texts = ctx.adapter, len(ctx.batch)
    on_source = point.side == "source"

    def work(part: range) -> StepGradients:
        copies, at = len(part), of_copies(values, texts, part)
        batch = ctx.batch if copies == 1 else ctx.batch.take(list(range(texts)) * copies)
        grid = ctx.grid.repeated(copies, texts)
        with passing_through(ctx, point, copies):
            return step_gradients(
                adapter,
                batch,
                grid,
                lambda output: ctx.score_of(batch, grid, output),
                source=at if on_source else None,
                target=None if on_source else at,
                want_source=on_source,
                want_target=not on_source,
                at=point,
                name=f"attributed function {ctx.request.attributed.name!r}",
            )

    dense = gradients_of_copies(ctx, values.shape[0] // texts, work)
    gradients = dense.source if on_source else dense.target
    if gradients is None:
        raise InvalidArgumentError(f"target_layer {point.name!r} has no gradient.")
    return gradients, dense.scores


@contextmanager
def passing_through(ctx: TorchContext, point: LayerPoint, copies: int) -> Iterator[None]:
    """What passes need that replace a module's output: a head that is run on all positions if it is the module,
    and, where other embeddings than the texts' own are explained (``ctx.is_moved``), those beside the module.
    """
    adapter = ctx.adapter

    def moved(side: str, ids: Tensor) -> AbstractContextManager[Any]:
        own: Tensor | None = getattr(ctx.inputs, side)
        if own is None:
            return nullcontext()
        return seams.output_seam(adapter.embedding_module(side), own.repeat(copies, 1, 1))

    with _whole_head(adapter, point.module), ExitStack() as stack:
        if ctx.is_moved:
            stack.enter_context(adapter.watching(moved))
        yield
