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


def nucleus_sizes(probabilities: Any, top_p: float) -> Any:
    """(R, V) probabilities -> (R,) size of each row's smallest set of tokens with mass >= ``top_p``, as
    floats.

    A nucleus that misses the mass by rounding alone (1e-6) counts as reaching it.
    """
    xp = array_namespace(probabilities)
    ordered = xp.sort(as_float64(probabilities), axis=-1, descending=True)
    before = xp.cumulative_sum(ordered, axis=-1) - ordered
    is_needed = before < top_p - 1e-6
    return xp.sum(xp.astype(is_needed, at_least_float32(probabilities).dtype), axis=-1)


def ranks(values: Any) -> Any:
    """(R, V) values -> (R, V) place of each in its row's descending order, from 0; equal ones in order of
    their ids.
    """
    xp = array_namespace(values)
    order = xp.argsort(values, axis=-1, descending=True, stable=True)
    return xp.argsort(order, axis=-1, stable=True)


def as_float64(values: Any) -> Any:
    """float64, or what there is where a device has none."""
    xp = array_namespace(values)
    try:
        return xp.astype(values, xp.float64)
    except TypeError:  # torch on mps
        return values
