"""What inseq-example-step-function registers: one step function.

The host finds this module by the entry point in pyproject.toml, and imports nothing else before the function is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic


@ic.hookimpl
def inseq_step_functions() -> Iterator[ic.StepFunctionSpec]:
    """Typicality."""
    yield ic.StepFunctionSpec(
        name="typicality",
        function="inseq_example_step_function.typicality:typicality",
        summary="How far the target's surprisal is from what the model expected of this step.",
        paper="https://arxiv.org/abs/2202.00666",
        formula="|-ln p_y - H(p)|",
        unit="nats",
        range="[0, inf)",
        aggregate_map={"spans": "mean"},
        rowwise=True,
    )
