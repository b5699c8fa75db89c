"""Value zeroing against the paper's procedure, done literally: zero a value, run the whole model, compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attention import FASTEST, FEW, attention_context, model_inputs, query_of, sequence_of
from support.contexts import context_of
from torch import Tensor, nn

from inseq_attention.value_zeroing import ValueZeroing, distance
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import TorchContext

HEADS, HEAD_WIDTH = 4, 8
WINDOWS = ("gpt_neo", "gemma2", "gemma3", "gpt_oss")
"""Models with layers that look back a few tokens only: what is out of sight scores zero."""


def value_and_block(model: Any, name: str, kind: str, layer: int) -> tuple[nn.Module, nn.Module]:
    """Where each library file computes values, and the layer around it."""
    if name == "gpt2":
        return model.transformer.h[layer].attn.c_attn, model.transformer.h[layer]
    if name == "llama":
        return model.model.layers[layer].self_attn.v_proj, model.model.layers[layer]
    if name == "marian":
        side = model.model.encoder if kind == "encoder" else model.model.decoder
        block = side.layers[layer]
        return (block.encoder_attn if kind == "cross" else block.self_attn).v_proj, block
    block = (model.encoder if kind == "encoder" else model.decoder).block[layer]
    return (block.layer[1].EncDecAttention if kind == "cross" else block.layer[0].SelfAttention).v, block


def literally(
    ctx: TorchContext,
    name: str,
    kind: str,
    layer: int,
    sequence: int,
    query: int,
    heads: list[int],
    metric: str,
) -> np.ndarray:
    """(K,) scores of one query, from one run of the whole model for each token."""
    model = ctx.adapter.model
    value, block = value_and_block(model, name, kind, layer)
    inputs = model_inputs(ctx.batch.texts[sequence], None if kind == "encoder" else query + 1)
    n_keys = inputs["input_ids"].shape[1] if kind != "decoder" or name in ("gpt2", "llama") else query + 1
    columns = [h * HEAD_WIDTH + c for h in heads for c in range(HEAD_WIDTH)]
    if name == "llama":
        columns = list(range(value.out_features))  # two heads share each value; all of them are zeroed
    if name == "gpt2":
        columns = [2 * HEADS * HEAD_WIDTH + c for c in columns]  # queries, keys and values in one matrix
    states: list[Tensor] = []
    token: int | None = None

    def zero(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        if token is not None:
            output[:, token, columns] = 0
        return output

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        states.append((output if isinstance(output, Tensor) else output[0])[0, query].detach())

    handles = [value.register_forward_hook(zero), block.register_forward_hook(keep)]
    try:
        with torch.no_grad():
            for zeroed in (None, *range(n_keys)):
                token = zeroed
                model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    clean, moved = states[0].double(), torch.stack(states[1:]).double()
    if metric == "cosine":
        distances = 1 - torch.nn.functional.cosine_similarity(clean[None], moved, dim=-1)
    else:
        distances = (clean - moved).norm(dim=-1)
    return (distances / distances.sum()).numpy()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gpt2", "decoder"),
        ("llama", "decoder"),
        ("marian", "decoder"),
        ("marian", "cross"),
        ("t5", "decoder"),
        ("t5", "cross"),
    ],
)
def test_scores_equal_the_papers_procedure(name: str, kind: str, metric: str) -> None:
    """In both layers of a padded batch: zeroed self-attention changes cross-attention's queries too."""
    ctx = attention_context(name, "sdpa")
    output = ValueZeroing(similarity_metric=metric).attribute(ctx)
    scores = output.source if kind == "cross" else output.target

    for row in (0, 2, ctx.n_rows - 1):
        for layer in range(2):
            expected = literally(
                ctx, name, kind, layer, sequence_of(ctx, row), query_of(ctx, row), list(range(HEADS)), metric
            )
            found = scores[row, :, layer].numpy()
            np.testing.assert_allclose(found[: len(expected)], expected, rtol=0, atol=2e-7)
            assert not found[len(expected) :].any()


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_scores_inside_the_encoder_equal_the_papers_procedure(name: str) -> None:
    """The paper's own setting; they belong to the text, not to a step: zeroed token, position, layer."""
    ctx = attention_context(name, "sdpa")
    output = ValueZeroing().attribute(ctx)

    for sequence in range(2):
        scores = output.sequence_scores["encoder_self_scores"][sequence]
        length = len(ctx.batch.texts[sequence].source_ids)
        assert scores.shape == (length, length, 2)
        for position, layer in ((0, 0), (length - 1, 1)):
            expected = literally(
                ctx, name, "encoder", layer, sequence, position, list(range(HEADS)), "cosine"
            )
            np.testing.assert_allclose(scores[:, position, layer], expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("units", [1, (1, 3), [0, 3], {1: [2], 0: None}])
def test_only_the_chosen_heads_are_zeroed(units: object) -> None:
    """The forms that users of other tools know: one, a span, a list, or one of these by layer."""
    ctx = attention_context("gpt2")
    scores = ValueZeroing(decoder_zeroed_units_indices=units).attribute(ctx).target
    by_layer = {
        1: {0: [1], 1: [1]},
        (1, 3): {0: [1, 2], 1: [1, 2]},
        "list": {0: [0, 3], 1: [0, 3]},
        "dict": {0: [0, 1, 2, 3], 1: [2]},
    }["list" if isinstance(units, list) else "dict" if isinstance(units, dict) else units]
    row = ctx.n_rows - 1

    for layer, heads in by_layer.items():
        expected = literally(ctx, "gpt2", "decoder", layer, 1, query_of(ctx, row), heads, "cosine")
        np.testing.assert_allclose(scores[row, : len(expected), layer].numpy(), expected, rtol=0, atol=2e-7)


def test_layers_that_are_not_named_keep_their_values() -> None:
    """Nothing zeroed, nothing moved: no scores, and no division by zero."""
    scores = ValueZeroing(decoder_zeroed_units_indices={0: 1}).attribute(attention_context("gpt2")).target

    assert bool((scores[..., 1] == 0).all())
    np.testing.assert_allclose(scores[..., 0].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(("name", "implementation"), FASTEST)
def test_every_architecture_moves_and_sums_to_one(name: str, implementation: str) -> None:
    """Positive where a token is seen, zero where none is."""
    ctx = attention_context(name, implementation)
    output = ValueZeroing(output_encoder_self_scores=False).attribute(ctx)
    sides = [("target", output.target)]
    sides += [("source", output.source)] if ctx.batch.has_source else []

    for side, scores in sides:
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
        assert not scores[~torch.as_tensor(ctx.visible(side))].any()
    if name not in WINDOWS:
        assert bool((output.target[torch.as_tensor(ctx.visible("target"))] > 0).all())


@pytest.mark.parametrize("name", FEW)
def test_the_implementation_of_attention_makes_no_difference(name: str) -> None:
    """The layer is run again with the fused function replaced, or the written-out one."""
    fused = ValueZeroing().attribute(attention_context(name, "sdpa"))
    written_out = ValueZeroing().attribute(attention_context(name, "eager"))

    torch.testing.assert_close(fused.target, written_out.target, atol=1e-5, rtol=0)


def test_padding_changes_nothing() -> None:
    """Texts of different lengths share a batch, and blocks are run on versions of both."""
    for name in ("llama", "marian"):
        ctx = attention_context(name, "sdpa")
        together = ValueZeroing().attribute(ctx)
        for sequence in range(2):
            rows = ctx.grid.rows_of(sequence)
            text = ctx.batch.texts[sequence]
            span = (int(ctx.grid.position[rows[0]]), len(text.target_ids))
            single = ValueZeroing().attribute(context_of(ctx.adapter, [text], spans=[span]))
            n = single.target.shape[1]
            np.testing.assert_allclose(single.target, together.target[rows][:, :n], atol=1e-6)


def test_it_is_one_pass_and_no_more_than_a_block_for_each_layer_and_token() -> None:
    """The peer runs the whole model once for each token."""
    ctx = attention_context("llama", "sdpa")
    ValueZeroing().attribute(ctx)
    before = ctx.adapter.counts.copy()
    ValueZeroing().attribute(ctx)
    spent = ctx.adapter.counts - before

    assert spent["forward"] == 1
    assert spent["block"] <= 2 * ctx.batch.target_ids.shape[1]


def test_scores_of_an_unattributed_target_belong_to_the_text() -> None:
    """As users of other tools know them; they are scores like any other when the target is attributed."""
    ctx = attention_context("marian", attribute_target=False)
    output = ValueZeroing().attribute(ctx)
    attributed = ValueZeroing().attribute(attention_context("marian"))

    assert output.target is None
    scores = output.sequence_scores["decoder_self_scores"][0]
    rows = ctx.grid.rows_of(0)
    first = attributed.target[rows[0]].numpy()
    position = int(ctx.grid.position[rows[0]])
    np.testing.assert_allclose(scores[:position, 0], first[:position], atol=1e-7)
    assert np.isnan(scores[position:, 0]).all()
    assert "decoder_self_scores" not in attributed.sequence_scores


def test_small_distances_do_not_cancel() -> None:
    """1 − cosine in float32 is noise below 1e-7; half the squared distance of unit vectors is not."""
    a = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(0)), dim=0)
    orthogonal = torch.roll(a, 1) - (torch.roll(a, 1) @ a) * a
    b = a + 1e-5 * orthogonal / orthogonal.norm()
    exact = 1 - torch.cos(torch.atan(torch.tensor(1e-5, dtype=torch.float64)))

    found = distance(a[None], b[None], "cosine")
    assert float(found) == pytest.approx(float(exact), rel=0.02)


@pytest.mark.parametrize("units", ["all", 1.5, {"a": 1}, {0: "b"}, (1, 2, 3)])
def test_what_is_no_choice_of_heads_is_refused(units: object) -> None:
    """Before any model work."""
    with pytest.raises(InvalidArgumentError):
        ValueZeroing(decoder_zeroed_units_indices=units)
