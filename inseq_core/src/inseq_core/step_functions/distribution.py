"""How the model's distribution at a step looks, whatever the target was.

Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from array_api_compat import array_namespace

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.errors import invalid
from inseq_core.step_functions.arrays import log_softmax, nucleus_sizes, softmax


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


def top_p_size(args: StepFunctionArgs, top_p: float = 0.9) -> Any:
    """Size of each step's nucleus: the fewest tokens whose probabilities sum to at least ``top_p``.

    One number a row (the peer gives one for all rows together). A count has no derivative.

    Args:
        args: one row a step; uses ``logits`` (R, V).
        top_p: mass of the nucleus, in (0, 1].

    Returns:
        (R,) whole numbers from 1 to V; 1 where one token had all the mass asked for.
    """
    return nucleus_sizes(softmax(args.logits), top_p)


def check_top_p(arguments: Mapping[str, Any], request: Any, is_attributed_fn: bool) -> None:
    """``top_p`` is a mass.

    Raises:
        InvalidArgumentError: it is not in (0, 1].
    """
    refuse_top_p(arguments.get("top_p", 0.9))


def refuse_top_p(top_p: Any) -> None:
    """Raises InvalidArgumentError for anything but a number in (0, 1]."""
    if isinstance(top_p, bool) or not isinstance(top_p, (int, float)) or not 0 < top_p <= 1:
        raise invalid("top_p", top_p, "a probability mass, greater than 0 and at most 1")
