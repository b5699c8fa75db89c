"""Layers of every kind as places of attribution, against Captum's layer classes run literally: on plain ids, one
step after the other, on that step's own prefix, with Captum's own hooks.
"""

from __future__ import annotations

import warnings
from typing import Any

import attrs
import captum.attr
import numpy as np
import pytest
import torch
from support.contexts import context_of, of_row, tiny_context
from support.hf_adapters import forced, tiny_adapter
from support.tiny_models import tiny_model

import inseq
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.layers import LayerGradientXActivation, LayerIntegratedGradients
from inseq_captum.noise import SmoothGrad
from inseq_core.data.batch import EncodedText
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import TorchContext
from inseq_propagation.deeplift import DeepLift, LayerDeepLift

FLOAT32_INSIDE = ("bloom", "gemma3", "mamba", "mixtral")
"""Models that compute norms, routing or states in float32 whatever their weights are in."""

KINDS = [
    pytest.param("gemma3", "model.layers.0.mlp", id="a gated product"),
    pytest.param("llama", "lm_head", id="the head"),
    pytest.param("gpt2", "transformer.wpe", id="one for all texts"),
    pytest.param("mixtral", "model.layers.0.mlp.experts", id="flattened texts"),
    pytest.param("bloom", "transformer.h.1.self_attention.query_key_value", id="a fused projection"),
    pytest.param("mamba", "backbone.layers.1.mixer", id="a state space"),
    pytest.param("t5", "encoder.block.1.layer.0.SelfAttention.v", id="values of the encoder"),
    pytest.param("bart", "model.decoder.layers.0.encoder_attn.k_proj", id="keys of the encoder"),
    pytest.param("pegasus", "model.decoder.layers.0", id="a decoder block"),
]


def tokens(ctx: TorchContext, row: int) -> tuple[torch.Tensor, ...]:
    """Ids of a row's own text: source (1, S) and prefix (1, L)."""
    text = ctx.batch.texts[int(ctx.grid.sequence[row])]
    sides = [] if text.source_ids is None else [torch.tensor(text.source_ids)[None]]
    return (*sides, torch.tensor(text.target_ids[: int(ctx.grid.position[row])])[None])


def unknown(ctx: TorchContext, row: int) -> tuple[torch.Tensor, ...]:
    """The same with the unknown token wherever it is not kept."""
    adapter = ctx.adapter
    sides = ("source", "target") if ctx.batch.has_source else ("target",)
    found = []
    for side, ids in zip(sides, tokens(ctx, row), strict=True):
        kept = torch.tensor(adapter.kept_in_baseline(ids[0].numpy(), side, False))
        found.append(torch.where(kept, ids, torch.full_like(ids, adapter.baseline_ids("unk", side))))
    return tuple(found)


def literal(ctx: TorchContext, row: int, algorithm: type, layer: str, **arguments: Any) -> np.ndarray:
    """(positions, width) of Captum's class on the row's ids."""
    model, token = ctx.adapter.model, int(ctx.grid.target_ids[row])

    def probability(*ids: torch.Tensor) -> torch.Tensor:
        named = {"input_ids": ids[0]} if len(ids) == 1 else {"input_ids": ids[0], "decoder_input_ids": ids[1]}
        return model(**named).logits[:, -1].softmax(-1)[:, token]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = algorithm(probability, model.get_submodule(layer)).attribute(tokens(ctx, row), **arguments)
    values = found[0] if isinstance(found, tuple) else found
    return values.detach().reshape(-1, values.shape[-1]).numpy()


@pytest.mark.parametrize(("name", "layer"), KINDS)
def test_any_module_equals_captum_run_on_ids_step_by_step(name: str, layer: str) -> None:
    """Whatever shape it has, and whichever side's positions. float64 rounding of a few layers; the models that
    compute parts in float32 are off by its rounding.
    """
    ctx = tiny_context(name)
    found = LayerGradientXActivation(target_layer=layer).attribute(ctx)

    for row in range(0, ctx.n_rows, 3):
        expected = literal(ctx, row, captum.attr.LayerGradientXActivation, layer)
        (actual,) = of_row(ctx, found.source, found.target, row)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 if name in FLOAT32_INSIDE else 1e-12)
        assert np.abs(expected).max() > 1e-6


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("llama", "lm_head"),
        ("mixtral", "model.layers.1.mlp.experts"),
        ("bart", "model.decoder.layers.0.encoder_attn.v_proj"),
        ("t5", "decoder.block.1.layer.0.SelfAttention.q"),
    ],
)
def test_path_integrals_at_any_module_equal_captums(name: str, layer: str) -> None:
    """Several nodes in one pass, in a padded batch. Captum keeps quadrature weights in float32: 1e-8 of a score."""
    ctx = tiny_context(name)
    found = LayerIntegratedGradients(target_layer=layer, n_steps=4).attribute(ctx)

    for row in (0, ctx.n_rows - 1):
        expected = literal(
            ctx, row, captum.attr.LayerIntegratedGradients, layer, baselines=unknown(ctx, row), n_steps=4
        )
        (actual,) = of_row(ctx, found.source, found.target, row)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", [LayerGradientXActivation, LayerIntegratedGradients, LayerDeepLift])
@pytest.mark.parametrize(
    ("name", "whole", "last"),
    [
        ("llama", "model", "model.norm"),
        ("t5", "encoder", "encoder.final_layer_norm"),
        ("bart", "model.decoder", "model.decoder.layers.1"),
    ],
)
def test_a_module_that_returns_a_record_has_the_scores_of_its_last_module(
    name: str, whole: str, last: str, method: type
) -> None:
    """Whole encoders and decoders give records of tensors; what they say is what their last module says (dropout
    does nothing here).
    """
    ctx = tiny_context(name, (("The developer argued", " with"),))
    a, e = (method(target_layer=layer).attribute(ctx) for layer in (whole, last))

    for side in ("source", "target"):
        given, expected = getattr(a, side), getattr(e, side)
        assert (given is None) == (expected is None)
        if given is not None:
            torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", ["encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.q_proj"])
def test_positions_are_told_apart_where_both_sides_are_equally_long(layer: str) -> None:
    """Keys and values of cross-attention have source positions, its queries target positions; widths of four
    and four tokens do not say which.
    """
    adapter = tiny_adapter("bart", dtype=torch.float64)
    whole = forced(adapter, "A dog", " sleeping in the house")
    text = EncodedText(target_ids=whole.target_ids[:5], source_ids=whole.target_ids[-4:], prompt_length=1)
    ctx = context_of(adapter, [text], spans=[(4, 5)])

    found = LayerGradientXActivation(target_layer=f"model.decoder.layers.0.{layer}").attribute(ctx)

    assert ctx.batch.source_ids.shape[1] == ctx.grid.prefix_length == 4
    assert (found.source is None) == ("q_proj" in layer)


@pytest.mark.parametrize(
    ("name", "layer", "says"),
    [
        ("gpt2", "transformer.h", r"inside it: transformer\.h\.0, transformer\.h\.1"),
        ("bart", "model.shared", r"weights are those of model\.encoder\.embed_tokens, model\.decoder"),
        ("t5", "encoder.dropout", "ran 2 times.*\n.*runs once"),
        ("gpt2", "transformer.h.0.attn.attn_dropout", "not used on the way"),
        ("mixtral", "model.layers.0.mlp.gate", "nothing of its .* output is used"),
        ("gemma3", "model.layers.0.self_attn.q_norm", r"gives \(1, 4, \d+, 8\), expected one vector"),
    ],
)
def test_a_module_that_cannot_be_attributed_at_says_which_could(name: str, layer: str, says: str) -> None:
    """A container, a holder of tied weights, one that runs twice or never, and one whose output nobody reads."""
    ctx = tiny_context(name, (("A dog", " and"),))
    for method in (LayerGradientXActivation, LayerIntegratedGradients, LayerDeepLift):
        with pytest.raises(InvalidArgumentError, match=says):
            method(target_layer=layer).attribute(ctx)
    assert ctx.adapter.traits.splits_at_head


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("gpt2", "transformer.h.0.attn"),
        ("llama", "model.layers.0.mlp"),
        ("bart", "model.decoder.layers.0.encoder_attn"),
        ("bart", "model.encoder.layers.0"),
        ("llama", "lm_head"),
    ],
)
def test_around_noisy_inputs_everything_beside_the_module_is_noisy_too(name: str, layer: str) -> None:
    """A residual stream or an encoder that stayed at the text's own embeddings would mix two inputs. The oracle
    replaces the token embeddings by the noisy ones and asks autograd at the module.
    """
    ctx = tiny_context(name, (("The developer argued", " with"),))
    (noise,) = ctx.draw(1)
    moved = ctx.at(ctx.inputs + noise * (ctx.embedding_spread() * 0.5))
    arguments = {"target_layer": layer}

    found = SmoothGrad(
        base="layer_gradient_x_activation", base_args=arguments, n_samples=1, stdevs=0.5
    ).attribute(ctx)

    for row in range(ctx.n_rows):
        (actual,) = of_row(ctx, found.source, found.target, row)
        np.testing.assert_allclose(actual, gradient_x_output(moved, row, layer), rtol=0, atol=1e-10)


def gradient_x_output(ctx: TorchContext, row: int, layer: str) -> np.ndarray:
    """(positions, width) at a module, by one whole forward pass on a row's own prefix and one backward pass."""
    kept: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        kept.append(output if isinstance(output, torch.Tensor) else output[0])

    part = ctx.take(np.array([row]))
    at = tuple(x.clone().requires_grad_() for x in part.inputs.sides())
    handle = ctx.adapter.model.get_submodule(layer).register_forward_hook(keep)
    try:
        score = part.scores_with_graph(0, at).sum()
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[-1])
    return (gradient * kept[-1])[0].detach().numpy()


@pytest.mark.parametrize("name", ["bart", "marian", "t5"])
def test_without_a_layer_gradients_are_those_at_the_embedding_module_of_each_side(name: str) -> None:
    """Each side's module by itself is the oracle: a gradient does not depend on where else one is taken."""
    ctx = tiny_context(name)
    modules = {side: ctx.adapter.embedding_module(side) for side in ("source", "target")}

    for multiply in (True, False):
        found = LayerGradientXActivation(multiply_by_inputs=multiply).attribute(ctx)
        for side, module in modules.items():
            alone = LayerGradientXActivation(target_layer=module, multiply_by_inputs=multiply).attribute(ctx)
            torch.testing.assert_close(getattr(found, side), getattr(alone, side), rtol=0, atol=1e-12)
    assert len(found.notes["target_layer"]) == 2


@pytest.mark.parametrize("name", ["bart", "marian"])
def test_without_a_layer_both_sides_move_together_and_add_up(name: str) -> None:
    """The token embeddings are one place. Alone, each side would have a path of its own, on which the other side
    stays at the input, and the sums of the two would count what they do together twice.
    """
    ctx = tiny_context(name)
    layer = LayerIntegratedGradients(n_steps=64, return_convergence_delta=True).attribute(ctx)
    lift = LayerDeepLift(return_convergence_delta=True).attribute(ctx)
    change = ctx.scores(ctx.inputs) - ctx.scores(ctx.baseline())

    for found, plain in ((layer, IntegratedGradients(n_steps=64)), (lift, DeepLift())):
        expected = plain.attribute(ctx)
        torch.testing.assert_close(found.source, expected.source, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.target, expected.target, rtol=0, atol=1e-12)
        sums = found.source.sum(dim=(1, 2)) + found.target.sum(dim=(1, 2))
        torch.testing.assert_close(sums, change, rtol=0, atol=1e-3 * float(change.abs().max()))
        torch.testing.assert_close(found.step_scores["deltas"], sums - change, rtol=0, atol=1e-9)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("name", ["bart", "marian"])
def test_at_the_embedding_module_of_one_side_the_other_stays_at_the_input(name: str, side: str) -> None:
    """Asked for by name it is a place like any other: the sum over quadrature nodes of gradients at embeddings of
    which one side moves. Captum keeps quadrature weights in float32.
    """
    ctx = tiny_context(name)
    module = ctx.adapter.embedding_module(side)
    now, then = getattr(ctx.inputs, side), getattr(ctx.baseline(), side)

    found = getattr(LayerIntegratedGradients(target_layer=module, n_steps=4).attribute(ctx), side)

    total = 0
    for node, weight in zip(*np.polynomial.legendre.leggauss(4), strict=True):
        at = attrs.evolve(ctx.inputs, **{side: then + (node + 1) / 2 * (now - then)})
        total = total + weight / 2 * getattr(ctx.step_gradients(at), side)
    expected = total * ctx.rows_of_dense((now - then)[:, None].expand(-1, ctx.grid.n_steps, -1, -1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", [LayerGradientXActivation, LayerIntegratedGradients, LayerDeepLift])
def test_without_a_layer_and_without_the_target_it_is_the_module_of_the_source(method: type) -> None:
    """What is not attributed stays where it is."""
    ctx = tiny_context("marian", attribute_target=False)

    found = method().attribute(ctx)

    expected = method(target_layer="model.encoder.embed_tokens").attribute(ctx)
    assert found.target is None
    torch.testing.assert_close(found.source, expected.source, rtol=0, atol=0)


def test_a_module_that_was_given_as_an_object_is_a_name_in_the_record() -> None:
    """Its own text is all of its layers."""
    network, tokenizer = tiny_model("gpt2")
    model = inseq.load_model(network, "layer_gradient_x_activation", tokenizer=tokenizer)

    info = model.attribute("A dog", "A dog and", target_layer=network.transformer.h[0]).info

    assert info.attribution_args["target_layer"] == "<GPT2Block>"
    assert info.notes["target_layer"] == "transformer.h.0"
