from __future__ import annotations

import numpy as np
import pytest
import torch

from inseq_core import errors

BOTH = ("gpt2", "bart")
"""One drops by modules, the other by functions that ask their module's mode."""


def scores(model, inputs, outputs=None, **arguments):
    """Mean probabilities of every text."""
    results = model.attribute(inputs, outputs, method="dummy", step_scores="mc_dropout_prob_avg", **arguments)
    return [result.step_scores["mc_dropout_prob_avg"] for result in results]


@pytest.mark.parametrize("name", BOTH)
def test_the_mean_over_samples_is_near_what_the_model_itself_gives_in_training(load, texts, name):
    """Many unseeded samples of the model itself against many of ours: two means of the same distribution."""
    model = load(name)
    inputs, outputs, _ = texts(model, 1)
    result = model.attribute(
        inputs, outputs, method="dummy", step_scores="mc_dropout_prob_avg", n_mcd_steps=400
    )[0]
    n = 400
    ids = torch.tensor([[t.id for t in result.target]] * n)
    network = model.model
    network.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(123)
            if model.is_encoder_decoder:
                source = torch.tensor([[t.id for t in result.source]] * n)
                logits = network(input_ids=source, decoder_input_ids=ids).logits
            else:
                logits = network(input_ids=ids).logits
    finally:
        network.eval()
    steps = range(result.attr_pos_start, result.attr_pos_end)
    p = torch.stack([logits[:, s - 1].softmax(-1)[:, ids[0, s]] for s in steps], dim=1).numpy()
    error = p.std(0) * np.sqrt(2 / n)

    difference = result.step_scores["mc_dropout_prob_avg"] - p.mean(0)
    assert (np.abs(difference) < 5 * error + 1e-7).all()  # five standard errors


@pytest.mark.parametrize("name", BOTH)
def test_a_text_gets_the_same_samples_alone_and_in_a_batch(load, texts, name):
    """Draws are the text's own, seeded by the call: whoever else is there, they stay."""
    model = load(name)
    inputs, outputs, _ = texts(model)
    together = scores(model, inputs, outputs)

    for i in range(3):
        np.testing.assert_allclose(scores(model, inputs[i], outputs[i])[0], together[i], rtol=1e-6)
    for size in (1, 2):
        again = scores(model, inputs, outputs, batch_size=size)
        for a, b in zip(again, together, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_another_seed_draws_other_samples(load, texts):
    """The same seed the same ones."""
    model = load("gpt2")
    inputs, outputs, _ = texts(model, 1)
    first, same, other = (scores(model, inputs, outputs, seed=seed)[0] for seed in (0, 0, 1))

    np.testing.assert_array_equal(first, same)
    assert (first != other).all()


def test_the_model_and_the_global_generator_are_as_they_were(load, texts):
    """The peer leaves the model in training mode."""
    model = load("gpt2")
    inputs, outputs, _ = texts(model)
    state = torch.get_rng_state()
    before = model.attribute(inputs, outputs, method="dummy", step_scores="probability")
    scores(model, inputs, outputs)

    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in model.model.modules())
    after = model.attribute(inputs, outputs, method="dummy", step_scores="probability")
    assert list(before) == list(after)


def test_more_samples_settle_and_logarithms_are_of_the_mean(load, texts):
    """A mean of probabilities, not a z-score: between 0 and 1, and its logarithm with logprob=True."""
    model = load("gpt2")
    inputs, outputs, _ = texts(model, 1)
    p, log_p = (scores(model, inputs, outputs, logprob=flag)[0] for flag in (False, True))

    assert ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-5)


def test_versions_of_a_text_are_compared_on_the_same_draws(load, texts):
    """What a token contributes to the mean is not drowned by different noise in the two."""
    model = load("gpt2")
    inputs, outputs, _ = texts(model, 2)
    call = {"method": "leave_out", "attributed_fn": "mc_dropout_prob_avg"}
    together = model.attribute(inputs, outputs, **call)
    alone = model.attribute(inputs[1], outputs[1], **call)[0]

    np.testing.assert_allclose(
        together[1].target_attributions, alone.target_attributions, rtol=1e-5, atol=1e-9, equal_nan=True
    )


def test_a_model_without_dropout_is_refused_before_it_works(load):
    """All samples would be equal, and their mean look like an estimate."""
    model = load("llama")
    counts = dict(model.adapter.counts)

    with pytest.raises(errors.CapabilityError, match="has no dropout"):
        scores(model, "Hello", "Hello ladies")
    assert dict(model.adapter.counts) == counts


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "5"])
def test_what_is_no_number_of_samples_is_refused(load, n):
    """With the value."""
    with pytest.raises(errors.InvalidArgumentError, match="n_mcd_steps"):
        scores(load("gpt2"), "Hello", "Hello ladies", n_mcd_steps=n)


def test_gradient_methods_cannot_explain_samples(load):
    """The functions that they can are listed."""
    with pytest.raises(errors.CapabilityError, match=r"mc_dropout_prob_avg(.|\n)*differentiable"):
        load("gpt2").attribute(
            "Hello", "Hello ladies", method="saliency", attributed_fn="mc_dropout_prob_avg"
        )
