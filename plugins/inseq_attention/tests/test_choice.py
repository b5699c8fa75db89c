"""Choices of layers and heads, as users write them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from inseq_attention.choice import as_list, check_layers_and_heads, check_units, indices
from inseq_core.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, [0, 1, 2, 3]),
        (0, [0]),
        (-1, [3]),
        ((1, 3), [1, 2]),
        ((0, 4), [0, 1, 2, 3]),
        ((-3, -1), [1, 2]),
        ((2, 0), []),
        ([3, -4], [3, 0]),
    ],
)
def test_choices_become_indices(choice: object, expected: list[int]) -> None:
    """A span has no end, negative numbers count from the last, lists keep their order."""
    if not expected:
        with pytest.raises(InvalidArgumentError, match="start before end"):
            indices("heads", choice, 4, "heads")
    else:
        assert indices("heads", choice, 4, "heads") == expected


@pytest.mark.parametrize("choice", [4, -5, (0, 5), (4, 5), (-5, 2), [0, 4]])
def test_out_of_range_says_the_range(choice: object) -> None:
    """The number that there is, from both ends."""
    with pytest.raises(InvalidArgumentError, match=r"has 4 heads, so indices go from 0 to 3 \(or from -4"):
        indices("heads", choice, 4, "heads")


def request(layers: object = None, heads: object = None) -> SimpleNamespace:
    """A call on a model that says this much about itself."""
    adapter = SimpleNamespace(attention_layers=lambda: layers, attention_heads=lambda: heads)
    return SimpleNamespace(adapter=adapter)


def test_what_the_model_says_about_itself_is_checked_before_it_runs() -> None:
    """Where the adapter knows, a wrong layer costs nothing."""
    known = request({"decoder": 2, "cross": 2, "encoder": 3}, {"decoder": 4, "cross": 4, "encoder": 8})

    check_layers_and_heads(known, 1, (0, 4))
    with pytest.raises(InvalidArgumentError, match="layers = 2"):
        check_layers_and_heads(known, 2)
    with pytest.raises(InvalidArgumentError, match="heads = 4"):
        check_layers_and_heads(known, None, 4)
    check_units(known, "encoder_zeroed_units_indices", {2: 7}, "encoder")
    with pytest.raises(InvalidArgumentError, match=r"encoder_zeroed_units_indices = \[3\]"):
        check_units(known, "encoder_zeroed_units_indices", {3: 0}, "encoder")
    with pytest.raises(InvalidArgumentError, match="cross_zeroed_units_indices = 4"):
        check_units(known, "cross_zeroed_units_indices", 4, "cross")


def test_a_model_that_says_nothing_is_asked_later() -> None:
    """Any torch adapter may be used; the method itself checks again."""
    check_layers_and_heads(request(), 99, 99)
    check_units(request(), "decoder_zeroed_units_indices", {99: 99}, "decoder")
    check_layers_and_heads(SimpleNamespace(adapter=object()), 99, 99)


def test_layers_that_json_made_text_are_numbers_again() -> None:
    """Command lines and files know no other keys."""
    assert as_list({"0": 1, "2": [1, 3]}) == {0: 1, 2: [1, 3]}
    assert as_list({"last": range(2)}) == {"last": [0, 1]}


def test_choices_are_kept_as_plain_data() -> None:
    """They are written to files with the result."""
    assert as_list(slice(1, None)) == (1, None)
    assert repr(as_list({np.int64(1): np.array([0, 2])})) == "{1: [0, 2]}"
