from __future__ import annotations

import math

import numpy as np

import inseq
from inseq_core.testing import parametrize_with_checks
from inseq_core.testing.toys import BagModel, BagWeights

test_contract = parametrize_with_checks("typicality")


def model_with(probabilities: dict[str, float]) -> inseq.AttributionModel:
    """A language model that gives the same distribution at every step."""
    words = tuple(probabilities)
    size = 4 + len(words)
    bias = np.full(size, -1e9)
    bias[4:] = np.log(list(probabilities.values()))
    nothing = np.zeros((size, size))
    toy = BagModel(words, weights=BagWeights(bias=bias, target=nothing, source=nothing))
    return inseq.AttributionModel(toy, "dummy")


def typicality(model: inseq.AttributionModel, word: str, **arguments: bool) -> float:
    """Of one word after "a"."""
    out = model.attribute("a", f"a {word}", step_scores=["typicality"], show_progress=False, **arguments)
    return float(out[0].step_scores["typicality"][0])


def test_every_token_of_a_uniform_distribution_is_typical():
    """All carry ln V nats, which is the entropy."""
    model = model_with({"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25})

    assert abs(typicality(model, "c")) < 1e-6


def test_values_are_those_computed_by_hand():
    """p = (1/2, 1/4, 1/4): entropy 1.5 ln 2, surprisals ln 2 and 2 ln 2, so both are half ln 2 away."""
    model = model_with({"a": 0.5, "b": 0.25, "c": 0.25})

    np.testing.assert_allclose(typicality(model, "a"), 0.5 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(typicality(model, "b"), 0.5 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(typicality(model, "a", signed=True), -0.5 * math.log(2), rtol=1e-6)


def test_a_token_that_is_impossible_does_not_make_others_nan():
    """0 · ln 0 is 0 in an entropy."""
    model = model_with({"a": 0.5, "b": 0.5})

    assert math.isfinite(typicality(model, "b"))
