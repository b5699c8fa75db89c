"""All-steps gradients against autograd on each step's own prefix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.contexts import (
    beyond_row,
    changed_traits,
    context_of,
    of_row,
    prefix_gradients,
    tiny_context,
)
from support.hf_adapters import forced, tiny_adapter
from support.tiny_models import ARCHITECTURES, MIXTURES_OF_EXPERTS, tiny_model

import inseq
from inseq_core.contracts.step_function import BoundStepFunction
from inseq_core.errors import CapabilityError
from inseq_core.hooks.specs import Capability, MethodSpec
from inseq_core.torch import TorchAdapter

FLOAT32_INSIDE = ("gpt_neo", "gptj", "gemma2", "gemma3", "bloom", "mpt", *MIXTURES_OF_EXPERTS)
"""Models that compute attention, positions or routing in float32 whatever their weights are in."""

EXACT = ("gpt2", "llama", "marian", "t5")


def tolerance(name: str) -> float:
    """float64 rounding through a few layers, or that of the model's own float32 parts."""
    return 1e-6 if name in FLOAT32_INSIDE else 1e-12


@pytest.mark.parametrize("name", [a for a in ARCHITECTURES if a != "mamba"])
def test_every_steps_gradient_equals_autograd_on_its_own_prefix(name: str) -> None:
    """The promise that one padded, truncated, batched pass rests on."""
    ctx = tiny_context(name)
    found = ctx.step_gradients()

    for row in range(ctx.n_rows):
        expected = [g[0].numpy() for g in prefix_gradients(ctx, row)]
        actual = of_row(ctx, found.source, found.target, row)
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=0, atol=tolerance(name))
        assert all(not b.any() for b in beyond_row(ctx, found.source, found.target, row))


def test_a_state_space_model_gets_the_same_gradients() -> None:
    """Mamba has no attention: nothing in the engine may depend on one."""
    ctx = tiny_context("mamba")
    found = ctx.step_gradients()

    for row in range(ctx.n_rows):
        (expected,) = prefix_gradients(ctx, row)
        (actual,) = of_row(ctx, None, found.target, row)
        np.testing.assert_allclose(actual, expected[0].numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_not_trivial(name: str) -> None:
    """An engine that returned zeros would agree with a model that does not react."""
    found = tiny_context(name).step_gradients()

    assert all(side.abs().max() > 1e-4 for side in found.sides())


@pytest.mark.parametrize("name", EXACT)
def test_plain_nodes_cotangent_loops_and_whole_model_logits_change_nothing(name: str) -> None:
    """Each is a way that the engine falls back to: all must be right."""
    ctx = tiny_context(name)
    expected = ctx.step_gradients().sides()

    for slower in ({"uses_tape": False}, {"batches_cotangents": False}, {"splits_at_head": False}):
        with changed_traits(ctx.adapter, **slower):
            for a, e in zip(ctx.step_gradients().sides(), expected, strict=True):
                torch.testing.assert_close(a, e, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_a_chunk_of_steps_on_its_own_prefix_gives_the_same(name: str) -> None:
    """Chunks are cut to the prefix that they need; attention and positions must not notice."""
    ctx = tiny_context(name)
    whole = ctx.step_gradients()
    rows = np.flatnonzero(ctx.grid.step < 2)

    part = ctx.take(rows).step_gradients()

    for a, e in zip(part.sides(), whole.sides(), strict=True):
        torch.testing.assert_close(a, e[rows, : a.shape[1]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["gpt2", "marian"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_point_the_same_way(name: str, dtype: torch.dtype) -> None:
    """Small probabilities must not underflow on the way back: their cotangents are scaled. 2^-8 of bfloat16's
    mantissa, a few layers deep, leaves cosines above 0.98."""
    exact, half = (tiny_adapter(name, dtype=t) for t in (torch.float64, dtype))
    text = ("The developer argued", " with the designer")
    expected = context_of(exact, [forced(exact, *text)]).step_gradients()
    found = context_of(half, [forced(half, *text)]).step_gradients()

    for a, e in zip(found.sides(), expected.sides(), strict=True):
        assert a.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(a.double().flatten(1), e.flatten(1))
        assert cosine.min() > 0.98


def test_saliency_of_all_steps_is_one_forward_pass() -> None:
    """The speed of everything: passes are counted, not timed."""
    ctx = tiny_context("gpt2")
    before = dict(ctx.adapter.counts)

    ctx.step_gradients()

    assert ctx.adapter.counts["forward"] - before["forward"] == 1
    assert ctx.adapter.counts["backward"] - before["backward"] == 1


def test_steps_are_planned_in_chunks_that_cover_every_row_once() -> None:
    """No step may be lost or done twice, whatever the memory budget."""
    ctx = tiny_context("gpt2")
    spec = MethodSpec(name="m", factory=object, summary="s", needs={Capability.GRADIENTS})
    budget = ctx.adapter.memory_budget
    try:
        for ctx.adapter.memory_budget in (1, 100_000, budget):
            planned = np.concatenate(ctx.adapter.plan(ctx.batch, ctx.grid, spec))
            assert sorted(planned) == list(range(ctx.n_rows))
    finally:
        ctx.adapter.memory_budget = budget


def test_the_model_is_left_as_it_was_also_after_an_error() -> None:
    """A leaked hook or a frozen parameter would break the user's own code."""
    ctx = tiny_context("gpt2")
    model = ctx.adapter.model

    def state() -> tuple[object, ...]:
        hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
        return hooks, [p.requires_grad for p in model.parameters()], [p.grad for p in model.parameters()]

    def fails(args: object) -> torch.Tensor:
        raise CapabilityError("on purpose")

    before = state()
    ctx.step_gradients()
    assert state() == before
    broken = context_of(ctx.adapter, ctx.batch.texts, attributed=BoundStepFunction(name="f", function=fails))
    with pytest.raises(CapabilityError, match="on purpose"):
        broken.step_gradients()
    assert state() == before


def test_a_function_that_detaches_the_graph_is_named() -> None:
    """Without a graph a gradient method would have nothing to say, and should say that."""
    ctx = tiny_context("gpt2")
    detached = BoundStepFunction(name="my_rank", function=lambda args: args.logits.detach().max(-1).values)

    with pytest.raises(CapabilityError, match="my_rank"):
        context_of(ctx.adapter, ctx.batch.texts, attributed=detached).step_gradients()


def test_inference_mode_around_a_call_does_not_matter() -> None:
    """Users wrap whole scripts in it."""
    ctx = tiny_context("llama")
    expected = ctx.step_gradients().target

    with torch.inference_mode():
        found = tiny_context("llama").step_gradients().target

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "method", "arguments"),
    [
        ("gpt2", "integrated_gradients", {"n_steps": 6}),
        ("bart", "gradient_shap", {"n_samples": 3}),
        ("t5", "layer_integrated_gradients", {"n_steps": 6, "target_layer": "decoder.block.0"}),
        ("gpt2", "sequential_integrated_gradients", {"n_steps": 2}),
    ],
)
def test_copies_that_do_not_fit_are_halved_and_the_numbers_stay(
    name: str, method: str, arguments: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes of a path are copies of the batch in one graph: halving the steps alone would never make a pass smaller.
    At most two sequences fit here; what was found to fit is not found out again at every chunk.
    """
    model, tokenizer = tiny_model(name)
    ours = inseq.load_model(model, method, tokenizer=tokenizer)
    texts = ["A dog and a cat", "The developer"]
    outputs = [t + " were" for t in texts]
    whole = ours.attribute(texts, outputs, **arguments)
    failed = []
    count = type(ours.adapter)._count

    def crowded(adapter: TorchAdapter, ids: torch.Tensor) -> None:
        if torch.is_grad_enabled() and len(ids) > 2:
            failed.append(len(ids))
            raise torch.OutOfMemoryError("too many")
        count(adapter, ids)

    monkeypatch.setattr(type(ours.adapter), "_count", crowded)
    parts = ours.attribute(texts, outputs, **arguments)

    assert 0 < len(failed) <= 6
    for a, e in zip(parts.sequence_attributions, whole.sequence_attributions, strict=True):
        for side in ("source_attributions", "target_attributions"):
            if getattr(e, side) is not None:
                np.testing.assert_allclose(getattr(a, side), getattr(e, side), atol=1e-6)
