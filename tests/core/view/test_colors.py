"""Colours of scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inseq_core.errors import InvalidArgumentError
from inseq_core.view.colors import (
    ANY_BACKGROUND,
    BLUE,
    BROWN,
    DARK,
    GREEN,
    LEVELS,
    LIGHT,
    RED,
    VIOLET,
    color_scale,
    contrast,
    oklch_to_rgb,
    terminal_palette,
    text_color,
)

PALETTES = {"light": LIGHT, "dark": DARK, "any": ANY_BACKGROUND}


@pytest.mark.parametrize("name", PALETTES)
@pytest.mark.parametrize("hue", [RED, BLUE, VIOLET, GREEN, BROWN])
def test_text_can_be_read_on_every_shade(name: str, hue: float):
    """WCAG 2.2 asks for 4.5 to 1; a cell whose number cannot be read is worse than one without colour."""
    for level in range(1, LEVELS + 1):
        shade = PALETTES[name].shade(level, hue=hue)

        assert contrast(text_color(shade), shade) >= 4.5


@pytest.mark.parametrize("name", PALETTES)
@pytest.mark.parametrize("hue", [RED, BLUE, VIOLET, GREEN, BROWN])
def test_text_keeps_its_colour_from_the_faintest_background_to_the_strongest(name: str, hue: float):
    """A number that turns from white to black looks like a finding where nothing but a shade has changed."""
    palette = PALETTES[name]
    shades = [palette.shade(level, hue=hue) for level in range(palette.first, LEVELS + 1)]

    assert len({text_color(shade) for shade in shades}) == 1


@pytest.mark.parametrize("hue", [RED, BLUE, VIOLET, GREEN, BROWN])
def test_on_an_unknown_background_the_weak_third_is_coloured_text(hue: float):
    """A block is as heavy in its faintest shade as in its strongest; text is read on black and on white.

    No colour reaches more than 4.58 to 1 on both: the square root of 21.
    """
    assert ANY_BACKGROUND.first == LEVELS // 3 + 1
    for level in range(1, ANY_BACKGROUND.first):
        ink = ANY_BACKGROUND.shade(level, hue=hue)

        assert min(contrast(ink, (0, 0, 0)), contrast(ink, (255, 255, 255))) >= 4.0


def test_contrast_is_that_of_the_guidelines():
    """Black on white is 21 by definition; #777777 on white is the guidelines' well-known near miss, 4.48."""
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


def test_known_colours_come_out_of_oklch():
    """sRGB red and blue in OKLCH, from the CSS Color 4 specification's sample values."""
    assert oklch_to_rgb(0.62796, 0.25768, 29.234) == pytest.approx((255, 0, 0), abs=1)
    assert oklch_to_rgb(0.45201, 0.31321, 264.052) == pytest.approx((0, 0, 255), abs=1)


def test_equal_scores_of_both_signs_are_equally_strong():
    """Otherwise a picture says that what speaks for a step matters more than what speaks against it."""
    scale = color_scale([np.array([0.5, -0.2])], signed=True)

    assert scale.levels(np.array([0.5, -0.5, 0.25, -0.25, 0.0])).tolist() == [12, -12, 6, -6, 0]


def test_unsigned_scores_run_from_nothing_to_the_largest():
    """One hue, no middle."""
    scale = color_scale([np.array([0.0, 0.8])], signed=False)

    assert scale.levels(np.array([0.0, 0.4, 0.8])).tolist() == [0, 6, 12]


def test_a_negative_score_makes_any_scale_signed():
    """A method may say that it is unsigned and be wrong; the picture must not hide it."""
    assert color_scale([np.array([-0.1, 0.8])], signed=False).signed


def test_given_ends_cut_the_scale():
    """``max_val`` is how one outlier is kept from making everything else pale."""
    scale = color_scale([np.array([0.1, 9.0])], signed=True, max_val=0.2)

    assert scale.levels(np.array([9.0, 0.1, -0.2])).tolist() == [12, 6, -12]


def test_a_lower_end_above_zero_leaves_small_scores_without_colour():
    """``min_val=0.1, max_val=0.3`` says what is worth a colour."""
    scale = color_scale([np.array([0.3])], signed=True, min_val=0.1, max_val=0.3)

    assert scale.levels(np.array([0.1, 0.2, 0.3, -0.3])).tolist() == [0, 6, 12, 0]


@pytest.mark.parametrize("ends", [{"min_val": 1, "max_val": 0}, {"max_val": math.nan}, {"min_val": "0"}])
def test_ends_that_make_no_scale_are_refused(ends: dict[str, float]):
    """They would colour everything or nothing."""
    with pytest.raises(InvalidArgumentError, match=r"m(in|ax)_val = "):
        color_scale([np.array([0.5])], signed=False, **ends)


def test_infinities_and_nan_do_not_set_the_scale():
    """One infinite score would make all others colourless."""
    scale = color_scale([np.array([np.inf, np.nan, 0.5])], signed=False)

    assert scale.high == 0.5
    assert scale.levels(np.array([np.inf, np.nan, -np.inf])).tolist() == [12, 0, 0]


def test_nothing_has_a_scale_too():
    """Empty texts, and texts whose scores are all zero."""
    assert color_scale([np.zeros((0, 0))], signed=True).levels(np.zeros(2)).tolist() == [0, 0]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1), st.booleans())
def test_levels_keep_the_order_of_scores(values: list[float], signed: bool):
    """A larger score never has a weaker red or a stronger blue."""
    scores = np.sort(np.array(values))
    levels = color_scale([scores], signed=signed).levels(scores)

    assert (np.diff(levels) >= 0).all()
    assert np.abs(levels).max() <= LEVELS


@pytest.mark.parametrize(
    ("environ", "palette"),
    [
        ({}, ANY_BACKGROUND),
        ({"COLORFGBG": "15;0"}, DARK),
        ({"COLORFGBG": "0;default;15"}, LIGHT),
        ({"COLORFGBG": "0;7"}, LIGHT),
        ({"COLORFGBG": "15;0", "INSEQ_THEME": "light"}, LIGHT),
        ({"INSEQ_THEME": "dark"}, DARK),
        ({"COLORFGBG": "15;default"}, ANY_BACKGROUND),
    ],
)
def test_a_terminal_that_names_its_background_gets_colours_for_it(environ: dict[str, str], palette: object):
    """Pale cells glare on dark, dark ones on light; one that says nothing gets what is seen on both."""
    assert terminal_palette(environ) is palette
