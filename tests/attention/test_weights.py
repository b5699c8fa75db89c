"""Raw attention and gradient times attention, against transformers and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.attention import (
    FEW,
    WITH_ATTENTION,
    WRITTEN_OUT_ONLY,
    attention_context,
    own_attentions,
    own_scores,
    query_of,
    sequence_of,
)
from support.tiny_models import ENCODER_DECODER

from inseq_attention.weights import Attention, GradXAttention
from inseq_core.errors import InvalidArgumentError

TOLERANCE = 1e-6
"""float32: attention that is written out takes its softmax in it, whatever the weights are in."""


@pytest.mark.parametrize("name", FEW)
def test_attention_has_positions_layers_and_heads_of_its_own_side(name: str) -> None:
    """Cross-attention scores the source, self-attention of the decoder the target."""
    ctx = attention_context(name)
    output = Attention().attribute(ctx)
    row = ctx.n_rows - 1
    own = own_attentions(ctx, sequence_of(ctx, row))
    sides = [("decoder", output.target)]
    sides += [("cross", output.source)] if name in ENCODER_DECODER else []

    for kind, scores in sides:
        expected = torch.stack([layer[0, :, query_of(ctx, row)] for layer in own[kind]])  # (N, H, K)
        found = scores[row].permute(1, 2, 0)[..., : expected.shape[-1]]
        torch.testing.assert_close(found, expected.detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (1, [1]),
        (-1, [3]),
        ((1, 3), [1, 2]),
        ((-2, 4), [2, 3]),
        ([3, 0], [3, 0]),
        (range(2), [0, 1]),
        (slice(1, 3), [1, 2]),
        (slice(None, -1), [0, 1, 2]),
        (slice(2, None), [2, 3]),
        (np.array([3, 0]), [3, 0]),
        ([np.int64(2)], [2]),
        (None, None),
    ],
)
def test_heads_are_chosen_as_one_a_span_or_a_list(choice: object, expected: list[int] | None) -> None:
    """The same choice, whichever way it is written."""
    ctx = attention_context("llama")
    everything = Attention().attribute(ctx).target
    chosen = Attention(heads=choice).attribute(ctx).target

    assert torch.equal(chosen, everything if expected is None else everything[..., expected])


def test_layers_are_chosen_alike() -> None:
    """The axis stays, with the chosen layers on it."""
    ctx = attention_context("llama")
    everything = Attention().attribute(ctx).target

    assert torch.equal(Attention(layers=-1).attribute(ctx).target, everything[:, :, 1:])
    assert torch.equal(Attention(layers=[1, 0]).attribute(ctx).target, everything[:, :, [1, 0]])


@pytest.mark.parametrize("choice", [2, -3, [0, 5], (0, 3), (1, 1), (2, 1), slice(2, None)])
def test_layers_out_of_range_name_the_range(choice: object) -> None:
    """Also where the adapter could not say before the model ran."""
    with pytest.raises(InvalidArgumentError, match=r"2 decoder layers"):
        Attention(layers=choice).attribute(attention_context("llama"))


@pytest.mark.parametrize("choice", ["0", 1.0, True, [], (1,), (1, 2, 3), [0.5], {}, slice(0, 4, 2)])
def test_what_is_no_choice_is_refused(choice: object) -> None:
    """At construction, with the forms that there are."""
    with pytest.raises(InvalidArgumentError, match="an index, a span"):
        Attention(heads=choice)


def test_attention_is_one_pass() -> None:
    """Every step of every text from one forward pass, and no backward pass."""
    ctx = attention_context("gpt2", "sdpa")
    ctx.attentions()
    before = ctx.adapter.counts.copy()
    Attention().attribute(ctx)
    after = ctx.adapter.counts

    assert after["forward"] - before["forward"] == 1
    assert after["backward"] == before["backward"]


def test_no_more_than_the_rows_is_kept() -> None:
    """Rows of R steps, not L queries of each layer."""
    ctx = attention_context("gpt2", "sdpa")
    output = Attention().attribute(ctx)

    assert output.target.untyped_storage().nbytes() == 8 * output.target.numel()
    assert output.target.shape[0] == ctx.n_rows


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_gradient_times_attention_equals_autograd_on_each_prefix(name: str) -> None:
    """The weights that transformers returns are on its graph: the slow way, step by step, without padding."""
    ctx = attention_context(name, "eager" if name in WRITTEN_OUT_ONLY else "sdpa")
    slow = attention_context(name, "eager")
    output = GradXAttention().attribute(ctx)

    for row in (0, ctx.n_rows - 1):
        attentions, score = own_scores(slow, row)
        for kind, scores in (("decoder", output.target), ("cross", output.source)):
            if kind not in attentions:
                continue
            gradients = torch.autograd.grad(score, attentions[kind], retain_graph=True)
            for layer, (own, gradient) in enumerate(zip(attentions[kind], gradients, strict=True)):
                expected = (own * gradient)[0, :, -1].detach().T.numpy()  # (K, H)
                found = scores[row, :, layer].numpy()
                np.testing.assert_allclose(found[: len(expected)], expected, rtol=0, atol=TOLERANCE)
                assert not found[len(expected) :].any()
    if name in FEW:
        assert float(output.target.abs().max()) > 100 * TOLERANCE


def test_gradients_are_chunked_without_changing_them() -> None:
    """Chunks of steps work on the prefix that they need."""
    ctx = attention_context("llama", "sdpa")
    whole = GradXAttention().attribute(ctx).target
    first = GradXAttention().attribute(ctx.take(np.arange(2))).target

    torch.testing.assert_close(first, whole[:2, : first.shape[1]], atol=1e-14, rtol=0)
