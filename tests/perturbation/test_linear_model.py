"""On a model that is linear in its tokens every method has one right answer, known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from support.removal_truth import linear_model, linear_truth

CASES = [
    ("occlusion", {}),
    ("leave_one_out", {}),
    ("lime", {"n_samples": 200, "alpha": 0}),
    ("lime", {"n_samples": 200, "alpha": 0, "similarity": "hamming", "kernel_width": 0.5, "mask_prob": 0.5}),
    ("kernel_shap", {"n_samples": 64}),
    ("kernel_shap", {"n_samples": 4096}),
    ("shapley", {}),
    ("shapley", {"exact": False, "n_samples": 2}),
]


@pytest.mark.parametrize(("method", "arguments"), CASES)
@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_every_method_finds_what_each_token_adds(method, arguments, is_encoder_decoder):
    """Removal by <unk> takes exactly a token's own term away, alone and in every coalition."""
    model = linear_model(is_encoder_decoder=is_encoder_decoder)
    (result,) = model.attribute(
        "the dog sees a cat",
        method=method,
        attributed_fn="logit",
        attribute_target=is_encoder_decoder,
        generation_args={"max_new_tokens": 4},
        **arguments,
    )
    target, source = linear_truth(model, result)

    # float32 results; the regressions are solved to 1e-10 of their scale
    np.testing.assert_allclose(result.target_attributions, target, rtol=1e-5, atol=1e-6)
    if is_encoder_decoder:
        np.testing.assert_allclose(result.source_attributions, source, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "context_cite"])
def test_a_surrogate_of_a_linear_score_says_that_it_fits(method):
    """R² is 1 where the surrogate is the model itself."""
    extra = {"scale": "none", "n_bootstrap": 0, "alpha": 1e-4} if method == "context_cite" else {}
    (result,) = linear_model().attribute("the dog sees a cat", method=method, attributed_fn="logit", **extra)

    np.testing.assert_allclose(result.step_scores["r2"], 1.0, atol=1e-3)  # the penalties cost a little


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "context_cite"])
def test_a_surrogate_of_a_bent_score_says_that_it_does_not_fit(method):
    """Without it nobody would know how little the coefficients mean."""
    extra = {"n_bootstrap": 0, "scale": "none"} if method == "context_cite" else {}
    (result,) = linear_model(scale=4.0).attribute(
        "the dog sees a cat", method=method, generation_args={"max_new_tokens": 3}, **extra
    )

    assert result.step_scores["r2"].min() < 0.97


def test_a_lasso_lime_finds_the_same_tokens():
    """A small penalty moves each coefficient by little: by alpha in units of the score's deviation."""
    model = linear_model()
    (result,) = model.attribute(
        "the dog sees a cat",
        method="lime",
        surrogate="lasso",
        alpha=1e-3,
        n_samples=300,
        attributed_fn="logit",
    )
    target, _ = linear_truth(model, result)

    np.testing.assert_allclose(result.target_attributions, target, atol=0.03)
