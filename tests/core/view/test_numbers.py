"""Numbers as short as they can be told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inseq_core.view.numbers import NumberFormat, compact, exact_decimals, number_format


@pytest.mark.parametrize(
    ("largest", "score", "written"),
    [
        (1.0, 0.123456, "0.12"),
        (0.05, 0.01234, "0.012"),
        (12.0, 3.456, "3.5"),
        (1234.0, 56.7, "57"),
        (0.9, -0.0001, "0.00"),
    ],
)
def test_digits_follow_the_largest_score(largest: float, score: float, written: str):
    """Two significant digits of the largest score; a small negative one is no negative zero."""
    assert number_format([np.array([largest, np.nan])]).text(score) == written


def test_tiny_scores_share_a_power_of_ten():
    """0.00 in every cell says nothing; gradients of 1e-6 are common."""
    format_ = number_format([np.array([-3.2e-6, 1e-6])])

    assert (format_.text(-3.2e-6), format_.factor) == ("-3.20", "×10⁻⁶")


def test_nothing_finite_is_still_written():
    """NaN is blank, infinity is said."""
    assert [NumberFormat().text(v) for v in (math.nan, math.inf, -math.inf)] == ["", "∞", "-∞"]
    assert number_format([np.zeros(3)]) == NumberFormat()


@pytest.mark.parametrize(
    ("score", "written"),
    [
        (0.9341, "0.934"),
        (12.345, "12.3"),
        (123456.0, "1.2e+05"),
        (1e-5, "1.0e-05"),
        (0.0, "0.00"),
        (math.nan, ""),
    ],
)
def test_step_scores_have_three_significant_digits(score: float, written: str):
    """Perplexities run from 1 to millions within one row."""
    assert compact(score) == written


def test_exact_scores_keep_four_digits():
    """A page shows them on hover; more would only make it larger."""
    assert exact_decimals([np.array([0.4321])]) == 4
    assert exact_decimals([np.array([54321.0])]) == -1
