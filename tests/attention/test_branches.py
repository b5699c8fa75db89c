"""What attention carries: the way to the residual stream, norms of it, and ALTI's shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attention import (
    FASTEST,
    FEW,
    WITH_ATTENTION,
    attention_context,
    model_inputs,
    own_attentions,
    query_of,
)
from support.attention_truth import alti_rows, shares_by_hand
from support.attention_truth import carried as carried_by_autograd
from support.tiny_models import VARIANTS
from torch import Tensor, nn

from inseq_attention.alti import Alti
from inseq_attention.norms import AttentionNorms
from inseq_attention.value_zeroing import ValueZeroing
from inseq_core.errors import CapabilityError, InvalidArgumentError
from inseq_core.torch import TorchContext
from inseq_core.torch.attention_branch import AttentionBranch

POST_NORM = ("bart", "marian")
PARALLEL = ("gptj", "gpt_neox", "phi", "falcon")


@pytest.mark.parametrize(("name", "implementation"), FASTEST)
def test_what_all_tokens_send_adds_up_to_the_stream(name: str, implementation: str) -> None:
    """Vectors of all keys, the residual and the biases are the state behind the attention, exactly."""
    ctx = attention_context(name, implementation)
    worst = []

    def visit(branch: AttentionBranch) -> None:
        positions = torch.arange(branch.value.shape[1])
        total = branch.residual_share(1, positions)
        for index, _, vectors in branch.shares(1, positions):
            total[index] += vectors.sum(1)
        bias = torch.zeros(1, 1, branch.product.shape[1] * branch.product.value_width, dtype=total.dtype)
        bias = bias.expand(len(positions), -1, -1)
        for step in branch.steps:
            bias = step.linear(bias, 1, positions)
            bias = bias + step.offset(bias.shape[-1])
        if branch.norm is not None:
            bias = branch.norm.linear(bias, 1, positions) + branch.norm.offset(bias.shape[-1])
        worst.append(float((total + bias[:, 0] - branch.stream(1, positions)).abs().max()))

    ctx.branches(visit)
    assert max(worst) < 1e-5  # float32 inside some models' attention; streams are of the order of ten
    assert len(worst) == (6 if ctx.batch.has_source else 2)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_a_norm_behind_the_sum_is_told_from_one_before_the_next_branch(name: str) -> None:
    """Post-norm models normalise the stream itself, pre-norm models what a branch reads of it."""
    is_normed = attention_context(name).branches(lambda b: b.norm is not None)

    assert set(is_normed) == {name in POST_NORM}


def inputs_of(module: nn.Module, run: Any) -> Tensor:
    """What a module is given while ``run`` is called."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
    try:
        with torch.no_grad():
            run()
    finally:
        handle.remove()
    return seen[0]


def test_the_stream_is_what_the_model_reads_next() -> None:
    """Pre-norm: the feed-forward's norm reads the sum. Post-norm: the feed-forward reads the normed sum."""
    gpt2, marian = attention_context("gpt2"), attention_context("marian")
    everywhere = torch.arange(3)
    streams = gpt2.branches(lambda b: b.stream(0, everywhere))
    block = gpt2.adapter.model.transformer.h[1]
    read = inputs_of(block.ln_2, lambda: gpt2.adapter.model(**model_inputs(gpt2.batch.texts[0])))
    torch.testing.assert_close(streams[1], read[0, :3])

    streams = marian.branches(lambda b: b.stream(0, everywhere))
    layer = marian.adapter.model.model.decoder.layers[1]
    read = inputs_of(layer.fc1, lambda: marian.adapter.model(**model_inputs(marian.batch.texts[0])))
    torch.testing.assert_close(streams[-1], read[0, :3])


@pytest.mark.parametrize("name", PARALLEL)
def test_a_parallel_models_residual_is_the_blocks_input(name: str) -> None:
    """The feed-forward that is summed beside attention is no part of what attention carries."""
    ctx = attention_context(name)
    residuals = ctx.branches(lambda b: b.residual)
    states = ctx.hidden_states(lambda s: s.states)

    torch.testing.assert_close(residuals[1], states[0])


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_residual_need_not_be_the_blocks_input(name: str, implementation: str) -> None:
    """BLOOM may add its attention to the normed input, Gemma 3n to one of four streams: what attention was computed
    from. Shares and norms by autograd from output_attentions; float32 in both models' attention and norms."""
    if (name, implementation) == ("bloom_normed_residual", "sdpa"):
        implementation = "eager"  # it has no other
    ctx = attention_context(name, implementation)
    found, norms = Alti().attribute(ctx).target, AttentionNorms(variant="attnresln").attribute(ctx).target
    truth = attention_context(name, "eager")

    for sequence in range(2):
        branches = carried_by_autograd(name, truth, sequence)
        shares = alti_rows(branches)
        row = int(ctx.grid.rows_of(sequence)[-1])
        i = query_of(ctx, row)
        np.testing.assert_allclose(found[row, : i + 1], shares[i, : i + 1], atol=1e-6)
        for branch in branches:
            vectors = branch.vectors.clone()
            vectors[i, i] += branch.residual[i]
            expected = branch.behind_norm(vectors)[i, : i + 1].norm(dim=-1)
            torch.testing.assert_close(
                norms[row, : i + 1, branch.layer], expected.to(norms.dtype), atol=1e-5, rtol=0
            )


def test_a_model_with_several_streams_has_no_state_to_move() -> None:
    """Value zeroing asks how far a state moved; what Gemma 3n passes on are four."""
    with pytest.raises(CapabilityError, match=r"gives \(4, 2, \d+, 32\) where one state"):
        ValueZeroing().attribute(attention_context("gemma3n"))


def test_a_way_that_is_no_linear_map_is_refused() -> None:
    """A model that squashes what attention gives has no vectors to add up."""
    ctx = attention_context("gpt2", "sdpa")
    projection = ctx.adapter.model.transformer.h[0].attn.c_proj
    ctx.adapter.traits.follows_branches = False
    handle = projection.register_forward_hook(lambda _m, _a, output: output.tanh())
    try:
        with pytest.raises(CapabilityError, match="goes through 'tanh'"):
            Alti().attribute(ctx)
    finally:
        handle.remove()
    Alti().attribute(ctx)


# -- norms --------------------------------------------------------------------------------


def carried(ctx: TorchContext, name: str, sequence: int, layer: int) -> Tensor:
    """(L, K, D) vectors Σ_h α f(x) of one layer's self-attention, from the library's own weights."""
    model = ctx.adapter.model
    alpha = own_attentions(ctx, sequence)["decoder"][layer][0].detach()  # (H, L, K)
    if name == "gpt2":
        attention = model.transformer.h[layer].attn
        values, output = attention.c_attn, attention.c_proj.weight
        part = slice(64, 96)
    else:
        attention = model.model.decoder.layers[layer].self_attn
        values, output = attention.v_proj, attention.out_proj.weight.T
        part = slice(0, 32)
    seen: list[Tensor] = []
    handle = values.register_forward_hook(lambda _m, _a, out: seen.append(out.detach()))
    try:
        with torch.no_grad():
            model(**model_inputs(ctx.batch.texts[sequence]))
    finally:
        handle.remove()
    v = seen[0][0, :, part].reshape(-1, 4, 8)  # (K, H, v)
    w = output.detach().reshape(4, 8, 32)
    return torch.einsum("hik,khv,hvd->ikd", alpha, v, w)


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_norms_equal_those_of_vectors_made_by_hand(name: str) -> None:
    """Kobayashi et al. 2020, eq. 5, from output_attentions and the weight matrices."""
    ctx = attention_context(name)
    found = AttentionNorms().attribute(ctx).target

    for sequence, layer in ((0, 0), (1, 1)):
        expected = carried(ctx, name, sequence, layer).norm(dim=-1)
        for row in ctx.grid.rows_of(sequence):
            n = query_of(ctx, row) + 1
            torch.testing.assert_close(
                found[row, :n, layer], expected[n - 1, :n].to(found.dtype), atol=1e-5, rtol=0
            )


def test_the_residual_is_added_to_the_positions_own_vector() -> None:
    """Kobayashi et al. 2021, eq. 7, in a pre-norm model: what the block was given."""
    ctx = attention_context("gpt2")
    states = ctx.hidden_states(lambda s: s.states)
    vectors = carried(ctx, "gpt2", 0, 1)
    row = int(ctx.grid.rows_of(0)[-1])
    i = query_of(ctx, row)
    vectors[i, i] += states[0][0, i]

    found = AttentionNorms(variant="attnres").attribute(ctx).target
    torch.testing.assert_close(
        found[row, : i + 1, 1], vectors[i, : i + 1].norm(dim=-1).to(found.dtype), atol=1e-5, rtol=0
    )
    same = AttentionNorms(variant="attnresln").attribute(ctx).target  # there is no norm behind the sum
    assert torch.equal(found, same)


def test_the_norm_behind_the_sum_is_taken_at_its_variance() -> None:
    """Kobayashi et al. 2021, eq. 9: centred, over the deviation of the real sum, times the weight."""
    ctx = attention_context("marian")
    layer = ctx.adapter.model.model.decoder.layers[0]
    run = lambda: ctx.adapter.model(**model_inputs(ctx.batch.texts[0]))  # noqa: E731
    total = inputs_of(layer.self_attn_layer_norm, run)[0]  # (L, D)
    vectors = carried(ctx, "marian", 0, 0)
    row = int(ctx.grid.rows_of(0)[-1])
    i = query_of(ctx, row)
    vectors[i, i] += inputs_of(layer, run)[0, i]
    deviation = (total[i].var(unbiased=False) + layer.self_attn_layer_norm.eps).sqrt()
    centred = vectors[i] - vectors[i].mean(-1, keepdim=True)
    expected = (centred / deviation * layer.self_attn_layer_norm.weight.detach()).norm(dim=-1)

    found = AttentionNorms(variant="attnresln").attribute(ctx).target
    torch.testing.assert_close(found[row, : i + 1, 0], expected[: i + 1].to(found.dtype), atol=1e-5, rtol=0)


def test_an_unknown_variant_is_refused() -> None:
    """With those that there are."""
    with pytest.raises((InvalidArgumentError, ValueError), match="attnresln"):
        AttentionNorms(variant="ln")


# -- alti --------------------------------------------------------------------------------


def test_alti_equals_the_papers_equations_in_a_pre_norm_decoder() -> None:
    """Every position of every layer by hand; then the matrices multiplied."""
    ctx = attention_context("gpt2")
    found = Alti().attribute(ctx).target
    states = ctx.hidden_states(lambda s: s.states)
    model = ctx.adapter.model
    text = ctx.batch.texts[0]
    first = inputs_of(model.transformer.h[0], lambda: model(**model_inputs(text)))
    total = np.eye(len(text.target_ids))
    for layer, given in enumerate((first[0], states[0][0])):
        block = model.transformer.h[layer]
        stream = inputs_of(block.ln_2, lambda: model(**model_inputs(text)))[0].numpy()
        vectors = carried(ctx, "gpt2", 0, layer).numpy()
        matrix = np.zeros_like(total)
        for i in range(len(total)):
            vectors[i, i] += given[i].numpy()
            matrix[i] = shares_by_hand(stream[i], vectors[i])
        total = matrix @ total

    for row in ctx.grid.rows_of(0):
        np.testing.assert_allclose(found[row, : len(total)], total[query_of(ctx, row)], atol=1e-6)


def test_cross_attention_divides_between_source_and_prefix() -> None:
    """ALTI+: shares of a cross-attention layer and of its residual, by hand from the weights."""
    from inseq_attention.alti import layer_shares

    ctx = attention_context("marian")
    model = ctx.adapter.model
    layer = model.model.decoder.layers[0]
    run = lambda: model(**model_inputs(ctx.batch.texts[0]))  # noqa: E731
    found = ctx.branches(lambda b: layer_shares(b) if b.product.kind == "cross" else None)[0]
    alpha = own_attentions(ctx, 0)["cross"][0][0].detach()
    memory = inputs_of(layer.encoder_attn.v_proj, run)[0]
    v = (memory @ layer.encoder_attn.v_proj.weight.T + layer.encoder_attn.v_proj.bias).reshape(-1, 4, 8)
    w = layer.encoder_attn.out_proj.weight.T.reshape(4, 8, 32)
    vectors = torch.einsum("hik,khv,hvd->ikd", alpha, v, w)
    total = inputs_of(layer.encoder_attn_layer_norm, run)[0]
    residual = total - layer.encoder_attn.out_proj.bias - vectors.sum(1)
    norm = layer.encoder_attn_layer_norm
    everything = torch.cat([vectors, residual[:, None]], dim=1)  # (L, S + 1, D)
    deviation = (total.var(-1, unbiased=False) + norm.eps).sqrt()[:, None, None]
    everything = (everything - everything.mean(-1, keepdim=True)) / deviation * norm.weight
    stream = norm(total).detach().numpy()

    for i in range(total.shape[0]):
        expected = shares_by_hand(stream[i], everything[i].detach().numpy())
        np.testing.assert_allclose(found[0][0, i, : len(expected) - 1], expected[:-1], atol=1e-6)
        np.testing.assert_allclose(found[1][0, i, 0], expected[-1], atol=1e-6)


@pytest.mark.parametrize(("name", "implementation"), FASTEST)
def test_alti_rows_sum_to_one_over_source_and_prefix(name: str, implementation: str) -> None:
    """They are shares, of visible tokens only."""
    ctx = attention_context(name, implementation)
    output = Alti().attribute(ctx)
    sides = [("target", output.target)]
    sides += [("source", output.source)] if ctx.batch.has_source else []

    np.testing.assert_allclose(sum(scores.sum(1) for _, scores in sides), 1, atol=1e-5)
    for side, scores in sides:
        assert float(scores.min()) >= 0
        assert not scores[~torch.as_tensor(ctx.visible(side))].any()


@pytest.mark.parametrize("name", FEW)
def test_alti_does_not_depend_on_the_implementation_of_attention(name: str) -> None:
    """Weights read from a fused function, or from the written-out one."""
    fused = Alti().attribute(attention_context(name, "sdpa"))
    written_out = Alti().attribute(attention_context(name, "eager"))

    torch.testing.assert_close(fused.target, written_out.target, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FEW)
def test_a_portion_at_a_time_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts are worked through in portions of queries and keys."""
    from inseq_core.torch import attention_branch

    whole = Alti().attribute(attention_context(name))
    monkeypatch.setattr(attention_branch, "PORTION", 300)
    parts = Alti().attribute(attention_context(name))

    torch.testing.assert_close(parts.target, whole.target, atol=1e-9, rtol=0)
    if whole.source is not None:
        torch.testing.assert_close(parts.source, whole.source, atol=1e-9, rtol=0)
