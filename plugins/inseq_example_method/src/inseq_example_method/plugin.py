"""What inseq-example-method registers: one attribution method.

The host finds this module by the entry point in pyproject.toml, and imports nothing else before the method is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic


@ic.hookimpl
def inseq_attribution_methods() -> Iterator[ic.MethodSpec]:
    """Expected gradients."""
    yield ic.MethodSpec(
        name="expected_gradients",
        factory="inseq_example_method.expected_gradients:ExpectedGradients",
        summary="Gradients averaged between the input and random references.",
        paper="https://arxiv.org/abs/1906.10670",
        formula="E[(x_i - x'_i) · ∂f_t(x' + α (x - x')) / ∂x_i] over references x' and α in [0, 1)",
        needs={ic.Need.GRADIENTS},
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
        additive=True,
        deterministic=False,
        passes="n_samples forward and backward for each chunk of steps",
        when="When one baseline seems arbitrary: references are drawn around it. Scores add up to the change of the "
        "score from the references on average, not in every call.",
    )
