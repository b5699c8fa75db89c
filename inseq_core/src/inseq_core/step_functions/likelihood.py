"""How likely the target was.

p is the softmax of a row's logits and y its target. Every function but ``rank`` is differentiable where its
framework is.
Axes: R rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from array_api_compat import array_namespace

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.errors import invalid
from inseq_core.step_functions.arrays import at_least_float32, log_softmax, pick, softmax


def check_logprob(arguments: Mapping[str, Any], request: Any, is_attributed_fn: bool) -> None:
    """``logprob`` is a flag: a word would be taken for True.

    Raises:
        InvalidArgumentError: it is something else.
    """
    logprob = arguments.get("logprob", False)
    if not isinstance(logprob, bool):
        raise invalid("logprob", logprob, "True or False")


def logit(args: StepFunctionArgs) -> Any:
    """Logit z_y of each target token, before the softmax.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).

    Returns:
        (R,) any real number; comparable within a row only.
    """
    return at_least_float32(pick(args.logits, args.target_ids))


def probability(args: StepFunctionArgs, logprob: bool = False) -> Any:
    """Probability p_y of each target token.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).
        logprob: give ln p_y instead, in nats.

    Returns:
        (R,) in [0, 1], or <= 0 for ``logprob``.
    """
    log_probability = pick(log_softmax(args.logits), args.target_ids)
    return log_probability if logprob else array_namespace(log_probability).exp(log_probability)


def crossentropy(args: StepFunctionArgs) -> Any:
    """Negative log-likelihood −ln p_y of each target token, in nats.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).

    Returns:
        (R,) float >= 0; 0 where the model was certain.
    """
    return -pick(log_softmax(args.logits), args.target_ids)


def perplexity(args: StepFunctionArgs) -> Any:
    """Perplexity exp(−ln p_y) of each target token: 1 / p_y.

    The peer raises 2 to the cross-entropy in nats; base and unit belong together, so it is e here.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).

    Returns:
        (R,) float >= 1; V for a uniform distribution.
    """
    nats = crossentropy(args)
    return array_namespace(nats).exp(nats)


def surprisal(args: StepFunctionArgs) -> Any:
    """Surprisal −log2 p_y of each target token, in bits: cross-entropy in the unit of psycholinguistics.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).

    Returns:
        (R,) float >= 0; 1 for a token that was as likely as not.
    """
    return crossentropy(args) / math.log(2)


def rank(args: StepFunctionArgs) -> Any:
    """Rank of each target token among the vocabulary: 1 + the number of tokens that are more likely.

    Tokens as likely as the target do not count, so that ties share their best rank. A count has no
    derivative.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).

    Returns:
        (R,) whole numbers from 1 to V; 1 where greedy decoding would have chosen the target.
    """
    logits = args.logits
    xp = array_namespace(logits)
    is_above = logits > pick(logits, args.target_ids)[:, None]
    return 1.0 + xp.sum(xp.astype(is_above, xp.float32), axis=-1)


def margin(args: StepFunctionArgs, logprob: bool = False) -> Any:
    """Margin p_y − max p_v over v ≠ y: how far the target is ahead of the runner-up.

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).
        logprob: the difference of ln p instead, in nats: the margin of the logits.

    Returns:
        (R,) in [-1, 1]; negative where another token was more likely.
    """
    values = log_softmax(args.logits) if logprob else softmax(args.logits)
    xp = array_namespace(values)
    target_ids = args.target_ids
    others = xp.arange(values.shape[-1], dtype=target_ids.dtype, device=values.device)[None, :]
    lowest = xp.full_like(values, -math.inf)
    runner_up = xp.max(xp.where(others == target_ids[:, None], lowest, values), axis=-1)
    return pick(values, target_ids) - runner_up
