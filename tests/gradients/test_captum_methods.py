"""Captum's methods on the step axis against Captum run literally: its own class, one step after the other, on
that step's prefix.
"""

from __future__ import annotations

import warnings
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from support.contexts import (
    context_of,
    of_row,
    of_text,
    prefix_embeddings,
    prefix_gradients,
    prefix_score,
    tiny_context,
)
from support.tiny_models import ARCHITECTURES, ENCODER_DECODER, tiny_model

import inseq
from inseq_captum.gradients import InputXGradient, Saliency
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.layers import LayerGradientXActivation, LayerIntegratedGradients
from inseq_captum.noise import SmoothGrad, SquareGrad
from inseq_captum.passthrough import CaptumAlgorithm
from inseq_captum.shap import GradientShap, interpolation_points
from inseq_core.errors import ApproximationWarning, CapabilityError, InseqError, InvalidArgumentError
from inseq_core.torch import TorchContext

EXACT = ("gpt2", "llama", "marian", "t5")
FIRST_LAYER = {
    "gpt2": "transformer.h.0",
    "llama": "model.layers.0.mlp",
    "marian": "model.encoder.layers.0",
    "t5": "decoder.block.0",
    "bart": "model.decoder.layers.1",
}


def literal(ctx: TorchContext, row: int, algorithm: type, **arguments: Any) -> list[np.ndarray]:
    """Captum's class on one row's own embeddings."""
    score = prefix_score(ctx, row)
    inputs = tuple(x.detach().requires_grad_() for x in prefix_embeddings(ctx, row))

    def forward(*copies: torch.Tensor) -> torch.Tensor:
        return torch.stack([score([c[k : k + 1] for c in copies]) for k in range(copies[0].shape[0])])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = algorithm(forward).attribute(inputs, **arguments)
    return [f[0].detach().numpy() for f in found]


def baselines(ctx: TorchContext, row: int) -> tuple[torch.Tensor, ...]:
    """The baseline of one row's own text."""
    return tuple(of_text(ctx, ctx.baseline(), row))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (Saliency(), captum.attr.Saliency, {}),
        (Saliency(abs=False), captum.attr.Saliency, {"abs": False}),
        (InputXGradient(), captum.attr.InputXGradient, {}),
    ],
)
def test_gradient_methods_equal_captum_run_step_by_step(
    name: str, ours: Any, theirs: type, arguments: dict
) -> None:
    """The step axis must not change Captum's arithmetic. float64 rounding of a few layers."""
    ctx = tiny_context(name)
    found = ours.attribute(ctx)

    for row in range(0, ctx.n_rows, 3):
        for a, e in zip(
            of_row(ctx, found.source, found.target, row), literal(ctx, row, theirs, **arguments), strict=True
        ):
            np.testing.assert_allclose(a, e, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("method", ["gausslegendre", "riemann_trapezoid"])
def test_integrated_gradients_equal_captum_run_step_by_step(name: str, method: str) -> None:
    """Also when the nodes do not fit at once. Captum keeps quadrature weights in float32: 1e-8 of a score."""
    ctx = tiny_context(name)
    whole = IntegratedGradients(n_steps=6, method=method).attribute(ctx)
    parts = IntegratedGradients(n_steps=6, method=method, internal_batch_size=4).attribute(ctx)

    for row in range(0, ctx.n_rows, 4):
        expected = literal(
            ctx, row, captum.attr.IntegratedGradients, baselines=baselines(ctx, row), n_steps=6, method=method
        )
        for found in (whole, parts):
            for a, e in zip(of_row(ctx, found.source, found.target, row), expected, strict=True):
                np.testing.assert_allclose(a, e, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [a for a in ARCHITECTURES if a not in ("mamba", "mixtral", "gpt_oss")])
def test_integrated_gradients_are_complete_on_every_dense_architecture(name: str) -> None:
    """Scores of a step sum to its change of probability: a wrong embedding scale, mask or baseline would show
    here. Adaptive quadrature reaches two percent of the change at every step, or says at how many it did
    not."""
    ctx = tiny_context(name, (("The developer argued", " with"),))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ApproximationWarning)
        found = IntegratedGradients(n_steps="auto", tolerance=0.02).attribute(ctx)

    change = (ctx.scores() - ctx.scores(ctx.baseline())).double()
    total = sum(side.double().sum(dim=(1, 2)) for side in (found.source, found.target) if side is not None)
    torch.testing.assert_close(total - change, found.step_scores["deltas"], rtol=0, atol=1e-7)
    is_reached = (total - change).abs() <= 0.02 * change.abs() + 1e-4 * change.abs().max()
    assert is_reached.all() or told


def test_a_tolerance_that_is_not_reached_keeps_the_result_and_warns() -> None:
    """A user needs the number and how far it is off, not nothing."""
    ctx = tiny_context("llama")

    with pytest.warns(ApproximationWarning, match="did not reach tolerance"):
        found = IntegratedGradients(n_steps="auto", tolerance=1e-9, max_steps=16).attribute(ctx)

    assert found.step_scores["deltas"].isfinite().all()
    assert found.step_scores["nodes"].tolist() == [16] * ctx.n_rows


def test_adaptive_nodes_are_spent_where_they_are_needed() -> None:
    """Rows that have converged take no more passes."""
    ctx = tiny_context("gpt2")

    found = IntegratedGradients(n_steps="auto", tolerance=0.05).attribute(ctx)

    assert len(set(found.step_scores["nodes"].tolist())) > 1


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_gradient_shap_is_captums_arithmetic_on_our_draws(name: str) -> None:
    """mean over samples of gradient(baseline + alpha (x - baseline)) (x - baseline), each gradient by
    autograd on the prefix.
    """
    ctx = tiny_context(name)
    found = GradientShap(n_samples=3).attribute(ctx)
    alphas = interpolation_points(ctx, 3)

    for row in range(0, ctx.n_rows, 3):
        ends, starts = prefix_embeddings(ctx, row), baselines(ctx, row)
        expected = [torch.zeros_like(x) for x in ends]
        for alpha in alphas[:, int(ctx.grid.sequence[row])]:
            at = [(s + alpha * (e - s)).requires_grad_() for s, e in zip(starts, ends, strict=True)]
            gradients = torch.autograd.grad(prefix_score(ctx, row)(at), at)
            for total, g, s, e in zip(expected, gradients, starts, ends, strict=True):
                total += g * (e - s) / 3
        for a, e in zip(of_row(ctx, found.source, found.target, row), expected, strict=True):
            np.testing.assert_allclose(a, e[0].numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "method", [GradientShap(n_samples=2, stdevs=0.1), SmoothGrad(n_samples=2), SquareGrad(n_samples=2)]
)
@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_random_methods_give_a_text_the_same_numbers_alone_in_a_batch_and_in_chunks(
    name: str, method: Any
) -> None:
    """A user who changes the batch size must not get another answer."""
    ctx = tiny_context(name)
    whole = method.attribute(ctx)
    alone = method.attribute(context_of(ctx.adapter, ctx.batch.texts[1:], spans=[span_of(ctx, 1)]))
    rows = ctx.grid.rows_of(1)
    chunk = method.attribute(ctx.take(rows[:2]))

    for side in ("source", "target"):
        among = getattr(whole, side)
        if among is None:
            continue
        single, part = getattr(alone, side), getattr(chunk, side)
        torch.testing.assert_close(single, among[rows][:, : single.shape[1]], rtol=0, atol=1e-12)
        torch.testing.assert_close(part, among[rows[:2]][:, : part.shape[1]], rtol=0, atol=1e-12)


def span_of(ctx: TorchContext, sequence: int) -> tuple[int, int]:
    """First attributed position of a text, and the end."""
    positions = ctx.grid.position[ctx.grid.rows_of(sequence)]
    return int(positions.min()), int(positions.max()) + 1


def test_another_seed_gives_other_draws() -> None:
    """A seed that did nothing would be a promise broken."""
    a, b = (GradientShap(n_samples=2).attribute(tiny_context("gpt2", seed=seed)) for seed in (0, 1))

    assert not torch.allclose(a.target, b.target)


def test_smoothgrad_without_noise_is_the_method_inside() -> None:
    """The tunnel itself adds nothing."""
    ctx = tiny_context("gpt2")

    torch.testing.assert_close(
        SmoothGrad(n_samples=2, stdevs=0.0).attribute(ctx).target, Saliency().attribute(ctx).target
    )
    torch.testing.assert_close(
        SquareGrad(n_samples=2, stdevs=0.0).attribute(ctx).target, Saliency().attribute(ctx).target ** 2
    )


@pytest.mark.parametrize("name", ["gpt2", "llama", "marian", "t5"])
def test_layer_integrated_gradients_at_the_embeddings_are_integrated_gradients(name: str) -> None:
    """The peer's are always exactly zero: its baseline never reaches the model."""
    ctx = tiny_context(name, attribute_target=False)
    layer = LayerIntegratedGradients(n_steps=8).attribute(ctx)
    plain = IntegratedGradients(n_steps=8).attribute(ctx)

    a, e = (layer.source, plain.source) if name in ENCODER_DECODER else (layer.target, plain.target)
    torch.testing.assert_close(a, e, rtol=0, atol=1e-12)
    assert a.abs().max() > 1e-4


@pytest.mark.parametrize("name", list(FIRST_LAYER))
def test_layer_integrated_gradients_are_complete(name: str) -> None:
    """What flows through a whole layer's output sums to the change of the score when that output goes to its
    baseline.
    """
    ctx = tiny_context(name, (("The developer argued", " with"),))

    found = LayerIntegratedGradients(
        target_layer=FIRST_LAYER[name], n_steps=96, return_convergence_delta=True
    ).attribute(ctx)

    scores = found.source if found.source is not None else found.target
    assert scores.abs().max() > 1e-5
    assert found.step_scores["deltas"].abs().max() < 1e-2 * scores.abs().sum(dim=(1, 2)).max()


@pytest.mark.parametrize("name", list(FIRST_LAYER))
def test_layer_gradient_x_activation_equals_autograd_at_that_layer(name: str) -> None:
    """By a hook that keeps the layer's output of a plain call of the model on each step's prefix."""
    ctx = tiny_context(name)
    found = LayerGradientXActivation(target_layer=FIRST_LAYER[name]).attribute(ctx)
    module = dict(ctx.adapter.model.named_modules())[FIRST_LAYER[name]]
    kept: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        kept.append(output if isinstance(output, torch.Tensor) else output[0])

    handle = module.register_forward_hook(keep)
    try:
        for row in range(0, ctx.n_rows, 3):
            kept.clear()
            at = [x.requires_grad_() for x in prefix_embeddings(ctx, row)]
            (gradient,) = torch.autograd.grad(prefix_score(ctx, row)(at), kept[-1])
            expected = (gradient * kept[-1])[0].detach().numpy()
            (actual,) = of_row(ctx, found.source, found.target, row)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    finally:
        handle.remove()


def test_several_layers_are_stacked_on_an_axis_of_their_own() -> None:
    """Each as it is alone."""
    ctx = tiny_context("gpt2")
    names = ["transformer.h.0", "transformer.h.1"]

    together = LayerGradientXActivation(target_layer=names).attribute(ctx)

    assert together.axes == ("layer", "hidden")
    for i, name in enumerate(names):
        alone = LayerGradientXActivation(target_layer=name).attribute(ctx)
        torch.testing.assert_close(together.target[:, :, i], alone.target)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("transformer.h.7", "Did you mean 'transformer.h.[01]'"),
        ("", "no module"),
        ([], "at least one"),
        (3, "a module's name"),
        (torch.nn.Linear(2, 2), "not a module of"),
        ("transformer.h", "ran 0 times"),
    ],
)
def test_a_layer_that_is_not_there_or_never_runs_is_named(layer: Any, says: str) -> None:
    """With the closest names, before any gradient is taken."""
    with pytest.raises(InvalidArgumentError, match=says):
        LayerIntegratedGradients(target_layer=layer).attribute(tiny_context("gpt2"))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"n_steps": 0}, "n_steps = 0"),
        ({"n_steps": -3}, "n_steps = -3"),
        ({"n_steps": 2.5}, "n_steps = 2.5"),
        ({"n_steps": "many"}, "n_steps = 'many'"),
        ({"method": "simpson"}, "gausslegendre"),
        ({"tolerance": 0.0}, "tolerance = 0.0: expected a number > 0"),
        ({"tolerance": "1%"}, "tolerance = '1%': expected a number > 0"),
        ({"internal_batch_size": 0}, "internal_batch_size = 0"),
    ],
)
def test_parameters_are_checked_when_the_method_is_made(parameters: dict, says: str) -> None:
    """Before any model work."""
    with pytest.raises(ValueError, match=says):
        IntegratedGradients(**parameters)


@pytest.mark.parametrize("baseline", ["unk", "pad", "zero", "mean", "a token"])
def test_baselines_move_every_position_but_the_kept_ones(baseline: str) -> None:
    """Start tokens are no content; everything else must go to the baseline, or its score would be stuck at
    zero.
    """
    ctx = tiny_context("llama", (("A dog and a cat", " were sleeping"),))

    if baseline == "a token":
        baseline = ctx.adapter.token_texts(ctx.batch.target_ids[0][-1:]).tokens[0]

    shift = (ctx.inputs - ctx.baseline(baseline)).target[0].abs().sum(-1)

    kept = ctx.adapter.kept_in_baseline(ctx.batch.target_ids[0], "target", False)
    assert not shift[torch.as_tensor(kept)].any()
    assert (shift[torch.as_tensor(~kept)] > 0).sum() >= (
        ~kept
    ).sum() - 1  # the token that is the baseline stays


def test_a_text_baseline_of_another_length_is_refused() -> None:
    """One token for each of the input's, or the two could not be interpolated."""
    ctx = tiny_context("gpt2")

    with pytest.raises(InvalidArgumentError, match="one token"):
        IntegratedGradients(
            baseline="a much longer text than the others were in this batch of ours"
        ).attribute(ctx)


@pytest.mark.parametrize(
    "algorithm", ["Saliency", "InputXGradient", "IntegratedGradients", "FeatureAblation", "KernelShap"]
)
@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_captum_classes_run_by_name(name: str, algorithm: str) -> None:
    """The passthrough is the slow way: where there is a fast one they agree."""
    ctx = tiny_context(name, (("The developer argued", " with"), ("A dog", " and")))
    arguments = {"n_steps": 5} if algorithm == "IntegratedGradients" else {}

    found = CaptumAlgorithm(algorithm=algorithm, attribute_args=arguments).attribute(ctx)

    fast = {
        "Saliency": Saliency(),
        "InputXGradient": InputXGradient(),
        "IntegratedGradients": IntegratedGradients(n_steps=5),
    }
    if algorithm in fast:
        torch.testing.assert_close(found.target, fast[algorithm].attribute(ctx).target, rtol=0, atol=1e-9)
    else:
        assert found.target.abs().max() > 0


def test_an_unknown_captum_class_is_named_with_what_there_is() -> None:
    """A typo after the colon is a typo."""
    with pytest.raises(InvalidArgumentError, match="Did you mean 'DeepLift'"):
        CaptumAlgorithm(algorithm="DeepLit")


def test_a_noise_tunnel_around_a_method_without_hidden_axis_is_refused() -> None:
    """Squares of sums would not be what was asked for."""
    with pytest.raises((CapabilityError, InvalidArgumentError)):
        SmoothGrad(base="attention", n_samples=1).attribute(tiny_context("gpt2"))


def test_saliency_equals_autograd() -> None:
    """Without Captum in between: |gradient|."""
    ctx = tiny_context("qwen2")
    found = Saliency().attribute(ctx)

    for row in (0, ctx.n_rows - 1):
        (actual,) = of_row(ctx, None, found.target, row)
        np.testing.assert_allclose(actual, prefix_gradients(ctx, row)[0][0].abs().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"base": "salience"}, "Did you mean 'saliency'"),
        ({"base": "occlusion"}, "base = 'occlusion': expected a gradient method"),
        ({"base": "dummy"}, "base = 'dummy': expected a gradient method"),
        ({"base": "integrated_gradients", "base_args": {"n_step": 3}}, "'n_step'.*Did you mean 'n_steps'"),
        ({"base": "integrated_gradients", "base_args": {"n_steps": 0}}, "base_args of .*n_steps = 0"),
        ({"base": "captum:Salience"}, "no attribution class 'Salience'"),
        ({"stdevs": float("inf")}, "stdevs = inf"),
    ],
)
def test_what_is_inside_a_noise_tunnel_is_checked_when_it_is_made(parameters: dict, says: str) -> None:
    """Before any work on the model, and in the words of the method inside."""
    with pytest.raises((InseqError, ValueError), match=says):
        SmoothGrad(**parameters)


def test_a_noise_tunnel_runs_the_class_of_captum_that_it_was_told() -> None:
    """Input × gradient is saliency times the input; with the name's ending lost, it was saliency."""
    ctx = tiny_context("gpt2", (("A dog", " and"),))
    options = {"n_samples": 2, "stdevs": 0.1}

    a = SmoothGrad(base="captum:InputXGradient", **options).attribute(ctx)
    e = SmoothGrad(base="input_x_gradient", **options).attribute(ctx)

    torch.testing.assert_close(a.target, e.target, rtol=0, atol=1e-12)


def test_a_noise_tunnel_passes_on_layers_and_deltas() -> None:
    """A list of layers has its axis, the side of a decoder's layer is kept, deltas are means over the copies."""
    ctx = tiny_context("bart", (("A dog", " and"),))
    layers = ["model.decoder.layers.0", "model.decoder.layers.1"]
    arguments = {"target_layer": layers, "n_steps": 3, "return_convergence_delta": True}

    found = SmoothGrad(base="layer_integrated_gradients", base_args=arguments, n_samples=2, stdevs=0.0)
    averaged = found.attribute(ctx)
    plain = LayerIntegratedGradients(**arguments).attribute(ctx)

    assert averaged.source is None
    assert averaged.axes == ("layer", "hidden")
    torch.testing.assert_close(averaged.target, plain.target)
    assert set(averaged.step_scores) == {f"deltas_{name}" for name in layers}
    torch.testing.assert_close(averaged.step_scores, dict(plain.step_scores))


def test_what_is_drawn_on_one_noisy_copy_is_not_what_is_drawn_on_another() -> None:
    """Noise within noise would otherwise be the same noise twice, and random points the same points for every
    copy.
    """
    ctx = tiny_context("gpt2", (("A dog", " and"),))
    (outer,) = ctx.draw(1)
    copies = [next(ctx.at(ctx.inputs, copy=i).draw(1)) for i in range(2)]

    for a, b in ((outer, copies[0]), (outer, copies[1]), (copies[0], copies[1])):
        correlation = torch.corrcoef(torch.stack([a.target.flatten(), b.target.flatten()]))[0, 1]
        assert correlation.abs() < 0.3
    alphas = [interpolation_points(ctx.at(ctx.inputs, copy=i), 5) for i in range(2)]
    assert not np.allclose(*alphas)


def test_nodes_and_deltas_of_adaptive_nodes_are_those_of_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step has the number that it took, and the passes of all chunks are added up; notes of the last chunk used
    to stand for all.
    """
    network, tokenizer = tiny_model("gpt2")
    model = inseq.load_model(network, "integrated_gradients", tokenizer=tokenizer)
    texts, outputs = (
        ["A dog and a cat", "The developer"],
        ["A dog and a cat were", "The developer argued with"],
    )
    options = {"n_steps": "auto", "tolerance": 0.05, "max_steps": 64}

    whole = model.attribute(texts, outputs, **options)
    monkeypatch.setattr(model.adapter, "memory_budget", 20_000)
    chunks = model.attribute(texts, outputs, **options)

    for a, e in zip(chunks.sequence_attributions, whole.sequence_attributions, strict=True):
        np.testing.assert_array_equal(a.step_scores["nodes"], e.step_scores["nodes"])
        np.testing.assert_allclose(a.step_scores["deltas"], e.step_scores["deltas"], atol=1e-5)
    assert chunks.info.notes["counts"]["forward"] > whole.info.notes["counts"]["forward"]
    assert chunks.info.notes["passes"] > whole.info.notes["passes"]
