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
        when="A first look: the cheapest method. It says how sensitive a step is to a token, not whether the token "
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
