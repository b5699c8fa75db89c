"""The regressions themselves, against scikit-learn and by hand; and lime and ContextCite made of them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import Lasso, Ridge
from support.removal_truth import linear_model

from inseq_core.errors import ApproximationWarning, InvalidArgumentError, NonFiniteScoreError
from inseq_perturbation.context_cite import scaled
from inseq_perturbation.kernel_shap import kernel, shapley_regression
from inseq_perturbation.lime import Lime
from inseq_perturbation.surrogate import lasso, ridge, sparse_fit, sparse_fits


def samples(n, features, rows=3, seed=0):
    """Binary samples, outputs and weights."""
    generator = np.random.default_rng(seed)
    return generator.random((n, features)) < 0.6, generator.normal(size=(n, rows)), generator.random(n) + 0.1


@pytest.mark.parametrize(("n", "features"), [(40, 6), (8, 30)])
def test_ridge_is_scikit_learn_s_on_both_sides_of_square(n, features):
    """More features than samples go through the dual; the answer is the same."""
    x, y, weights = samples(n, features)
    fit = ridge(x.astype(float), y, weights, 0.7)
    reference = Ridge(alpha=0.7).fit(x, y, sample_weight=weights)

    np.testing.assert_allclose(fit.coefficients.T, reference.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.intercept, reference.intercept_, rtol=1e-9, atol=1e-12)
    expected = [reference.score(x, y, sample_weight=weights)]
    np.testing.assert_allclose(
        np.average(fit.r2, weights=None), np.mean(expected), rtol=1e-9
    )  # scikit-learn's R² of many outputs is their mean


def test_a_lasso_s_penalty_has_no_unit():
    """Scores a million times smaller give coefficients a million times smaller, of the same features."""
    x, y, weights = samples(60, 8)
    small = lasso(x.astype(float), y * 1e-6, weights, 0.05)
    large = lasso(x.astype(float), y, weights, 0.05)

    np.testing.assert_allclose(small.coefficients * 1e6, large.coefficients, rtol=1e-6, atol=1e-9)
    assert (large.coefficients == 0).any()


def test_without_weights_a_lasso_is_scikit_learn_s_on_standardised_scores():
    """The same objective, written with its own standard deviation taken out."""
    x, y, _ = samples(60, 8, rows=1)
    fit = lasso(x.astype(float), y, np.ones(60), 0.05)
    reference = Lasso(alpha=0.05 * y.std(), tol=1e-10).fit(x, y[:, 0])

    np.testing.assert_allclose(fit.coefficients[:, 0], reference.coef_, atol=1e-5)


def test_lime_s_kernel_is_the_exponential_of_a_squared_distance():
    """By hand for a version that keeps one feature of four."""
    x = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], dtype=float)

    cosine = Lime(kernel_width=0.25).weights(x)
    np.testing.assert_allclose(cosine, [1.0, np.exp(-((1 - 0.5) ** 2) / 0.0625)])  # cosine = 1 / (1 · 2)
    hamming = Lime(similarity="hamming", kernel_width=0.5).weights(x)
    np.testing.assert_allclose(hamming, [1.0, np.exp(-(0.75**2) / 0.25)])


def test_the_shapley_kernel_is_the_paper_s_over_how_likely_a_coalition_was_drawn():
    """(F − 1) / (C(F, k) k (F − k)) up to a factor; a size drawn uniformly leaves 1 / (k (F − k))."""
    x = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)

    np.testing.assert_allclose(kernel(x, True), [1 / 12, 1 / 24, 1 / 12, 0, 0])
    np.testing.assert_allclose(kernel(x, False), [1 / 3, 1 / 4, 1 / 3, 0, 0])


def test_the_constrained_regression_solves_its_own_optimality_conditions():
    """Karush–Kuhn–Tucker: the weighted residuals' gradient is the same for every feature."""
    x, y, weights = samples(50, 6, rows=2)
    empty, full = np.array([0.3, -1.0]), np.array([1.1, 2.0])
    values, _ = shapley_regression(x, y, empty, full, weights)
    residual = y - empty - x @ values
    gradient = (x * weights[:, None]).T @ residual

    np.testing.assert_allclose(values.sum(axis=0), full - empty, atol=1e-10)
    np.testing.assert_allclose(gradient - gradient.mean(axis=0), 0.0, atol=1e-9)


def test_a_planted_sparse_scorer_is_recovered():
    """Two of forty parts matter; 64 versions are enough to name them and to size them."""
    generator = np.random.default_rng(1)
    x = (generator.random((64, 40)) < 0.5).astype(float)
    y = (3.0 * x[:, 7] - 2.0 * x[:, 31] + 0.01 * generator.normal(size=64))[:, None]
    fit = sparse_fit(x, y, np.ones(64), 0.01)

    strongest = np.abs(fit.coefficients[:, 0]).argsort()[::-1]
    assert set(strongest[:2]) == {7, 31}
    assert np.abs(fit.coefficients[strongest[2], 0]) < 0.05
    np.testing.assert_allclose(fit.coefficients[[7, 31], 0], [3.0, -2.0], atol=0.1)  # shrunk by the penalty


def test_many_resamples_at_once_are_fitted_as_one_by_one():
    """The batched descent against scikit-learn's, also where a part or a score never varies."""
    generator = np.random.default_rng(3)
    x = (generator.random((30, 7)) < 0.5).astype(float)
    x[:, 4] = 1.0
    y = x @ generator.normal(size=(7, 3)) + 0.1 * generator.normal(size=(30, 3))
    y[:, 2] = 0.25
    weights = generator.integers(0, 3, size=(6, 30)).astype(float)
    together = sparse_fits(x, y, weights, 0.02)

    for one, coefficients in zip(weights, together, strict=True):
        np.testing.assert_allclose(coefficients, sparse_fit(x, y, one, 0.02).coefficients, atol=2e-4)


def planted(toy_model, words, sizes):
    """A toy on which only some words say anything."""
    weights = toy_model.adapter.weights
    weights.target[:] = 0.0
    for word, size in zip(words, sizes, strict=True):
        weights.target[toy_model.adapter.ids[word]] = size * np.arange(weights.target.shape[1])
    return toy_model


def test_context_cite_names_the_parts_that_a_model_really_uses():
    """Through the whole pipeline, with a logit that only two words say anything about."""
    model = planted(linear_model(decay=1.0), ["dog", "red"], [0.1, -0.05])
    text = "the dog sees a red cat . the man sees ."
    (result,) = model.attribute(
        text, f"{text} small", method="context_cite", attributed_fn="logit", scale="none", n_samples=64
    )
    scores = result.target_attributions[:-1, 0]
    low, high = (result.sequence_scores[f"interval_{end}"][:-1, 0] for end in ("low", "high"))
    strongest = np.abs(scores).argsort()[::-1][:2]

    assert {str(result.target[int(i)]) for i in strongest} == {"dog", "red"}
    assert np.all(low <= high)
    assert np.all((low[strongest] > 0) | (high[strongest] < 0))
    others = np.setdiff1d(np.arange(1, len(scores)), strongest)
    assert np.all((low[others] <= 1e-6) & (high[others] >= -1e-6))


def test_context_cite_regresses_the_logit_of_a_probability():
    """ln(p / (1 − p)), as the paper does: on it, and not on p, a steep model is close to linear."""
    p = np.array([[0.5, 0.9, 1.0, 0.0]])

    np.testing.assert_allclose(scaled(p[:, :2], "logit", "probability"), [[0.0, np.log(9.0)]], atol=1e-12)
    of_logarithms = scaled(np.log(p[:, :2]), "logprob", "probability")
    np.testing.assert_allclose(of_logarithms, [[0.0, np.log(9.0)]], atol=1e-12)
    assert np.isfinite(scaled(p, "logit", "probability")).all()
    np.testing.assert_array_equal(scaled(p - 2, "none", "logit"), p - 2)


@pytest.mark.parametrize(
    ("function", "arguments", "scale"),
    [("probability", {}, "logit"), ("probability", {"logprob": True}, "logprob"), ("logit", {}, "none")],
)
def test_the_scale_follows_what_the_attributed_function_declares(function, arguments, scale):
    """Every attributed function can be explained without a word about scales."""
    out = linear_model().attribute(
        "the dog", method="context_cite", attributed_fn=function, n_samples=8, **arguments
    )

    assert out.info.notes["scale"] == scale


def test_a_whole_response_may_be_what_is_explained():
    """The paper's own target: the logit of the response's probability, one surrogate for all its tokens."""
    model = planted(linear_model(decay=1.0), ["dog"], [0.3])
    text = "the dog sees a red cat ."
    (result,) = model.attribute(
        text, f"{text} small man", method="context_cite", steps="sum", logprob=True, scale="logprob"
    )

    strongest = int(np.nanargmax(np.abs(result.target_attributions[: result.attr_pos_start, 0])))
    assert str(result.target[strongest]) == "dog"


def test_the_logit_of_what_is_no_probability_is_refused():
    """It would be NaN, or a number without meaning."""
    with pytest.raises(
        InvalidArgumentError, match=r"scale = 'logit' needs a probability \(p\), but 'logit' gave"
    ):
        linear_model().attribute("the dog", method="context_cite", attributed_fn="logit", scale="logit")


@pytest.mark.parametrize(("method", "n_samples"), [("context_cite", 17), ("lime", 17), ("kernel_shap", 16)])
def test_surrogates_cost_their_number_of_samples_whatever_the_number_of_steps(method, n_samples):
    """Equal versions are run once, so it is at most that."""
    model = linear_model()
    (result,) = model.attribute("the dog sees a cat . the man", method=method, n_samples=n_samples)

    assert result.n_steps > 3
    assert sum(model.adapter.passes) <= n_samples


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("lime", {"n_samples": 0}, "n_samples = 0"),
        ("lime", {"mask_prob": 1.0}, "mask_prob = 1.0"),
        ("lime", {"kernel_width": 0}, "kernel_width = 0"),
        ("lime", {"similarity": "euclid"}, "similarity = 'euclid'"),
        ("lime", {"surrogate": "tree"}, "surrogate = 'tree'"),
        ("lime", {"alpha": -1}, "alpha = -1"),
        ("lime", {"alpha": float("inf")}, "alpha = inf.*a finite number"),
        ("kernel_shap", {"n_samples": 0}, "n_samples = 0"),
        ("shapley", {"n_samples": 0}, "n_samples = 0"),
        ("shapley", {"tolerance": -0.1}, "tolerance = -0.1"),
        ("shapley", {"exact": "yes"}, "exact = 'yes'"),
        ("context_cite", {"n_samples": 0}, "n_samples = 0"),
        ("context_cite", {"keep_prob": 0}, "keep_prob = 0"),
        ("context_cite", {"alpha": float("inf")}, "alpha = inf.*a finite number"),
        ("context_cite", {"n_bootstrap": -1}, "n_bootstrap = -1"),
        ("context_cite", {"scale": "log"}, "scale = 'log'"),
        ("reagent", {"num_probes": 0}, "num_probes = 0"),
        ("reagent", {"replacements": "roberta"}, "replacements = 'roberta'"),
        ("reagent", {"replacements": "masked"}, "masked_model"),
        ("reagent", {"masked_model": "bert"}, "masked_model"),
        ("reagent", {"removal": "delete"}, "removal = 'delete' is not used"),
        ("occlusion", {"removal": "zero"}, "removal 'zero' is not possible with toy-lm"),
        ("occlusion", {"removal": "token:unheard-of"}, "'unheard-of'"),
        ("occlusion", {"removal": {"way": "sample", "n_draws": 0}}, "n_draws = 0"),
        ("occlusion", {"removal": "delete:now"}, "removal = 'delete:now'"),
        ("occlusion", {"removal": "sample:dreams"}, "draws_from = 'dreams'"),
    ],
)
def test_bad_arguments_are_refused_before_the_model_does_anything(method, arguments, said):
    """What was wrong, with the value shown, and no minutes lost."""
    model = linear_model()

    with pytest.raises((InvalidArgumentError, ValueError), match=said):
        model.attribute("the dog", method=method, **arguments)
    assert model.adapter.passes == []


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("lime", {"surrogate": "lasso"}), ("lime", {}), ("context_cite", {}), ("kernel_shap", {})],
)
def test_scores_that_are_not_finite_are_not_taken_for_constant_ones(method, arguments):
    """A score that never varies has no effects; one that cannot be computed is an error, not an effect of zero."""

    def undefined(attribution_model, forward_output, target_ids, **_):
        return attribution_model.output2logits(forward_output)[:, 0] * np.nan

    with pytest.raises(NonFiniteScoreError, match="'undefined' is NaN or infinite"):
        linear_model().attribute(
            "the dog", "the dog sees", method=method, attributed_fn=undefined, **arguments
        )


@pytest.mark.parametrize(("method", "enough"), [("lime", 8), ("kernel_shap", 8)])
def test_fewer_versions_than_scores_are_spoken_of(method, enough):
    """Any model fits them: an R² of one would say that the scores can be relied on."""
    text = "the dog sees a cat . the"  # seven features
    model = linear_model()

    with pytest.warns(
        ApproximationWarning, match=rf"{method}: {enough - 1} versions .* of 7 features, and r2"
    ):
        model.attribute(text, f"{text} man", method=method, n_samples=enough - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.attribute(text, f"{text} man", method=method, n_samples=enough)
