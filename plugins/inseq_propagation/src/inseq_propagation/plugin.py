"""What inseq-propagation provides."""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic


@ic.hookimpl
def inseq_attribution_methods() -> Iterator[ic.MethodSpec]:
    """Methods that replace the backward rules of a model's functions."""
    yield ic.MethodSpec(
        name="deeplift",
        factory="inseq_propagation.deeplift:DeepLift",
        summary="Differences from a baseline sent back through every non-linearity by the rescale rule.",
        paper="https://arxiv.org/abs/1704.02685",
        formula="m_i · (x_i - x'_i), with m the product of Δout / Δin along every path",
        needs={ic.Need.GRADIENTS},
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        complete=True,
        additive=True,
        passes="1 forward and 1 batched backward of twice the batch for each chunk of steps",
        when="Scores that add up at the cost of two gradients. Rules: activations by Δout/Δin; products of "
        "two varying factors "
        "(gates, attention) by the mean of the other factor; softmax and normalisations by both; linear "
        "layers by their "
        "weights. Not complete on mixtures of experts, whose routing jumps: look at the deltas.",
    )
    yield ic.MethodSpec(
        name="layer_deeplift",
        factory="inseq_propagation.deeplift:LayerDeepLift",
        summary="DeepLIFT from the output of a module on.",
        paper="https://arxiv.org/abs/1704.02685",
        formula="m_i · (h_i - h'_i) at a module's output h",
        needs={ic.Need.GRADIENTS},
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        complete=True,
        one_sided=True,
        additive=True,
        passes="1 forward and 1 batched backward of twice the batch for each layer and chunk of steps",
        when="Where in the model a token matters, with scores that add up, at the cost of two gradients.",
    )
