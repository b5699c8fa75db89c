from __future__ import annotations

import numpy as np
import pytest
import torch

from inseq_core import errors

BOTH = ("gpt2", "marian")
LINEAR = {
    "saliency": {"abs": False},
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 4},
    "layer_gradient_x_activation": {},
    "leave_out": {},
}
"""Methods whose score of a sum is the sum of their scores."""


def both_ways(model, method, inputs, outputs, **arguments):
    """Results of each step, and of the sum of all."""
    call = {
        "method": method,
        "attribute_target": model.is_encoder_decoder,
        "keep_granular": True,
        **LINEAR.get(method, {}),
        **arguments,
    }
    return model.attribute(inputs, outputs, **call), model.attribute(inputs, outputs, steps="sum", **call)


def sides(result):
    """Scores of the sides that have any."""
    return [s for s in (result.source_attributions, result.target_attributions) if s is not None]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("method", LINEAR)
def test_the_attribution_of_a_sum_is_the_sum_of_attributions(load, texts, name, method):
    """For methods that are linear in the function; every text of a batch, both sides."""
    model = load(name)
    each, summed = both_ways(model, method, *texts(model)[:2], attributed_fn="probability", logprob=True)

    for a, b in zip(each, summed, strict=True):
        assert b.n_steps == 1 and b.attr_pos_end == a.attr_pos_end
        for x, y in zip(sides(a), sides(b), strict=True):
            seen = ~np.isnan(y)
            np.testing.assert_allclose(
                np.nansum(x, axis=1, keepdims=True)[seen], y[seen], rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("name", BOTH)
def test_a_sum_takes_one_backward_pass_however_many_steps(load, texts, name):
    """The steps' cotangents go through the model together."""
    model = load(name)
    each, summed = both_ways(model, "saliency", *texts(model)[:2])

    passes = 2 if model.is_encoder_decoder else 1  # decoder and encoder
    assert each[0].n_steps > 3
    assert summed.info.notes["counts"]["backward"] == passes
    assert summed.info.notes["steps"] == "sum"


def test_a_sum_of_a_batch_is_that_of_each_text(load, texts):
    """Spans of different lengths end at different positions."""
    model = load("gpt2")
    inputs, outputs, _ = texts(model)
    call = {"method": "saliency", "steps": "sum", "keep_granular": True}
    together = model.attribute(inputs, outputs, **call)

    for i in range(3):
        alone = model.attribute(inputs[i], outputs[i], **call)[0]
        np.testing.assert_allclose(
            together[i].target_attributions, alone.target_attributions, rtol=1e-5, atol=1e-8, equal_nan=True
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_sum_in_half_precision_weighs_steps_as_they_are(load, texts, dtype):
    """Each step's cotangent is scaled on its way, so that it does not underflow: the sum needs one scale."""
    half, single = load("gpt2", dtype=dtype), load("gpt2", dtype=torch.float32)
    call = {"method": "saliency", "abs": False, "steps": "sum", "keep_granular": True}
    inputs, outputs, _ = texts(half)
    for a, b in zip(
        half.attribute(inputs, outputs, **call), single.attribute(inputs, outputs, **call), strict=True
    ):
        x, y = (r.target_attributions[~np.isnan(r.target_attributions)] for r in (a, b))
        assert np.abs(x - y).max() < 0.1 * np.abs(y).max()  # 8 bits of mantissa through two layers


def test_a_sum_shows_what_it_is_of_and_its_step_scores_follow(load, texts):
    """One column at the last position; probabilities of a span are multiplied, entropies added."""
    model = load("gpt2")
    call = {"method": "saliency", "step_scores": ["probability", "entropy"]}
    each = model.attribute("Hello ladies", "Hello ladies and gentlemen", **call)[0]
    summed = model.attribute("Hello ladies", "Hello ladies and gentlemen", steps="sum", **call)[0]

    assert str(summed.target[-1]) == "Σ and gentlemen" and summed.target[:-1] == each.target[:-1]
    assert summed.step_scores["probability"][0] == pytest.approx(
        each.step_scores["probability"].prod(), rel=1e-5
    )
    assert summed.step_scores["entropy"][0] == pytest.approx(each.step_scores["entropy"].sum(), rel=1e-5)


def test_a_sum_over_a_span_is_asked_for_by_positions_or_by_text(load):
    """Three ways to say which steps."""
    model = load("gpt2")
    text = ("Hello ladies", "Hello ladies and gentlemen, welcome")
    call = {"method": "saliency", "keep_granular": True}
    (whole,) = model.attribute(*text, method="dummy", attribute_span="gentlemen")
    start, end = whole.attr_pos_start, whole.attr_pos_end
    found = [
        model.attribute(*text, steps="sum", attr_pos_start=start, attr_pos_end=end, **call)[0],
        model.attribute(*text, steps=(start, end), **call)[0],
        model.attribute(*text, steps="sum", attribute_span="gentlemen", **call)[0],
    ]

    assert end - start > 1
    assert found[0] == found[1] == found[2]
    assert str(found[0].target[end - 1]) == "Σ gentlemen"


def test_a_sum_of_differences_shows_both_sides_of_it(load):
    """What was written, and what it is compared with."""
    (result,) = load("gpt2").attribute(
        "Hello ladies",
        "Hello ladies and gentlemen",
        method="saliency",
        steps="sum",
        attributed_fn="contrast_prob_diff",
        contrast_targets="Hello ladies and children",
    )

    assert str(result.target[-1]).startswith("Σ Ġand") and "→" in str(result.target[-1])


@pytest.mark.parametrize("method", ["attention", "grad_x_attention", "value_zeroing"])
def test_methods_that_look_at_the_position_of_a_step_refuse_sums(load, method):
    """There is no one position that a sum is predicted from."""
    with pytest.raises(errors.CapabilityError, match=r"steps = 'sum'(.|\n)*saliency"):
        load("gpt2").attribute("Hello", "Hello ladies", method=method, steps="sum")


@pytest.mark.parametrize("steps", ["all", 3, (1,), (1, 2, 3), ("a", "b"), None])
def test_what_is_no_way_to_explain_steps_is_refused(load, steps):
    """With what there is."""
    with pytest.raises(errors.InvalidArgumentError, match="'each', 'sum'"):
        load("gpt2").attribute("Hello", "Hello ladies", method="saliency", steps=steps)


def test_positions_of_a_sum_and_positions_beside_it_are_refused(load):
    """Which would count?"""
    with pytest.raises(errors.InvalidArgumentError, match="steps"):
        load("gpt2").attribute("Hello", "Hello ladies", method="saliency", steps=(1, 2), attr_pos_start=1)
