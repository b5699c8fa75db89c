"""Contexts of tiny models, and the slow derivations that fast numbers are held against.

The oracle of a gradient is autograd on each step's own prefix: the model called once a step on that step's
unpadded text, as its own documentation says, with nothing of the engine involved but the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import numpy as np
import torch
from support.hf_adapters import forced, tiny_adapter
from torch import Tensor, nn

from inseq_core.contracts.context import ContextRequest
from inseq_core.contracts.step_function import BoundStepFunction, StepCall, StepFunctionArgs
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.torch import InputTensors, TorchAdapter, TorchContext

PAIR = (("The developer argued", " with the designer"), ("A dog and a cat were", " sleeping"))
"""Two texts of different lengths: a batch with padding."""


def probability(args: StepFunctionArgs) -> Tensor:
    """p of the attributed token."""
    return args.logits.softmax(-1).gather(1, args.target_ids[:, None])[:, 0]


PROBABILITY = BoundStepFunction(name="probability", function=probability)


def spans_of(texts: Sequence[EncodedText]) -> list[tuple[int, int]]:
    """From the first generated position to the end; encoder–decoder: from 1."""
    return [(max(t.prompt_length, 1), len(t.target_ids)) for t in texts]


def context_of(
    adapter: TorchAdapter,
    texts: Sequence[EncodedText],
    *,
    spans: Sequence[tuple[int, int]] | None = None,
    attributed: BoundStepFunction = PROBABILITY,
    attribute_target: bool = True,
    seed: int = 0,
    **options: Any,
) -> TorchContext:
    """The context of some texts and all their steps."""
    batch = TokenBatch.of(texts, adapter.pad_id)
    adapter.self_check(batch)
    spans = spans_of(texts) if spans is None else spans
    return adapter.context(
        ContextRequest(
            batch=batch,
            grid=StepGrid.of(batch, spans),
            attributed=attributed,
            attribute_target=attribute_target,
            full_texts=batch.texts,
            call=StepCall(adapter=adapter, texts=tuple(texts), spans=tuple(spans), seed=seed),
            **options,
        )
    )


def tiny_context(name: str, pairs: Sequence[tuple[str, str]] = PAIR, **options: Any) -> TorchContext:
    """A float64 tiny model on forced texts; at most six steps a text."""
    adapter = tiny_adapter(name, dtype=torch.float64)
    texts = [forced(adapter, *pair) for pair in pairs]
    spans = [(start, min(end, start + 6)) for start, end in spans_of(texts)]
    texts = [t.truncated(end) for t, (_, end) in zip(texts, spans, strict=True)]
    return context_of(adapter, texts, spans=spans, **options)


@contextmanager
def embeddings_replaced(module: nn.Module, value: Tensor) -> Iterator[None]:
    """``module`` returns ``value``."""
    handle = module.register_forward_hook(lambda *_: value)
    try:
        yield
    finally:
        handle.remove()


def prefix_score(ctx: TorchContext, row: int) -> Callable[[Sequence[Tensor]], Tensor]:
    """The probability of a row's token as a function of its own text's embeddings, by plain calls of the
    model.

    The function takes (1, S, D) and (1, L, D) for encoder–decoder models, (1, L, D) for the others, and
    returns ().
    """
    adapter = ctx.adapter
    text = ctx.batch.texts[int(ctx.grid.sequence[row])]
    target = torch.tensor(text.target_ids[: int(ctx.grid.position[row])])[None]
    token = int(ctx.grid.target_ids[row])

    def score(embeddings: Sequence[Tensor]) -> Tensor:
        if text.source_ids is None:
            with embeddings_replaced(adapter.embedding_module("target"), embeddings[0]):
                logits = adapter.model(input_ids=target).logits
        else:
            source = torch.tensor(text.source_ids)[None]
            with embeddings_replaced(adapter.embedding_module("source"), embeddings[0]):
                memory = adapter.model.get_encoder()(input_ids=source)
            with embeddings_replaced(adapter.embedding_module("target"), embeddings[1]):
                logits = adapter.model(encoder_outputs=memory, decoder_input_ids=target).logits
        return logits[0, -1].softmax(-1)[token]

    return score


def prefix_embeddings(ctx: TorchContext, row: int) -> list[Tensor]:
    """Token embeddings of a row's own text: source (1, S, D) and prefix (1, L, D)."""
    adapter = ctx.adapter
    text = ctx.batch.texts[int(ctx.grid.sequence[row])]
    prefix = torch.tensor(text.target_ids[: int(ctx.grid.position[row])])[None]
    sides = [] if text.source_ids is None else [("source", torch.tensor(text.source_ids)[None])]
    with torch.no_grad():
        return [adapter.embedding_module(side)(ids) for side, ids in [*sides, ("target", prefix)]]


def prefix_gradients(ctx: TorchContext, row: int) -> list[Tensor]:
    """Autograd on one row's own prefix: gradients like ``prefix_embeddings``."""
    at = [x.detach().requires_grad_() for x in prefix_embeddings(ctx, row)]
    return list(torch.autograd.grad(prefix_score(ctx, row)(at), at))


def of_row(ctx: TorchContext, source: Any, target: Any, row: int) -> list[np.ndarray]:
    """A result's entries for one row, cut to what the row can see, source first."""
    lengths = ctx.batch.source_lengths, ctx.grid.position
    sides = [] if source is None else [np.asarray(source[row])[: lengths[0][ctx.grid.sequence[row]]]]
    return [*sides, *([] if target is None else [np.asarray(target[row])[: lengths[1][row]]])]


def of_text(ctx: TorchContext, given: InputTensors, row: int) -> list[Tensor]:
    """(1, S, D) and (1, L, D) of a whole batch's tensors that one row's own text and prefix have."""
    sequence, position = int(ctx.grid.sequence[row]), int(ctx.grid.position[row])
    source = (
        [] if given.source is None else [given.source[[sequence], : int(ctx.batch.source_lengths[sequence])]]
    )
    return [*source, given.target[[sequence], :position]]


def beyond_row(ctx: TorchContext, source: Any, target: Any, row: int) -> list[np.ndarray]:
    """A result's entries for one row where the row cannot see: padding, and positions at or after it."""
    lengths = ctx.batch.source_lengths, ctx.grid.position
    sides = [] if source is None else [np.asarray(source[row])[lengths[0][ctx.grid.sequence[row]] :]]
    return [*sides, *([] if target is None else [np.asarray(target[row])[lengths[1][row] :]])]


@contextmanager
def changed_traits(adapter: TorchAdapter, **values: Any) -> Iterator[None]:
    """Traits of the model set to ``values`` inside the block."""
    before = attrs.evolve(adapter.traits)
    with ExitStack() as stack:
        for name, value in values.items():
            stack.callback(setattr, adapter.traits, name, getattr(before, name))
            setattr(adapter.traits, name, value)
        yield
