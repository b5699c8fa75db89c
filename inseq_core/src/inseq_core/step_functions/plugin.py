"""Registers the built-in step functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inseq_core.hooks.hookspecs import hookimpl
from inseq_core.hooks.specs import StepFunctionSpec

_ROOM = "inseq_core.step_functions"


@hookimpl
def inseq_step_functions() -> Iterator[StepFunctionSpec]:
    """The built-in step functions."""
    yield from _likelihoods()
    yield from _distributions()
    yield from _contrasts()


def _likelihoods() -> Iterator[StepFunctionSpec]:
    yield StepFunctionSpec(
        name="logit",
        function=f"{_ROOM}.likelihood:logit",
        summary="Logit of the target token.",
        formula="z_y",
        unit="logits",
        range="(-inf, inf)",
        aggregate_map={"spans": "absmax"},
        rowwise=True,
    )
    yield StepFunctionSpec(
        name="probability",
        function=f"{_ROOM}.likelihood:probability",
        summary="Probability of the target token, or its logarithm with logprob=True.",
        formula="p_y = softmax(z)_y, or ln p_y",
        unit="probability (nats with logprob=True)",
        range="[0, 1], or (-inf, 0]",
        aggregate_map={"spans": "prod"},
        rowwise=True,
        check=f"{_ROOM}.likelihood:check_logprob",
    )
    yield StepFunctionSpec(
        name="crossentropy",
        function=f"{_ROOM}.likelihood:crossentropy",
        summary="Negative log-likelihood of the target token.",
        formula="-ln p_y",
        unit="nats",
        range="[0, inf)",
        aggregate_map={"spans": "sum"},
        rowwise=True,
    )
    yield StepFunctionSpec(
        name="perplexity",
        function=f"{_ROOM}.likelihood:perplexity",
        summary="Perplexity of the target token: one over its probability.",
        formula="exp(-ln p_y)",
        unit="tokens equally likely",
        range="[1, inf)",
        aggregate_map={"spans": "prod"},
        rowwise=True,
    )
    yield StepFunctionSpec(
        name="surprisal",
        function=f"{_ROOM}.likelihood:surprisal",
        summary="Surprisal of the target token: cross-entropy in bits.",
        paper="https://doi.org/10.3115/1073336.1073357",
        formula="-log2 p_y",
        unit="bits",
        range="[0, inf)",
        aggregate_map={"spans": "sum"},
        rowwise=True,
    )
    yield StepFunctionSpec(
        name="rank",
        function=f"{_ROOM}.likelihood:rank",
        summary="Rank of the target token among the vocabulary, 1 for the likeliest.",
        formula="1 + #{v: z_v > z_y}",
        unit="tokens",
        range="{1, …, V}",
        aggregate_map={"spans": "max"},
        rowwise=True,
        differentiable=False,
    )
    yield StepFunctionSpec(
        name="margin",
        function=f"{_ROOM}.likelihood:margin",
        summary="How far the target token is ahead of the likeliest other one.",
        formula="p_y - max_{v≠y} p_v, or the same of ln p",
        unit="probability (nats with logprob=True)",
        range="[-1, 1], or (-inf, inf)",
        aggregate_map={"spans": "min"},
        rowwise=True,
        check=f"{_ROOM}.likelihood:check_logprob",
    )
    yield StepFunctionSpec(
        name="mc_dropout_prob_avg",
        function=f"{_ROOM}.dropout:mc_dropout_prob_avg",
        check=f"{_ROOM}.dropout:check",
        summary="Mean probability of the target token over samples of the model with dropout.",
        paper="https://arxiv.org/abs/1506.02142",
        formula="1/M sum_m p_y(dropout mask m)",
        unit="probability (nats with logprob=True)",
        range="[0, 1], or (-inf, 0]",
        aggregate_map={"spans": "prod"},
        rowwise=True,
        differentiable=False,
    )


def _distributions() -> Iterator[StepFunctionSpec]:
    yield StepFunctionSpec(
        name="entropy",
        function=f"{_ROOM}.distribution:entropy",
        summary="Entropy of the model's distribution over the vocabulary.",
        formula="-sum_v p_v ln p_v",
        unit="nats",
        range="[0, ln V]",
        aggregate_map={"spans": "sum"},
        rowwise=True,
    )
    yield StepFunctionSpec(
        name="top_p_size",
        function=f"{_ROOM}.distribution:top_p_size",
        check=f"{_ROOM}.distribution:check_top_p",
        summary="Number of tokens in the smallest nucleus with the given mass.",
        paper="https://arxiv.org/abs/1904.09751",
        formula="min #N: sum_{v in N} p_v >= top_p",
        unit="tokens",
        range="{1, …, V}",
        aggregate_map={"spans": "absmax"},
        rowwise=True,
        differentiable=False,
    )


def _contrasts() -> Iterator[StepFunctionSpec]:
    yield _contrastive(
        "contrast_logits",
        summary="Logit of the token that a step is compared with.",
        paper="https://arxiv.org/abs/2202.10419",
        formula="z'_y'",
        unit="logits",
        range="(-inf, inf)",
        aggregate_map={"spans": "absmax"},
    )
    yield _contrastive(
        "contrast_prob",
        summary="Probability of the token that a step is compared with.",
        paper="https://arxiv.org/abs/2202.10419",
        formula="p'_y', or ln p'_y'",
        unit="probability (nats with logprob=True)",
        range="[0, 1], or (-inf, 0]",
        aggregate_map={"spans": "prod"},
    )
    yield _contrastive(
        "contrast_logits_diff",
        summary="Logit of the target token minus the logit of the token it is compared with.",
        paper="https://arxiv.org/abs/2202.10419",
        formula="z_y - z'_y'",
        unit="logits",
        range="(-inf, inf)",
        aggregate_map={"spans": "absmax"},
    )
    yield _contrastive(
        "contrast_prob_diff",
        summary="Probability of the target token minus the probability of the token it is compared with.",
        paper="https://arxiv.org/abs/2310.01188",
        formula="p_y - p'_y', or the same of ln p",
        unit="probability (nats with logprob=True)",
        range="[-1, 1], or (-inf, inf)",
        aggregate_map={"spans": "prod"},
    )
    yield _contrastive(
        "pcxmi",
        summary="Pointwise conditional cross-mutual information of the target and the contrast's input.",
        paper="https://arxiv.org/abs/2109.07446",
        formula="-log2(p_y / p'_y')",
        unit="bits",
        range="(-inf, inf)",
        aggregate_map={"spans": "sum"},
    )
    yield _contrastive(
        "in_context_pvi",
        summary="Pointwise information that the input has for the model, against the contrast's.",
        paper="https://arxiv.org/abs/2310.12300",
        formula="-ln p_y + ln p'_y'",
        unit="nats",
        range="(-inf, inf)",
        aggregate_map={"spans": "absmax"},
    )
    yield _contrastive(
        "kl_divergence",
        check=f"{_ROOM}.contrast:check_kl_divergence",
        compares_distributions=True,
        trial={"contrast_sources": ["she likes a dog", "he"], "contrast_force_inputs": True},
        summary="Divergence of the model's distribution from its distribution given the contrast.",
        paper="https://arxiv.org/abs/2310.01188",
        formula="sum_v p_v (ln p_v - ln p'_v)",
        unit="nats",
        range="[0, inf)",
        aggregate_map={"spans": "sum"},
    )


def _contrastive(name: str, *, check: str = f"{_ROOM}.contrast:check", **fields: Any) -> StepFunctionSpec:
    """A function of the contrast room."""
    fields.setdefault("trial", {"contrast_targets": ["the dog sees a small blue man", "she likes the cat ."]})
    return StepFunctionSpec(
        name=name,
        function=f"{_ROOM}.contrast:{name}",
        check=check,
        prepare=f"{_ROOM}.contrast:prepare",
        rowwise=True,
        **fields,
    )
