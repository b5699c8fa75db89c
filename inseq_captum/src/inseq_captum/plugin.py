"""What inseq-captum provides."""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic

GRADIENTS = frozenset({ic.Need.GRADIENTS})


@ic.hookimpl
def inseq_attribution_methods() -> Iterator[ic.MethodSpec]:
    """Captum's gradient methods, on every step at once."""
    yield ic.MethodSpec(
        name="saliency",
        factory="inseq_captum.gradients:Saliency",
        summary="Gradient of the attributed function with respect to each token's embedding.",
        paper="https://arxiv.org/abs/1312.6034",
        formula="|∂f_t / ∂x_i|",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        signed=False,
        passes="1 forward and 1 batched backward for each chunk of steps",
        when="A first look: the cheapest method. It says how sensitive a step is to a token, not whether the "
        "token "
        "speaks for or against it.",
    )
    yield ic.MethodSpec(
        name="input_x_gradient",
        factory="inseq_captum.gradients:InputXGradient",
        summary="Embedding times gradient: the first-order effect of taking the token's embedding to zero.",
        paper="https://arxiv.org/abs/1605.01713",
        formula="x_i · ∂f_t / ∂x_i",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        signed=True,
        additive=True,
        passes="1 forward and 1 batched backward for each chunk of steps",
        when="As cheap as saliency, and signed when summed over the hidden axis.",
    )
    yield ic.MethodSpec(
        name="integrated_gradients",
        factory="inseq_captum.integrated:IntegratedGradients",
        summary="Gradients averaged on the straight path from a baseline to the input, times the change of "
        "the input.",
        paper="https://arxiv.org/abs/1703.01365",
        formula="(x_i - x'_i) · ∫₀¹ ∂f_t(x' + α (x - x')) / ∂x_i dα",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        complete=True,
        additive=True,
        passes="n_steps forward and backward for each chunk of steps",
        when="When scores have to add up: they sum to the change of the score from the baseline to the "
        "input. n_steps='auto' "
        "spends only as many nodes as each step needs.",
    )
    yield ic.MethodSpec(
        name="gradient_shap",
        factory="inseq_captum.shap:GradientShap",
        summary="Gradients at random points between the baseline and the (noisy) input, times their "
        "distance.",
        paper="https://arxiv.org/abs/1705.07874",
        formula="mean over k of (x_i + ε_k - x'_i) · ∂f_t(x' + α_k (x + ε_k - x')) / ∂x_i",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        additive=True,
        deterministic=False,
        passes="n_samples forward and backward for each chunk of steps",
        when="A cheap, noisy estimate of integrated gradients.",
    )
    yield ic.MethodSpec(
        name="smoothgrad",
        factory="inseq_captum.noise:SmoothGrad",
        summary="A gradient method averaged over noisy copies of the input.",
        paper="https://arxiv.org/abs/1706.03825",
        formula="mean over k of A(x + ε_k)",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        one_sided=True,
        deterministic=False,
        passes="n_samples times those of the method inside",
        when="When single gradients look like noise.",
    )
    yield ic.MethodSpec(
        name="squaregrad",
        factory="inseq_captum.noise:SquareGrad",
        summary="A gradient method's squared scores averaged over noisy copies of the input.",
        paper="https://arxiv.org/abs/1806.10758",
        formula="mean over k of A(x + ε_k)²",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        one_sided=True,
        signed=False,
        deterministic=False,
        passes="n_samples times those of the method inside",
        when="As smoothgrad, where only the size of a score matters.",
    )
    yield ic.MethodSpec(
        name="layer_gradient_x_activation",
        factory="inseq_captum.layers:LayerGradientXActivation",
        summary="A module's output times the gradient there.",
        paper="https://arxiv.org/abs/1605.01713",
        formula="h_i · ∂f_t / ∂h_i",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        one_sided=True,
        additive=True,
        passes="1 forward and 1 batched backward for each layer and chunk of steps",
        when="Where in the model a token matters: cheap, at any module.",
    )
    yield ic.MethodSpec(
        name="layer_integrated_gradients",
        factory="inseq_captum.layers:LayerIntegratedGradients",
        summary="Integrated gradients along the straight path between a module's outputs on baseline and "
        "input.",
        paper="https://arxiv.org/abs/1703.01365",
        formula="(h_i - h'_i) · ∫₀¹ ∂f_t(h' + α (h - h')) / ∂h_i dα",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        complete=True,
        one_sided=True,
        additive=True,
        passes="n_steps forward and backward for each layer and chunk of steps",
        when="Where in the model a token matters, with scores that add up.",
    )
    yield ic.MethodSpec(
        name="captum",
        factory="inseq_captum.passthrough:CaptumAlgorithm",
        variants="algorithm",
        summary="Any attribution class of captum.attr by its name ('captum:DeepLift'), one step after the "
        "other.",
        paper="https://captum.ai",
        needs=GRADIENTS,
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        one_sided=True,
        deterministic=False,
        passes="those of the class, for each step",
        when="To run a class that has no method of its own here, or to compare: it is the slow, literal way.",
    )
