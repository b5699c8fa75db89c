"""How the model's distribution at a step looks, whatever the target was.

Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.step_functions.arrays import log_softmax


def entropy(args: StepFunctionArgs) -> Any:
    """Entropy −Σ p ln p of each step's distribution, in nats.

    Args:
        args: one row a step; uses ``logits`` (R, V).

    Returns:
        (R,) in [0, ln V]; 0 where the model was certain.
    """
    log_p = log_softmax(args.logits)
    xp = array_namespace(log_p)
    p = xp.exp(log_p)
    # A forbidden token has ln p = -inf and adds nothing; 0 · -inf would be NaN, and so would its derivative.
    return -xp.sum(p * xp.where(p > 0, log_p, xp.zeros_like(log_p)), axis=-1)
