"""Eight-bit floats (E4M3FN: one sign bit, four exponent bits with bias 7, three mantissa bits, no infinity).

Source: Micikevicius et al. 2022, "FP8 formats for deep learning", table 1. numpy has no such type, so codes
    are bytes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 448.0
NAN_CODE = 0x7F


@functools.cache
def _magnitudes() -> NDArray[np.float64]:
    """(127,) the value of each code without its sign, ascending; the 128th code is NaN."""
    codes = np.arange(NAN_CODE)
    exponents, mantissas = codes >> 3, codes & 7
    normal = np.ldexp(1 + mantissas / 8, exponents - 7)
    return np.where(exponents == 0, np.ldexp(mantissas / 8, -6), normal)


def encode(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest code of each value; ties go to the even code, what is beyond 448 becomes 448."""
    magnitudes = _magnitudes()
    wide = np.abs(values.astype(np.float64))
    known = np.minimum(np.where(np.isnan(wide), 0.0, wide), LARGEST)
    upper = np.minimum(np.searchsorted(magnitudes, known), NAN_CODE - 1)
    lower = np.maximum(upper - 1, 0)
    to_upper, to_lower = magnitudes[upper] - known, known - magnitudes[lower]
    is_lower = (to_lower < to_upper) | ((to_lower == to_upper) & (lower % 2 == 0))
    codes = np.where(is_lower, lower, upper)
    codes = np.where(np.isnan(wide), NAN_CODE, codes) | (np.signbit(values).astype(np.int64) << 7)
    return codes.astype(np.uint8)


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The value of each code."""
    table = np.append(_magnitudes(), np.nan)
    return np.concatenate([table, -table]).astype(np.float32)[codes]
