"""Captum's own classes by name: what they give, what they are given, and what they leave behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.contexts import context_of, of_row, tiny_context
from support.hf_adapters import forced, tiny_adapter

from inseq_captum.classes import HOOKS, algorithms, works_at_a_layer
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.layers import LayerGradientXActivation, LayerIntegratedGradients
from inseq_captum.passthrough import CaptumAlgorithm
from inseq_core.errors import CapabilityError, InvalidArgumentError

SHORT = (("A dog", " and"),)


def traces(model: torch.nn.Module) -> list[Any]:
    """Names of the attributes of every module, and its hooks."""
    return [
        (sorted(vars(m)), m._is_full_backward_hook, [list(getattr(m, hooks)) for hooks in HOOKS])
        for m in model.modules()
    ]


@pytest.mark.parametrize("algorithm", ["LRP", "DeepLift", "GuidedBackprop", "Deconvolution"])
def test_nothing_of_a_class_stays_on_the_model(algorithm: str) -> None:
    """Captum's LRP leaves its rules on the modules when it finds one that it has no rule for; classes that hook the
    backward pass leave a mark that says so.
    """
    ctx = tiny_context("gpt2", SHORT)
    before = traces(ctx.adapter.model)

    if algorithm == "LRP":
        with pytest.raises(CapabilityError, match="has no rule defined"):
            CaptumAlgorithm(algorithm=algorithm).attribute(ctx)
    else:
        CaptumAlgorithm(algorithm=algorithm).attribute(ctx)

    assert traces(ctx.adapter.model) == before


@pytest.mark.parametrize("algorithm", ["GradientShap", "KernelShap", "ShapleyValueSampling", "NoiseTunnel"])
def test_what_a_class_draws_comes_from_the_seed_of_the_call(algorithm: str) -> None:
    """Captum draws from the global generators of torch and numpy: they stay where they were, and a text has the same
    numbers twice, alone and in a batch.
    """
    adapter = tiny_adapter("gpt2", dtype=torch.float64)
    texts = [forced(adapter, "A dog", " and"), forced(adapter, "The developer argued", " with")]
    arguments = {"n_samples": 3} if "Sh" in algorithm else {}
    method = CaptumAlgorithm(algorithm=algorithm, attribute_args=arguments)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    first = context_of(adapter, texts)
    found = method.attribute(first)
    second = context_of(adapter, texts[1:])
    again = method.attribute(second)

    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    offset = first.n_rows - second.n_rows
    for row in range(second.n_rows):
        (a,) = of_row(first, None, found.target, offset + row)
        (e,) = of_row(second, None, again.target, row)
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-12)


def test_convergence_deltas_of_a_class_are_step_scores() -> None:
    """Captum returns them beside its scores; ours of the same quadrature are the oracle."""
    ctx = tiny_context("llama", SHORT)
    options = {"n_steps": 4, "return_convergence_delta": True}

    theirs = CaptumAlgorithm(algorithm="IntegratedGradients", attribute_args=options).attribute(ctx)
    ours = IntegratedGradients(**options).attribute(ctx)

    torch.testing.assert_close(theirs.step_scores["deltas"], ours.step_scores["deltas"], rtol=0, atol=1e-7)
    torch.testing.assert_close(theirs.target, ours.target, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "layer",
    ["model.encoder.layers.0.fc1", "model.decoder.layers.0", "model.decoder.layers.1.encoder_attn.k_proj"],
)
def test_classes_of_layers_score_the_side_and_width_of_the_layer(layer: str) -> None:
    """Not those of the embeddings, which may be another side's and narrower."""
    ctx = tiny_context("bart", attribute_target=False)

    for algorithm, ours in (
        ("LayerGradientXActivation", LayerGradientXActivation(target_layer=layer)),
        ("LayerIntegratedGradients", LayerIntegratedGradients(target_layer=layer, n_steps=3)),
    ):
        arguments = {"n_steps": 3} if "Integrated" in algorithm else {}
        theirs = CaptumAlgorithm(algorithm=algorithm, target_layer=layer, attribute_args=arguments)
        found, expected = theirs.attribute(ctx), ours.attribute(ctx)
        for row in range(ctx.n_rows):
            for a, e in zip(
                of_row(ctx, found.source, found.target, row),
                of_row(ctx, expected.source, expected.target, row),
                strict=True,
            ):
                np.testing.assert_allclose(a, e, rtol=0, atol=1e-7)


def test_a_class_that_wants_a_distribution_gets_a_list_of_baselines() -> None:
    """One baseline is none, and says so without its numbers."""
    ctx = tiny_context("gpt2", SHORT)
    with pytest.raises(CapabilityError, match="more than one example but found: a tensor"):
        CaptumAlgorithm(algorithm="DeepLiftShap").attribute(ctx)

    both = CaptumAlgorithm(algorithm="DeepLiftShap", baseline=["unk", "zero"]).attribute(ctx).target
    one, other = (
        CaptumAlgorithm(algorithm="DeepLift", baseline=b).attribute(ctx).target for b in ("unk", "zero")
    )
    torch.testing.assert_close(both, (one + other) / 2, rtol=0, atol=1e-10)


def test_windows_and_masks_are_one_position_each() -> None:
    """So that occlusion and ablation agree, and every hidden dimension of a position has one score."""
    ctx = tiny_context("t5", SHORT)
    a, e = (CaptumAlgorithm(algorithm=name).attribute(ctx) for name in ("Occlusion", "FeatureAblation"))

    torch.testing.assert_close(a.source.double(), e.source.double(), rtol=0, atol=1e-6)  # one sums in float32
    assert (a.source == a.source[..., :1]).all()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"algorithm": "GradientAttribution"}, "no attribution class 'GradientAttribution'"),
        ({"algorithm": ["Saliency"]}, r"no attribution class \['Saliency'\]"),
        ({"algorithm": "LLMAttribution"}, "that runs on embeddings"),
        ({"algorithm": "FeaturePermutation"}, "nothing to shuffle"),
        ({"algorithm": "LayerConductance"}, "Give target_layer="),
        ({"algorithm": "LayerConductance", "target_layer": ["transformer"]}, "run at one module"),
        ({"algorithm": "NoiseTunnel", "init_args": {"attribution_method": "Salience"}}, "'Salience'"),
        (
            {"algorithm": "NoiseTunnel", "init_args": {"attribution_method": "LayerDeepLift"}},
            "'LayerDeepLift'",
        ),
    ],
)
def test_a_class_that_cannot_run_is_refused_before_any_work(parameters: dict, says: str) -> None:
    """With what would do."""
    with pytest.raises(InvalidArgumentError, match=says):
        CaptumAlgorithm(**parameters)


def test_every_class_runs_or_says_where_its_arguments_go() -> None:
    """No class may end in an error that is not ours."""
    ctx = tiny_context("gpt2", SHORT)
    refused = []
    for name in algorithms():
        layered = {"target_layer": "transformer.h.0.mlp"} if works_at_a_layer(algorithms()[name]) else {}
        neuron = {"attribute_args": {"neuron_selector": (1, 3)}} if "Neuron" in name else {}
        few = {"attribute_args": {"n_samples": 2}} if name in ("KernelShap", "Lime") else {}
        few = {"attribute_args": {"n_samples": 2}} if name == "ShapleyValueSampling" else few
        several = {"baseline": ["unk", "zero"]} if "DeepLiftShap" in name else {}
        try:
            CaptumAlgorithm(algorithm=name, **layered, **neuron, **few, **several).attribute(ctx)
        except (CapabilityError, InvalidArgumentError):
            refused.append(name)

    permutations = {"FeaturePermutation", "LayerFeaturePermutation"}
    assert set(refused) - permutations == {"LRP", "LayerLRP", "LayerGradCam", "LimeBase"}
