from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inseq_core.aggregate import functions
from inseq_core.aggregate.functions import find_function
from inseq_core.errors import UnknownNameError

nan = np.nan

BY_HAND = {
    # 3, -4, no score
    "mean": -0.5,
    "max": 3.0,
    "min": -4.0,
    "sum": -1.0,
    "prod": -12.0,
    "absmax": -4.0,
    "vnorm": 5.0,
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_functions_ignore_what_has_no_score(name):
    """NaN says that a cell has no score, which is another thing than a score of zero."""
    scores = np.array([[3.0, nan], [-4.0, nan], [nan, nan]])

    np.testing.assert_allclose(find_function(name)(scores, 0), [BY_HAND[name], nan])


@pytest.mark.parametrize("name", sorted(BY_HAND))
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_functions_take_any_axis_also_of_arrays_done_in_blocks(name, axis, monkeypatch):
    """Blocks are for memory and must not be seen in the numbers; 32 numbers a block make several."""
    scores = np.random.default_rng(0).normal(size=(7, 5, 6))
    scores[2, :, 3] = nan
    loops = {
        "mean": np.nanmean,
        "max": np.nanmax,
        "min": np.nanmin,
        "sum": np.nansum,
        "prod": np.nanprod,
        "absmax": lambda v: v[np.nanargmax(np.abs(v))],
        "vnorm": lambda v: np.sqrt(np.nansum(np.square(v))),
    }

    def one(vector):
        return nan if np.isnan(vector).all() else loops[name](vector)

    expected = np.apply_along_axis(one, axis, scores)

    monkeypatch.setattr(functions, "_BLOCK", 32)
    # float64 sums in another order differ in the last bits
    np.testing.assert_allclose(find_function(name)(scores, axis), expected, rtol=1e-12)


@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-1e3, 1e3, width=32)))
@settings(max_examples=25, deadline=None)
def test_half_precision_is_added_up_in_a_wider_type(scores):
    """A float16 sum of a thousand numbers would lose all of the small ones."""
    half = np.repeat(scores.astype(np.float16), 500, axis=0)

    added = find_function("sum")(half, 0)
    assert added.dtype == np.float32
    # float32 keeps 24 bits of a sum made in float64
    np.testing.assert_allclose(added, half.astype(np.float64).sum(axis=0), rtol=2**-23, atol=1e-30)


def test_a_step_without_inputs_has_no_score():
    """A maximum of nothing is not an error half-way through a dataset."""
    for name in BY_HAND:
        assert np.isnan(find_function(name)(np.zeros((0, 2)), 0)).all()


def test_infinities_stay():
    """They are found by looking at a result, not hidden in it."""
    scores = np.array([1.0, -np.inf, 2.0])

    assert find_function("absmax")(scores, 0) == -np.inf
    assert find_function("vnorm")(scores, 0) == np.inf


def test_an_unknown_function_is_answered_with_the_nearest():
    """People write ``l2``, ``norm``, ``vnrom``."""
    with pytest.raises(UnknownNameError, match="vnorm"):
        find_function("vnrom")


def test_a_function_of_ones_own_needs_no_registration():
    """In a notebook a lambda is enough."""
    assert find_function(lambda scores, axis: np.median(scores, axis=axis))(np.array([1, 2, 9]), 0) == 2
