"""Colours of scores: how strong, which sign, and which text colour can be read on them.

A scale turns a score into a *level*, a whole number from -LEVELS (strongest against) over 0 (no colour)
to LEVELS; a palette turns a level into a background and a text colour. Colours are mixed in OKLCH
(Ottosson 2020), where equal steps look equal; text is black or white, whichever contrasts more (WCAG
2.2: at least 4.5 to 1).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.errors import invalid

LEVELS = 12
"""Shades of one sign. Neighbouring shades are just told apart; more would only make pages larger."""

Rgb = tuple[int, int, int]

RED, BLUE, VIOLET, GREEN, BROWN = 22.0, 255.0, 305.0, 150.0, 65.0
"""Hues in degrees of OKLCH: for and against the step, unsigned scores, step scores."""


@attrs.frozen(kw_only=True)
class ColorScale:
    """Which score gets the strongest colour.

    Attributes:
        low, high: the scores of the strongest colours; scores beyond are drawn like them.
        signed: zero has no colour and the two signs have different ones; else colours run from low to high.
    """

    low: float
    high: float
    signed: bool

    def levels(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """The level of each score, in its shape; 0 for NaN."""
        if self.signed:
            above = _share(scores, max(self.low, 0.0), self.high)
            below = _share(-scores, max(-self.high, 0.0), -self.low)
            strength = above - below
        else:
            strength = _share(scores, self.low, self.high)
        return np.rint(np.nan_to_num(strength) * LEVELS).astype(np.int64)


def _share(scores: NDArray[np.floating], start: float, end: float) -> NDArray[np.float64]:
    """How far each score is from ``start`` to ``end``, cut to [0, 1]; infinities lie at the ends."""
    if end <= start:
        return np.zeros(np.shape(scores))
    with np.errstate(invalid="ignore"):
        return np.clip((np.asarray(scores, dtype=np.float64) - start) / (end - start), 0.0, 1.0)


def color_scale(
    arrays: Iterable[NDArray[np.floating]],
    *,
    signed: bool,
    min_val: float | None = None,
    max_val: float | None = None,
) -> ColorScale:
    """One scale for all ``arrays``, so that equal colours mean equal scores wherever they stand.

    Args:
        signed: what the scores say of themselves; scores below zero make a scale signed in any case.
        min_val, max_val: ends of the scale; by default the largest absolute score, on both sides where
            it is signed.

    Raises:
        InvalidArgumentError: ends that are no numbers, or in the wrong order.
    """
    for name, value in (("min_val", min_val), ("max_val", max_val)):
        if value is not None and not _is_finite(value):
            raise invalid(name, value, "a finite number")
    finite = [array[np.isfinite(array)] for array in arrays]
    lowest = min((float(a.min()) for a in finite if a.size), default=0.0)
    highest = max((float(a.max()) for a in finite if a.size), default=0.0)
    signed = signed or lowest < 0
    widest = max(abs(lowest), abs(highest)) if signed else highest
    high = float(max_val) if max_val is not None else max(widest, float(min_val or 0.0))
    low = float(min_val) if min_val is not None else (-abs(high) if signed else min(0.0, high))
    if max_val is not None and low > high:
        raise invalid("min_val", min_val, f"a number below max_val = {max_val}")
    return ColorScale(low=low, high=high, signed=signed)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)


@attrs.frozen(kw_only=True)
class Palette:
    """Shades for one kind of background.

    Attributes:
        faint, strong: lightness and chroma of the faintest and of the strongest background.
        first: the level from which a score gets a background at all; weaker ones colour their text.
        ink: lightness and chroma of the strongest text colour without a background.
    """

    faint: tuple[float, float]
    strong: tuple[float, float]
    first: int = 1
    ink: tuple[float, float] = (0.0, 0.0)

    def shade(self, level: int, *, hue: float) -> Rgb:
        """The background of a level, or its text colour below ``first``; ``level`` is absolute, at least 1."""
        if level < self.first:
            return oklch_to_rgb(self.ink[0], self.ink[1] * level / (self.first - 1), hue)
        share = (level - self.first) / (LEVELS - self.first)
        lightness = self.faint[0] + share * (self.strong[0] - self.faint[0])
        chroma = self.faint[1] + share * (self.strong[1] - self.faint[1])
        return oklch_to_rgb(lightness, chroma, hue)


LIGHT = Palette(faint=(0.965, 0.014), strong=(0.600, 0.190))
DARK = Palette(faint=(0.270, 0.030), strong=(0.545, 0.200))
ANY_BACKGROUND = Palette(faint=(0.500, 0.075), strong=(0.545, 0.220), first=5, ink=(0.575, 0.120))
"""For a terminal that does not say whether it is dark or light: text of medium lightness for the weak
third, then backgrounds of medium lightness with strength as saturation."""


def hues(scale: ColorScale) -> tuple[float, float]:
    """Hues of scores above and below zero."""
    return (RED, BLUE) if scale.signed else (VIOLET, VIOLET)


def terminal_palette(environ: Mapping[str, str] | None = None) -> Palette:
    """The palette for the terminal's background: ``INSEQ_THEME`` (light, dark), else what ``COLORFGBG``
    says."""
    environ = os.environ if environ is None else environ
    theme = environ.get("INSEQ_THEME", "").lower()
    if theme in ("light", "dark"):
        return LIGHT if theme == "light" else DARK
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    if not background.isdigit():
        return ANY_BACKGROUND
    # The 16 colours of a terminal: 7 and 9 to 15 are light.
    return LIGHT if int(background) in (7, *range(9, 16)) else DARK


def text_color(background: Rgb) -> Rgb:
    """Black or white, whichever is easier to read there; one of them always reaches 4.5 to 1."""
    black, white = (0, 0, 0), (255, 255, 255)
    return max((black, white), key=lambda color: contrast(color, background))


def contrast(a: Rgb, b: Rgb) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def css(color: Rgb) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{channel:02x}" for channel in color)


def _luminance(color: Rgb) -> float:
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@functools.lru_cache(maxsize=512)
def oklch_to_rgb(lightness: float, chroma: float, hue: float) -> Rgb:
    """OKLCH to sRGB, chroma reduced until the colour exists (Björn Ottosson, "A perceptual color space",
    2020)."""
    angle = math.radians(hue)
    while True:
        a, b = chroma * math.cos(angle), chroma * math.sin(angle)
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if chroma < 1e-3 or all(-1e-4 <= c <= 1 + 1e-4 for c in linear):
            red, green, blue = (_encoded(c) for c in linear)
            return red, green, blue
        chroma *= 0.98


def _encoded(linear: float) -> int:
    linear = min(1.0, max(0.0, linear))
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
