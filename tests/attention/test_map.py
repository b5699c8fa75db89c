"""What is found out about a model's attention, and what the check refuses to believe."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.attention import WITH_ATTENTION, attention_context
from support.contexts import PROBABILITY, tiny_context
from support.hf_adapters import tiny_adapter
from support.tiny_models import ENCODER_DECODER
from torch import Tensor, nn
from torch.nn import functional as F

from inseq_attention.alti import Alti
from inseq_attention.rollout import AttentionFlow, AttentionRollout
from inseq_attention.value_zeroing import ValueZeroing
from inseq_core.contracts.adapter import ModelProfile
from inseq_core.contracts.context import ContextRequest
from inseq_core.contracts.step_function import StepCall
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError, SelfCheckError
from inseq_core.torch import TorchAdapter, TorchContext
from inseq_core.torch.attention_map import attention_map, block_map


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_layers_and_heads_are_found_by_running_the_model(name: str) -> None:
    """The configuration says how many there are; the map finds them without reading it."""
    ctx = tiny_context(name)
    found = attention_map(ctx.adapter, ctx.batch)
    kinds = ("encoder", "decoder", "cross") if name in ENCODER_DECODER else ("decoder",)

    assert {kind: len(found.of_kind(kind)) for kind in kinds} == ctx.adapter.attention_layers()
    assert {kind: found.of_kind(kind)[0].heads for kind in kinds} == ctx.adapter.attention_heads()
    assert all(slot.is_causal == (slot.kind == "decoder") for k in kinds for slot in found.of_kind(k))
    assert len(found.target.blocks) == ctx.adapter.attention_layers()["decoder"]


def test_the_check_is_made_once_and_is_not_counted_as_work() -> None:
    """Methods promise a number of passes."""
    ctx = tiny_context("llama")
    ctx.adapter.traits.attention = None
    before = ctx.adapter.counts.copy()
    first = attention_map(ctx.adapter, ctx.batch)

    assert ctx.adapter.counts == before
    assert attention_map(ctx.adapter, ctx.batch) is first


def test_a_state_space_model_has_no_attention() -> None:
    """A clear error, also past the capabilities that refuse it earlier; its blocks are known all the same."""
    ctx = tiny_context("mamba")
    with pytest.raises(CapabilityError, match="has no attention"):
        ctx.attentions()

    assert len(block_map(ctx.adapter, ctx.batch).target.blocks) == 2
    assert len(ctx.hidden_states()) == 2


@pytest.mark.parametrize("name", ["llama", "bart"])
def test_a_hidden_implementation_is_switched_for_a_while(name: str) -> None:
    """Kernels that cannot be looked into are replaced inside the block only."""
    config = tiny_adapter(name, dtype=torch.float64, attention="sdpa").model.config
    expected = attention_context(name, "sdpa").attentions()
    ctx = attention_context(name, "sdpa")
    ctx.adapter.traits.attention = None
    config._attn_implementation = "flex_attention"
    try:
        found = ctx.attentions()
        assert config._attn_implementation == "flex_attention"
    finally:
        config._attn_implementation = "sdpa"
        ctx.adapter.traits.attention = None

    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.weights, b.weights)


# -- models that would be believed wrongly --------------------------------------------------------------------


class _Layer(nn.Module):
    """One head of causal attention; the ways to deceive are switched on by name."""

    def __init__(self, width: int, deceit: str) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.deceit = deceit

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x)[:, None] for part in (self.query, self.key, self.value))
        length = x.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2)).masked_fill(later, -1e9)
        if self.deceit == "opaque":
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)  # no softmax to be seen
        else:
            weights = F.softmax(scores, dim=-1)
        output = (weights @ v)[:, 0]
        return x + (x.cumsum(1) / 7 if self.deceit == "decoy" else output)


class _Recurrent(nn.Module):
    """A layer that mixes positions without attention."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.cumsum(1) / 7


class _Net(nn.Module):
    def __init__(self, deceits: tuple[str, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)
        self.layers = nn.ModuleList([_Recurrent() if d == "recurrent" else _Layer(8, d) for d in deceits])
        self.head = nn.Linear(8, 20)

    def forward(self, ids: Tensor) -> SimpleNamespace:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        return SimpleNamespace(logits=self.head(x))


class _Adapter(TorchAdapter):
    """The least that a torch adapter can say: nothing about its layers."""

    is_encoder_decoder = False
    pad_id = 0

    def __init__(self, *deceits: str) -> None:
        super().__init__(_Net(deceits).eval())
        self.profile = ModelProfile(name="toy", model_class="Toy", framework="torch", vocabulary_size=20)

    def embedding_module(self, side: str) -> nn.Module:
        return self.model.embedding

    def head_module(self) -> nn.Module:
        return self.model.head

    def run_encoder(self, ids: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError

    def run_decoder(self, ids: Tensor, mask: Tensor, **options: Any) -> SimpleNamespace:
        return self.model(ids)


_Adapter.__abstractmethods__ = frozenset()


def toy_context(*deceits: str) -> TorchContext:
    """Six tokens, the last two attributed."""
    adapter = _Adapter(*deceits)
    text = EncodedText(target_ids=[1, 2, 3, 4, 5, 6])
    batch = TokenBatch.of([text], 0)
    return adapter.context(
        ContextRequest(
            batch=batch,
            grid=StepGrid.of(batch, [(4, 6)]),
            attributed=PROBABILITY,
            call=StepCall(adapter=adapter, texts=(text,), spans=((4, 6),)),
        )
    )


def test_any_torch_model_with_attention_in_sight_is_served() -> None:
    """Two layers, no word about them from the adapter."""
    found = toy_context("", "").attentions()

    assert [layer.weights.shape for layer in found] == [(2, 1, 6), (2, 1, 6)]
    np.testing.assert_allclose(found[0].weights.sum(-1).detach(), 1, atol=1e-6)


def test_attention_that_cannot_be_seen_is_an_error() -> None:
    """Without a softmax there is nothing to find: the error says what that may mean."""
    with pytest.raises(CapabilityError, match="no attention product was met"):
        toy_context("opaque", "opaque").attentions()


def test_a_layer_whose_attention_is_hidden_is_missed() -> None:
    """Some layers seen and some not would shift every layer's number."""
    with pytest.raises(
        SelfCheckError, match="1 decoder attention products were met in a pass, but Toy has 2"
    ):
        toy_context("", "opaque").attentions()


def test_attention_that_the_output_does_not_hang_on_is_refused() -> None:
    """A product that is computed and thrown away is not the model's attention."""
    with pytest.raises(SelfCheckError, match="replaced by zero change nothing"):
        toy_context("decoy", "decoy").attentions()


def test_a_pass_unlike_the_checked_one_is_refused() -> None:
    """A model that takes another way for some inputs: products could not be told apart."""
    ctx = toy_context("", "")
    ctx.attentions()
    ctx.adapter.model.layers[1].deceit = "opaque"

    with pytest.raises(SelfCheckError, match="computed 1 attention products in this pass, 2 in its check"):
        ctx.attentions()


def hybrid_context() -> TorchContext:
    """Attention, a recurrent layer, attention; the adapter says how many of them attend."""
    ctx = toy_context("", "recurrent", "")
    ctx.adapter.attention_layers = lambda: {"decoder": 2}
    return ctx


def test_layers_without_attention_are_left_out_of_what_is_seen_by_layer() -> None:
    """Attention and value zeroing are about single layers; only those with attention have any."""
    found = hybrid_context().attentions()
    zeroed = ValueZeroing().attribute(hybrid_context())

    assert [layer.layer for layer in found] == [0, 1]
    assert zeroed.target.shape == (2, 6, 2)
    np.testing.assert_allclose(zeroed.target.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("method", [AttentionRollout(), AttentionFlow(), Alti()])
def test_products_over_layers_refuse_models_that_mix_in_another_way(method: Any) -> None:
    """A state-space layer between two attention layers moves content that no attention matrix shows."""
    with pytest.raises(CapabilityError, match="layers without attention"):
        method.attribute(hybrid_context())
