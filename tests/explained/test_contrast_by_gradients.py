from __future__ import annotations

import numpy as np
import pytest
import torch

import inseq
from inseq_core import errors
from inseq_core.hooks import methods

BOTH = ("gpt2", "marian")


ARGUMENTS = {
    "integrated_gradients": {"n_steps": 2},
    "sequential_integrated_gradients": {"n_steps": 2},
    "discretized_integrated_gradients": {"n_steps": 2},
    "reagent": {"max_probe_steps": 2, "num_probes": 1},
    "context_cite": {"scale": "none", "n_samples": 8},
    "lime": {"n_samples": 8},
    "kernel_shap": {"n_samples": 8},
    "shapley": {"n_samples": 2},
}
"""Little work, or what a difference of probabilities needs."""


def scores_of(model, function, inputs, outputs, method="saliency", **arguments):
    """Signed granular scores of every text, both sides."""
    if method == "saliency":
        arguments = {"abs": False, **arguments}
    results = model.attribute(
        inputs,
        outputs,
        method=method,
        attributed_fn=function,
        attribute_target=model.is_encoder_decoder,
        keep_granular=True,
        **arguments,
    )
    sides = [(r.source_attributions, r.target_attributions) for r in results]
    return [[s for s in pair if s is not None] for pair in sides]


def assert_same(a, b, rtol=1e-5, atol=1e-9):
    """Every text, every side."""
    for x, y in zip(a, b, strict=True):
        for p, q in zip(x, y, strict=True):
            np.testing.assert_allclose(p, q, rtol=rtol, atol=atol, equal_nan=True)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("difference", "own", "other"),
    [
        ("contrast_logits_diff", "logit", "contrast_logits"),
        ("contrast_prob_diff", "probability", "contrast_prob"),
    ],
)
def test_the_gradient_of_a_difference_is_the_difference_of_gradients(
    load, texts, name, difference, own, other
):
    """Both tokens are read from one pass over the text's own prefix."""
    model = load(name)
    inputs, outputs, others = texts(model)
    contrast = {"contrast_targets": others, "contrast_targets_alignments": "auto"}
    whole = scores_of(model, difference, inputs, outputs, **contrast)
    first = scores_of(model, own, inputs, outputs)
    second = scores_of(model, other, inputs, outputs, **contrast)

    expected = [[p - q for p, q in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)]
    assert_same(whole, expected, atol=1e-6)  # float32 differences of float32 scores


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "function", ["contrast_logits_diff", "contrast_prob_diff", "pcxmi", "in_context_pvi"]
)
def test_a_text_against_itself_has_gradients_of_exactly_zero(load, texts, name, function):
    """Not nearly zero: normalised, noise would look like an explanation."""
    model = load(name)
    inputs, outputs, _ = texts(model)
    for sides in scores_of(model, function, inputs, outputs, contrast_targets=outputs):
        for side in sides:
            assert (side[~np.isnan(side)] == 0).all()


@pytest.mark.parametrize("name", BOTH)
def test_a_forced_contrast_is_a_constant_to_gradients(load, texts, name):
    """The contrast's answer does not depend on the text that is explained."""
    model = load(name)
    inputs, outputs, others = texts(model)
    forced = scores_of(
        model,
        "contrast_prob_diff",
        inputs,
        outputs,
        contrast_targets=others,
        contrast_targets_alignments="auto",
        contrast_force_inputs=True,
    )

    assert_same(forced, scores_of(model, "probability", inputs, outputs))


def test_the_gradient_of_a_divergence_is_that_of_its_formula(load, texts):
    """Autograd on one text's embeddings, through the model itself, with p′ from another unpadded pass."""
    model = load("gpt2")
    inputs, outputs, others = texts(model)
    found = scores_of(
        model,
        "kl_divergence",
        inputs,
        outputs,
        contrast_targets=others,
        contrast_targets_alignments="auto",
        contrast_force_inputs=True,
    )
    notes = model.attribute(
        inputs, outputs, method="dummy", step_scores="pcxmi", contrast_targets=others,
        contrast_targets_alignments="auto",
    ).info.notes  # fmt: skip
    network, tokenizer = model.model, model.tokenizer
    for (target,), output, other, pairs in zip(found, outputs, others, notes["alignments"], strict=True):
        ids, contrast = (torch.tensor([tokenizer(text)["input_ids"]]) for text in (output, other))
        with torch.no_grad():
            q = network(input_ids=contrast).logits[0].log_softmax(-1)
        embeddings = network.get_input_embeddings()(ids).detach().requires_grad_()
        log_p = network(inputs_embeds=embeddings).logits[0].log_softmax(-1)
        for k, (s, c) in enumerate(pairs):
            value = (log_p[s - 1].exp() * (log_p[s - 1] - q[c - 1])).sum()
            (gradient,) = torch.autograd.grad(value, embeddings, retain_graph=True)
            np.testing.assert_allclose(target[:s, k], gradient[0, :s].numpy(), rtol=1e-4, atol=1e-8)


def applies(method, model):
    """Methods that run on the model without being told more."""
    spec = methods().get(method).spec
    return spec.needs <= model.adapter.capabilities and not spec.variants


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("method", inseq.list_feature_attribution_methods())
def test_every_method_explains_contrasts_of_a_batch_as_of_texts_alone(load, texts, name, method):
    """The peer's contrasts work for one text, and for methods that do not expand their inputs."""
    model = load(name)
    if not applies(method, model) or method in ("leave_out", "dummy"):
        pytest.skip("it needs more than the model, or scores nothing")
    inputs, outputs, others = texts(model, 2)
    call = {
        "method": method,
        "attributed_fn": "contrast_prob_diff",
        "contrast_targets_alignments": "auto",
        "show_progress": False,
        **ARGUMENTS.get(method, {}),
    }
    together = model.attribute(inputs, outputs, contrast_targets=others, **call)
    for i, result in enumerate(together):
        alone = model.attribute(inputs[i], outputs[i], contrast_targets=others[i], **call)[0]
        assert result.target == alone.target and any("→" in str(t) for t in result.target)
        for side in ("source_attributions", "target_attributions"):
            a, b = getattr(result, side), getattr(alone, side)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.nanmax(np.abs(b)), equal_nan=True)


# -- what is refused ---------------------------------------------------------------------------------


def test_a_function_that_detaches_the_graph_is_named(load):
    """Its gradient would be nothing at all."""

    def detached(args):
        return args.logits.detach()[:, 0]

    with pytest.raises(errors.CapabilityError, match="'detached' detaches the graph"):
        load("gpt2").attribute("Hello", "Hello ladies", method="saliency", attributed_fn=detached)


def test_a_registered_function_without_a_derivative_is_refused_before_the_model_works(load):
    """With the functions that have one."""
    model = load("gpt2")
    with pytest.raises(errors.CapabilityError, match=r"derivative of 'rank'(.|\n)*probability"):
        model.attribute("Hello", "Hello ladies", method="saliency", attributed_fn="rank")


@pytest.mark.parametrize("method", ["dummy", "saliency"])
def test_a_function_that_changes_logits_in_place_is_stopped(load, method):
    """Other functions, and the gradient, read the same memory."""

    def masks(args):
        args.logits[:, 0] = -1e9
        return args.logits.log_softmax(-1)[:, 1]

    arguments = {"step_scores": [masks]} if method == "dummy" else {"attributed_fn": masks}
    with pytest.raises(errors.StepFunctionError, match="'masks'"):
        load("gpt2").attribute("Hello", "Hello ladies", method=method, **arguments)


def test_a_function_that_leaves_the_model_in_training_mode_does_no_harm(load):
    """The peer's dropout score does; every result after it is noise."""
    model = load("gpt2")

    def careless(args):
        args.attribution_model.model.train()
        return args.logits[:, 0]

    before = model.attribute("Hello", "Hello ladies", method="dummy", step_scores="probability")
    model.attribute("Hello", "Hello ladies", method="dummy", step_scores=[careless, "probability"])
    model.attribute("Hello", "Hello ladies", method="saliency", attributed_fn=careless)

    assert not any(module.training for module in model.model.modules())
    after = model.attribute("Hello", "Hello ladies", method="dummy", step_scores="probability")
    assert before[0] == after[0]


def test_a_nan_of_an_explained_function_names_it_under_gradients_too(load):
    """The attribution is NaN because the function is."""

    def undefined(args):
        return (args.logits[:, 0] * 0).log()

    with pytest.raises(errors.NonFiniteScoreError, match="attributed function 'undefined'"):
        load("gpt2").attribute("Hello", "Hello ladies", method="saliency", attributed_fn=undefined)
