"""Numbers as short as they can be told apart.

One column of digits reads well only if every number in it has the same form, so a table has one format:
two or three significant digits of its largest score, and one power of ten for all of it where scores are tiny
or huge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs
import numpy as np
from numpy.typing import NDArray

_DECIMALS = {-3: 4, -2: 3, -1: 2, 0: 2, 1: 1, 2: 1, 3: 0}
"""Power of ten of the largest score -> decimals; beyond, scores are written with a common factor."""
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@attrs.frozen
class NumberFormat:
    """``decimals`` after the point, of the score divided by ten to the ``exponent``."""

    decimals: int = 2
    exponent: int = 0

    def text(self, score: float) -> str:
        """The score in this format; "" for NaN, ``∞`` for infinity."""
        if math.isnan(score):
            return ""
        if math.isinf(score):
            return "∞" if score > 0 else "-∞"
        written = f"{score / 10.0**self.exponent:.{self.decimals}f}"
        # A small negative score must not become a negative zero.
        return written[1:] if written.startswith("-") and not float(written) else written

    @property
    def factor(self) -> str:
        """``×10⁻⁵`` where scores are shown divided by a power of ten, else ""."""
        return f"×10{str(self.exponent).translate(_SUPERSCRIPTS)}" if self.exponent else ""


def number_format(arrays: Iterable[NDArray[np.floating]]) -> NumberFormat:
    """The format for all scores of ``arrays``."""
    largest = largest_magnitude(arrays)
    if not largest:
        return NumberFormat()
    magnitude = math.floor(math.log10(largest))
    if magnitude in _DECIMALS:
        return NumberFormat(decimals=_DECIMALS[magnitude])
    return NumberFormat(decimals=2, exponent=magnitude)


def exact_decimals(arrays: Iterable[NDArray[np.floating]]) -> int:
    """Decimals that keep four significant digits of the largest score; may be negative."""
    largest = largest_magnitude(arrays)
    return 3 - math.floor(math.log10(largest)) if largest else 0


def largest_magnitude(arrays: Iterable[NDArray[np.floating]]) -> float:
    """The largest finite absolute score; 0 where there is none."""
    finite = (np.abs(array[np.isfinite(array)]) for array in arrays)
    return max((float(a.max()) for a in finite if a.size), default=0.0)


def compact(score: float) -> str:
    """A score on its own, in three significant digits: ``0.934``, ``12.3``, ``1.2e+05``; "" for NaN."""
    if not math.isfinite(score):
        return NumberFormat().text(score)
    if score and not 1e-3 <= abs(score) < 1e5:
        return f"{score:.1e}"
    magnitude = math.floor(math.log10(abs(score))) if score else 0
    return NumberFormat(decimals=min(3, max(0, 2 - magnitude))).text(score)
