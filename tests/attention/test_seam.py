"""The attention seam: weights are the model's own, replacements arrive, and nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.attention import (
    FEW,
    IMPLEMENTATIONS,
    attention_context,
    own_attentions,
    query_of,
    sequence_of,
)
from support.contexts import context_of
from support.hf_adapters import tiny_adapter
from torch import nn
from torch.nn import functional as F

from inseq_core.data.batch import EncodedText
from inseq_core.torch.attention_seam import AttentionProduct, attention_seam

TOLERANCE = 1e-5
"""float32: some models compute their attention in it whatever their weights are in."""


@pytest.mark.parametrize(("name", "implementation"), IMPLEMENTATIONS)
def test_row_weights_equal_the_models_own_output_attentions(name: str, implementation: str) -> None:
    """In a padded batch, whatever the implementation; the oracle is written-out attention."""
    ctx = attention_context(name, implementation)
    written_out = attention_context(name, "eager")
    found = ctx.attentions()

    for sequence in range(2):
        with torch.no_grad():
            expected = own_attentions(written_out, sequence)
        for layer in found:
            own = expected[layer.kind][layer.layer][0]  # (H, L, K)
            for row in ctx.grid.rows_of(sequence):
                weights = layer.weights[row]
                row_of_own = own[:, query_of(ctx, row)]
                n_keys = row_of_own.shape[-1]
                torch.testing.assert_close(
                    weights[:, :n_keys], row_of_own.to(weights.dtype), atol=TOLERANCE, rtol=0
                )
                assert not weights[:, n_keys:].any()


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_attention_is_seen_whole(name: str) -> None:
    """Rollout needs every position of the encoder, not only rows."""
    ctx = attention_context(name, "sdpa")
    found = ctx.attentions(lambda p: p.weights()[0] if p.kind == "encoder" else None)
    with torch.no_grad():
        expected = own_attentions(attention_context(name), 0)["encoder"]
    n = expected[0].shape[-1]

    for own, weights in zip(expected, found, strict=True):
        torch.testing.assert_close(weights[:, :n, :n], own[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "implementation"), [(n, i) for n in FEW for i in ("eager", "sdpa")])
def test_own_weights_put_back_change_nothing(name: str, implementation: str) -> None:
    """A neutral replacement of every product goes the whole way through the model's own code."""
    ctx = attention_context(name, implementation)
    plain = ctx.scores()
    with ctx.intervene(attention=lambda p: p.applied(p.weights())):
        patched = ctx.scores()

    torch.testing.assert_close(patched, plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FEW)
def test_a_replaced_product_goes_on(name: str) -> None:
    """Zeros in place of one layer's attention must reach the output."""
    ctx = attention_context(name, "sdpa")

    def silence(product: AttentionProduct) -> torch.Tensor | None:
        return torch.zeros(product.output_shape) if product.layer == 1 else None

    with ctx.intervene(attention=silence):
        silent = ctx.scores()

    assert float((silent - ctx.scores()).abs().max()) > 1e-4


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", FEW)
def test_an_exception_in_a_handler_leaves_the_model_as_it_was(name: str, error: type[BaseException]) -> None:
    """Others leave patches behind that break the raw model; torch calls no hook behind a KeyboardInterrupt."""
    ctx = attention_context(name, "sdpa")
    model = ctx.adapter.model
    plain = ctx.scores()
    requires_grad = [p.requires_grad for p in model.parameters()]

    def fail(product: AttentionProduct) -> None:
        raise error("stop")

    for attempt in (lambda: ctx.attentions(fail), lambda: ctx.blocks(fail), lambda: ctx.branches(fail)):
        with pytest.raises(error, match="stop"):
            attempt()

    assert torch.equal(ctx.scores(), plain)
    assert [p.requires_grad for p in model.parameters()] == requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.overrides._get_current_function_mode() is None


def test_a_sink_takes_its_share_of_the_row() -> None:
    """Gpt-oss drops a column of the softmax: what is left is the attention, and sums to less than one."""
    weights = torch.cat([layer.weights for layer in attention_context("gpt_oss").attentions()])

    assert float(weights.sum(-1).max()) < 1
    assert float(weights.min()) >= 0


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma"])
def test_one_token_and_shared_keys(name: str) -> None:
    """With one query, heads that share keys are laid out as the queries of one head; weights are all one."""
    adapter = tiny_adapter(name, dtype=torch.float64, attention="sdpa")
    text = EncodedText(target_ids=[5, 6], prompt_length=1)
    ctx = context_of(adapter, [text], spans=[(1, 2)])
    ctx = ctx.take(np.array([0]))
    layer = ctx.attentions()[0]

    assert ctx.batch.target_ids.shape == (1, 1)
    assert layer.weights.shape == (1, 4, 1)
    assert bool((layer.weights == 1).all())


def test_an_experts_router_is_not_taken_for_attention() -> None:
    """It has a softmax too, but no product with values follows it."""
    ctx = attention_context("mixtral")

    assert [(layer.kind, layer.layer) for layer in ctx.attentions()] == [("decoder", 0), ("decoder", 1)]


class _SinksAndDropout(nn.Module):
    """Written-out attention with everything that may stand between softmax and product."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = q @ k.transpose(-1, -2)
        sink = torch.full_like(scores[..., :1], 0.5)
        weights = F.softmax(torch.cat([scores, sink], -1), dim=-1, dtype=torch.float32)[..., :-1]
        weights = F.dropout(weights.to(q.dtype), 0.1, training=False)
        flat = weights.view(-1, *weights.shape[-2:])
        return torch.bmm(flat, v.reshape(-1, *v.shape[-2:])).view(*q.shape[:-1], -1)


def test_written_out_attention_is_followed_from_softmax_to_product() -> None:
    """A concatenated sink, a slice, a cast, dropout, a view that joins sequences and heads."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 7)
    met: list[AttentionProduct] = []
    with attention_seam(met.append, batch=2, length=4):
        output = _SinksAndDropout()(q, k, v)
    scores = np.exp(np.einsum("bhqd,bhkd->bhqk", q, k))
    expected = scores / (scores.sum(-1, keepdims=True) + np.exp(0.5))

    assert len(met) == 1
    assert met[0].shape == (2, 3, 4, 6)
    np.testing.assert_allclose(met[0].weights().numpy(), expected, atol=1e-6)
    torch.testing.assert_close(met[0].output, output)
    torch.testing.assert_close(met[0].applied(met[0].weights()), output)


@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "added", "blind"])
def test_scaled_dot_product_weights_times_values_equal_its_output(mask: str) -> None:
    """The function hides its weights; ours must be those it used, whichever way it was masked."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 3, 5), torch.randn(2, 2, 3, 5), torch.randn(2, 2, 3, 6)
    allowed = torch.rand(2, 1, 3, 3) > 0.4
    allowed[..., 0] = True
    if mask == "blind":
        allowed[1, :, 1] = False  # a query that sees nothing gives nothing
    options = {
        "none": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": allowed},
        "blind": {"attn_mask": allowed},
        "added": {"attn_mask": torch.randn(2, 4, 3, 3)},
    }[mask]
    met: list[AttentionProduct] = []
    with attention_seam(met.append, batch=2, length=3):
        output = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, scale=0.3, **options)

    torch.testing.assert_close(met[0].applied(met[0].weights()), output)
    part = met[0].weights(slice(1, 2), torch.tensor([2, 0]))
    torch.testing.assert_close(part, met[0].weights()[1:, :, [2, 0]])


def test_row_weights_keep_the_order_of_the_rows() -> None:
    """Rows of several texts may come in any order."""
    ctx = attention_context("gpt2")
    in_order = ctx.attentions()[0].weights
    order = np.random.default_rng(0).permutation(ctx.n_rows)
    shuffled = ctx.take(order)

    assert [sequence_of(shuffled, r) for r in range(4)] == [sequence_of(ctx, int(order[r])) for r in range(4)]
    weights = shuffled.attentions()[0].weights  # on the prefix that the rows need
    torch.testing.assert_close(weights, in_order[order][..., : weights.shape[-1]])
