"""How likely the target was.

p is the softmax of a row's logits and y its target. Every function is differentiable where its framework is.
Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.step_functions.arrays import at_least_float32, log_softmax, pick


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
