"""Arithmetic on logits that works on the arrays of every framework.

Written against the array API (numpy, torch and others through array-api-compat), so that one step function
serves every adapter. Never less precise than float32.
Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace


def at_least_float32(values: Any) -> Any:
    """float16 and bfloat16 as float32; float32 and float64 as they are."""
    xp = array_namespace(values)
    return values if values.dtype in (xp.float32, xp.float64) else xp.astype(values, xp.float32)


def log_softmax(logits: Any) -> Any:
    """(R, V) natural logarithms of the probabilities, also where a probability underflows."""
    logits = at_least_float32(logits)
    if hasattr(logits, "log_softmax"):  # the framework's own is one fused operation with an exact derivative
        return logits.log_softmax(-1)
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def softmax(logits: Any) -> Any:
    """(R, V) probabilities."""
    logits = at_least_float32(logits)
    if hasattr(logits, "softmax"):
        return logits.softmax(-1)
    return array_namespace(logits).exp(log_softmax(logits))


def pick(values: Any, ids: Any) -> Any:
    """(R, V) values and (R,) ids -> (R,) the value of each row's id."""
    return array_namespace(values).take_along_axis(values, ids[:, None], axis=-1)[:, 0]
