"""What inseq-path-gradients provides."""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic


@ic.hookimpl
def inseq_attribution_methods() -> Iterator[ic.MethodSpec]:
    """Path methods whose path is not one straight line."""
    yield ic.MethodSpec(
        name="sequential_integrated_gradients",
        factory="inseq_path_gradients.sequential:SequentialIntegratedGradients",
        summary="Integrated gradients along one path a token, all other tokens in place.",
        paper="https://arxiv.org/abs/2305.15853",
        formula="(x_i - x'_i) · ∫₀¹ ∂f_t(x with x'_i + α (x_i - x'_i) at i) / ∂x_i dα",
        needs={ic.Need.GRADIENTS},
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        passes="n_steps · (number of tokens) forward and backward for each chunk of steps",
        when="When a baseline sentence of absent words is too far from language. Many times the cost of "
        "integrated gradients; "
        "summed over hidden dimensions it is leave-one-out, which costs a fraction.",
    )
    yield ic.MethodSpec(
        name="discretized_integrated_gradients",
        factory="inseq_path_gradients.discretized:DiscretizedIntegratedGradients",
        summary="Integrated gradients along a path of real words' embeddings.",
        paper="https://arxiv.org/abs/2108.13654",
        formula="Σ_k ∂f_t(w^k) / ∂x_i · (w_i^k - w_i^(k-1)), w^k monotonic between neighbouring words",
        needs={ic.Need.GRADIENTS},
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        additive=True,
        passes="n_steps - 1 forward and backward for each chunk of steps",
        when="When gradients at points between words are suspected to mean nothing.",
    )
