from __future__ import annotations

import numpy as np
import pytest
from support.removal_truth import WORDS, brute_force_shapley, linear_model, score, steps_of, text_of

from inseq_core.errors import ApproximationWarning, InvalidArgumentError

SHORT = {"generation_args": {"max_new_tokens": 3}}


@pytest.mark.parametrize("method", ["shapley", "kernel_shap"])
def test_exact_values_are_those_of_all_orders(method):
    """Brute force over every order, for a score that is not linear."""
    model = linear_model(scale=1.5)
    arguments = {"n_samples": 64} if method == "kernel_shap" else {}
    (result,) = model.attribute("the dog sees", method=method, **SHORT, **arguments)
    text = text_of(result)

    for k, s in steps_of(result):
        expected = brute_force_shapley(model.adapter, text, s)
        np.testing.assert_allclose(result.target_attributions[:s, k], expected, atol=1e-6)  # float32


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("shapley", {}),
        ("shapley", {"exact": False, "n_samples": 3, "tolerance": 0.0}),
        ("shapley", {"exact": False, "n_samples": 3, "tolerance": 0.0, "antithetic": False}),
        ("kernel_shap", {"n_samples": 20}),
        ("kernel_shap", {"n_samples": 2}),
    ],
)
def test_the_scores_of_a_step_sum_to_all_that_removal_takes_away(method, arguments):
    """Efficiency, which holds for samples too: every order ends where every other does."""
    model = linear_model(scale=1.5)
    (result,) = model.attribute("the dog sees a", method=method, **SHORT, **arguments)
    text = text_of(result)

    for k, s in steps_of(result):
        change = score(model.adapter, text, s) - score(model.adapter, text, s, set(range(1, s)))
        assert np.nansum(result.target_attributions[:, k]) == pytest.approx(change, abs=1e-6)  # float32


def test_a_token_that_changes_nothing_scores_nothing_and_equal_tokens_score_the_same():
    """Dummy and symmetry: removal puts an unknown word there anyway; without decay no place differs."""
    model = linear_model(scale=1.5, decay=1.0)
    (result,) = model.attribute("dog unheard dog sees", method="shapley", **SHORT)
    (sampled,) = model.attribute(
        "dog unheard dog sees", method="shapley", exact=False, n_samples=2, tolerance=0.0, **SHORT
    )

    np.testing.assert_allclose(result.target_attributions[2], 0.0, atol=1e-9)
    np.testing.assert_allclose(sampled.target_attributions[2], 0.0, atol=1e-9)
    np.testing.assert_allclose(result.target_attributions[1], result.target_attributions[3], atol=1e-7)


def test_sampled_values_lie_within_three_standard_errors_of_the_exact_ones():
    """A standard error that says too little is worse than none; 3 of them hold 99.7% of normal draws."""
    model = linear_model(scale=1.5)
    (exact,) = model.attribute("the dog sees a cat man", method="shapley", **SHORT)
    (sampled,) = model.attribute(
        "the dog sees a cat man", method="shapley", exact=False, n_samples=60, tolerance=0.0, **SHORT
    )
    error = sampled.sequence_scores["standard_error"]
    away = np.abs(sampled.target_attributions - exact.target_attributions)
    known = np.isfinite(away) & (error > 0)

    assert known.sum() > 15
    assert np.all(away[known] <= 3 * error[known] + 1e-6)
    np.testing.assert_array_equal(exact.sequence_scores["standard_error"][known], 0.0)


def test_standard_errors_shrink_with_the_root_of_the_samples():
    """Sixteen times the samples, a quarter of the error: within the noise of an error's own estimate."""
    model = linear_model(scale=1.5)
    errors = [
        np.nanmean(
            model.attribute(
                "the dog sees a cat man", method="shapley", exact=False, n_samples=n, tolerance=0.0, **SHORT
            )[0].sequence_scores["standard_error"]
        )
        for n in (8, 128)
    ]

    assert 2.5 < errors[0] / errors[1] < 6.5


def test_a_permutation_and_its_reverse_say_more_than_two_permutations():
    """Antithetic pairs cost what two permutations cost; for scores near linear they leave less error."""
    model = linear_model(scale=1.0)
    (exact,) = model.attribute("the dog sees a cat man", method="shapley", **SHORT)

    def distance(**arguments):
        return [
            np.nanmean(
                np.abs(
                    model.attribute(
                        "the dog sees a cat man",
                        method="shapley",
                        exact=False,
                        tolerance=0.0,
                        seed=seed,
                        **SHORT,
                        **arguments,
                    )[0].target_attributions
                    - exact.target_attributions
                )
            )
            for seed in range(6)
        ]

    assert np.mean(distance(n_samples=4)) < np.mean(distance(n_samples=8, antithetic=False))


def test_sampling_stops_when_every_step_is_known_well_enough():
    """Steps that are done keep what they had; the loosest tolerance takes the fewest versions."""
    model = linear_model(scale=1.5)

    def versions(tolerance):
        model.adapter.passes.clear()
        (result,) = model.attribute(
            "the dog sees a cat man",
            method="shapley",
            exact=False,
            n_samples=400,
            tolerance=tolerance,
            **SHORT,
        )
        error = np.nanmax(result.sequence_scores["standard_error"], axis=0)
        assert np.all(error <= tolerance * np.nanmax(np.abs(result.target_attributions), axis=0))
        return result

    loose, tight = versions(0.5), versions(0.05)
    assert np.nanmean(loose.sequence_scores["standard_error"]) > np.nanmean(
        tight.sequence_scores["standard_error"]
    )


def test_samples_that_were_not_enough_are_spoken_of():
    """The result is kept, with its standard errors."""
    with pytest.warns(ApproximationWarning, match="did not reach tolerance 1e-06 within 4 permutations"):
        linear_model(scale=1.5).attribute(
            "the dog sees", method="shapley", exact=False, n_samples=4, tolerance=1e-6, **SHORT
        )


def test_too_many_features_for_all_subsets_say_how_many_evaluations_and_what_to_do():
    """2²⁰ runs are nobody's wish."""
    model = linear_model()
    words = " ".join(WORDS * 2)

    with pytest.raises(InvalidArgumentError, match=r"20 features need 1,048,576 .*\n.*kernel_shap"):
        model.attribute(words, f"{words} the", method="shapley", exact=True)
    assert model.adapter.passes == []


def test_a_coarser_cut_makes_them_exact_again():
    """Words and sentences are the way out that the message names."""
    words = "the dog sees a cat . the man sees red ."
    model = linear_model()
    (result,) = model.attribute(words, f"{words} the dog", method="shapley", features="sentence")

    assert result.feature_kind == "sentence"
    assert np.nanmax(result.sequence_scores["standard_error"]) == 0.0


@pytest.mark.parametrize("method", ["shapley", "kernel_shap", "lime", "context_cite", "reagent"])
def test_one_feature_and_none_seen_are_no_problem(method):
    """The first step of an empty prompt sees <s> alone, the second one feature."""
    model = linear_model()
    (result,) = model.attribute("", method=method, **SHORT)

    assert np.isfinite(result.target_attributions[0]).all()
    assert result.target_attributions[0, 0] == 0.0
