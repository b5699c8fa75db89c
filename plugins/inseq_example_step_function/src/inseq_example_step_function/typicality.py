"""Typicality: whether a token carried about as much information as the model expected.

Written against the array API, so that one function serves models of every framework.
Axes: R rows (one a step), V vocabulary.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.step_functions.arrays import log_softmax, pick


def typicality(args: StepFunctionArgs, signed: bool = False) -> Any:
    """Distance of the target's surprisal from the entropy of its distribution (Meister et al. 2023, equation 5).

    Args:
        args: one row a step; uses ``logits`` (R, V) and ``target_ids`` (R,).
        signed: surprisal minus entropy, below zero for tokens that were likelier than most.

    Returns:
        (R,) in nats, >= 0 unless ``signed``; 0 for a token as informative as expected.
    """
    log_p = log_softmax(args.logits)
    xp = array_namespace(log_p)
    p = xp.exp(log_p)
    # A forbidden token has ln p = -inf and adds nothing; 0 · -inf would be NaN.
    entropy = -xp.sum(p * xp.where(p > 0, log_p, xp.zeros_like(log_p)), axis=-1)
    gap = -pick(log_p, args.target_ids) - entropy
    return gap if signed else xp.abs(gap)
