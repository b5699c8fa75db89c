"""Hidden states, interventions, and layers that are run again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attention import FASTEST, FEW, attention_context, model_inputs
from torch import Tensor, nn

from inseq_core.torch.blocks import BlockCall
from inseq_core.torch.idle_modules import IdleModule, passing_over
from inseq_core.torch.internals import LayerStates


@pytest.mark.parametrize("name", FEW)
def test_hidden_states_equal_the_models_own(name: str) -> None:
    """Behind every block but the last, where transformers shows what the last norm makes of it."""
    ctx = attention_context(name)
    found = ctx.hidden_states(lambda s: (s.kind, s.layer, s.states))
    with torch.no_grad():
        own = ctx.adapter.model(**model_inputs(ctx.batch.texts[0]), output_hidden_states=True)
    decoder = own.decoder_hidden_states if ctx.batch.has_source else own.hidden_states
    expected = {("decoder", 0): decoder[1]}
    if ctx.batch.has_source:
        expected["encoder", 0] = own.encoder_hidden_states[1]

    for kind, layer, states in found:
        if (kind, layer) in expected:
            reference = expected[kind, layer]
            torch.testing.assert_close(states[:1, : reference.shape[1]], reference)
    assert {(k, n) for k, n, _ in found} == {(k, n) for k, _ in expected for n in range(2)}


def test_states_of_the_rows_are_what_is_kept_by_default() -> None:
    """One (R, D) for each of the decoder's blocks."""
    ctx = attention_context("marian")
    rows = ctx.hidden_states()
    everything = ctx.hidden_states(lambda s: s.states if s.kind == "decoder" else None)

    for of_rows, states in zip(rows, everything, strict=True):
        torch.testing.assert_close(of_rows, states[ctx.grid.sequence, ctx.grid.position - 1])


@pytest.mark.parametrize("name", FEW)
def test_replaced_states_go_on(name: str) -> None:
    """States put back change nothing; the first layer's in place of the second's give what it alone would."""
    ctx = attention_context(name)
    plain = ctx.scores()
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(states: LayerStates) -> Tensor:
        kept[states.kind, states.layer] = states.states
        return states.states

    with ctx.intervene(hidden=keep):
        torch.testing.assert_close(ctx.scores(), plain)
    with ctx.intervene(hidden=lambda s: kept[s.kind, 0] if s.layer == 1 else None):
        changed = ctx.scores()
    assert float((changed - plain).abs().max()) > 1e-4
    torch.testing.assert_close(ctx.scores(), plain)


def test_states_and_attention_are_replaced_together() -> None:
    """Both at once, restored at once."""
    ctx = attention_context("llama", "sdpa")
    with ctx.intervene(attention=lambda p: p.applied(p.weights()), hidden=lambda s: s.states * 1.0):
        patched = ctx.scores()

    torch.testing.assert_close(patched, ctx.scores())


@pytest.mark.parametrize(("name", "implementation"), FASTEST)
def test_a_layer_given_its_own_attention_gives_its_own_output(name: str, implementation: str) -> None:
    """In another order, more versions than positions, of a padded batch: what every rerun rests on."""
    ctx = attention_context(name, implementation)
    generator = np.random.default_rng(0)

    def worst(call: BlockCall) -> float:
        b, length, _ = call.hidden.shape
        sequence = torch.as_tensor(generator.integers(0, b, 3 * length))
        position = torch.as_tensor(generator.integers(0, 4, 3 * length))
        found = torch.empty(3 * length, call.output.shape[-1], dtype=call.output.dtype)
        for portion in call.portions(sequence):
            s, p = sequence[portion], position[portion]
            outputs = [product.output[s, :, p] for product in call.products]
            found[portion] = call.rerun(s, p, outputs)
        return float((found - call.output[sequence, position]).abs().max())

    kinds = ("encoder", "decoder") if ctx.batch.has_source else ("decoder",)
    assert max(ctx.blocks(worst, kinds)) < 1e-5


def test_cross_attention_is_computed_for_changed_queries() -> None:
    """A product that is not given is the block's own: with nothing changed, its output is the clean one."""
    ctx = attention_context("marian", "sdpa")

    def worst(call: BlockCall) -> float:
        sequence, position = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 0, 1, 1])
        outputs = [call.products[0].output[sequence, :, position], None]
        return float((call.rerun(sequence, position, outputs) - call.output[sequence, position]).abs().max())

    assert max(ctx.blocks(worst)) < 1e-12


def test_projections_of_given_attention_do_not_run() -> None:
    """Queries, keys and values of a product that is given are work for nothing."""
    ctx = attention_context("llama", "sdpa")
    ctx.adapter.traits.idle_modules.clear()
    layer = ctx.adapter.model.model.layers[1]
    ran: list[str] = []

    def rerun(call: BlockCall) -> None:
        if call.layer != 1:
            return
        sequence, position = torch.tensor([0]), torch.tensor([1])
        outputs = [call.products[0].output[sequence, :, position]]
        call.rerun(sequence, position, outputs)  # finds out what is idle
        forwards = {n: m.forward for n, m in layer.named_modules() if n}
        for name, module in layer.named_modules():
            if name and not list(module.children()):
                module.forward = lambda *a, n=name, **k: (ran.append(n), forwards[n](*a, **k))[1]
        try:
            call.rerun(sequence, position, outputs)
        finally:
            for module in layer.modules():
                module.__dict__.pop("forward", None)

    ctx.blocks(rerun)
    assert "self_attn.o_proj" in ran
    assert not {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "input_layernorm"} & set(ran)


def test_a_module_that_is_passed_over_gets_its_own_forward_back() -> None:
    """Also after an exception, and also one that somebody else had put there."""
    plain, wrapped = nn.Linear(2, 3), nn.Linear(2, 2)

    def somebody_elses(x: Tensor) -> Tensor:
        return x + 1

    wrapped.forward = somebody_elses
    with (
        pytest.raises(ValueError, match="stop"),
        passing_over([IdleModule(plain, 3), IdleModule(wrapped, None)]),
    ):
        assert plain(torch.ones(4, 2)).shape == (4, 3)
        assert not plain(torch.ones(4, 2)).any()
        assert torch.equal(wrapped(torch.ones(4, 2)), torch.ones(4, 2))
        raise ValueError("stop")

    assert "forward" not in plain.__dict__
    assert wrapped.forward is somebody_elses


class _Detour(nn.Module):
    """Gives its input on by a way that no function call shows."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        made = self.inner(x)
        return torch.from_numpy(made.detach().numpy() * 2) if not made.requires_grad else made


def test_what_only_seems_idle_is_run() -> None:
    """A norm whose output reaches the feed-forward unseen must not be left out: the proof is the output."""
    ctx = attention_context("gpt2", "sdpa")
    ctx.adapter.traits.idle_modules.clear()
    block = ctx.adapter.model.transformer.h[0]
    own = block.ln_2
    block.ln_2 = _Detour(own)
    ctx.adapter.traits.attention = None
    try:

        def worst(call: BlockCall) -> float:
            sequence, position = torch.tensor([0, 1]), torch.tensor([1, 2])
            outputs = [call.products[0].output[sequence, :, position]]
            return float(
                (call.rerun(sequence, position, outputs) - call.output[sequence, position]).abs().max()
            )

        assert max(ctx.blocks(worst)) < 1e-9
    finally:
        block.ln_2 = own
        ctx.adapter.traits.attention = None
        ctx.adapter.traits.idle_modules.clear()
