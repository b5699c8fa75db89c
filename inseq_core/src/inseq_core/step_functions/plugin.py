"""Registers the built-in step functions."""

from __future__ import annotations

from collections.abc import Iterator

from inseq_core.hooks.hookspecs import hookimpl
from inseq_core.hooks.specs import StepFunctionSpec


@hookimpl
def inseq_step_functions() -> Iterator[StepFunctionSpec]:
    """The built-in step functions."""
    yield StepFunctionSpec(
        name="logit",
        function="inseq_core.step_functions.likelihood:logit",
        summary="Logit of the target token.",
        formula="z_y",
        unit="logits",
        range="(-inf, inf)",
        aggregate_map={"spans": "absmax"},
    )
    yield StepFunctionSpec(
        name="probability",
        function="inseq_core.step_functions.likelihood:probability",
        summary="Probability of the target token, or its logarithm with logprob=True.",
        formula="p_y = softmax(z)_y, or ln p_y",
        unit="probability (nats with logprob=True)",
        range="[0, 1], or (-inf, 0]",
        aggregate_map={"spans": "prod"},
    )
    yield StepFunctionSpec(
        name="crossentropy",
        function="inseq_core.step_functions.likelihood:crossentropy",
        summary="Negative log-likelihood of the target token.",
        formula="-ln p_y",
        unit="nats",
        range="[0, inf)",
        aggregate_map={"spans": "sum"},
    )
    yield StepFunctionSpec(
        name="perplexity",
        function="inseq_core.step_functions.likelihood:perplexity",
        summary="Perplexity of the target token: one over its probability.",
        formula="exp(-ln p_y)",
        unit="tokens equally likely",
        range="[1, inf)",
        aggregate_map={"spans": "prod"},
    )
    yield StepFunctionSpec(
        name="entropy",
        function="inseq_core.step_functions.distribution:entropy",
        summary="Entropy of the model's distribution over the vocabulary.",
        formula="-sum_v p_v ln p_v",
        unit="nats",
        range="[0, ln V]",
        aggregate_map={"spans": "sum"},
    )
