from __future__ import annotations

import numpy as np
import pytest
import torch

ONE_OF_EACH = ("gpt2", "llama", "t5", "marian")
PLAIN = (
    "logit",
    "probability",
    "entropy",
    "crossentropy",
    "perplexity",
    "surprisal",
    "rank",
    "margin",
    "top_p_size",
)
CONTRASTS = (
    "contrast_logits",
    "contrast_prob",
    "contrast_logits_diff",
    "contrast_prob_diff",
    "pcxmi",
    "in_context_pvi",
    "kl_divergence",
)


def own_logits(model, result):
    """(T, V) logits of the model itself, called once with the whole text as its documentation says."""
    ids = torch.tensor([[t.id for t in result.target]])
    with torch.no_grad():
        if model.is_encoder_decoder:
            source = torch.tensor([[t.id for t in result.source]])
            logits = model.model(input_ids=source, decoder_input_ids=ids).logits[0]
        else:
            logits = model.model(input_ids=ids).logits[0]
    return logits[result.attr_pos_start - 1 : result.attr_pos_end - 1].numpy()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_function_is_its_formula_on_the_model_s_own_logits(load, texts, name):
    """Padded together; the formulas by numpy, from one unpadded pass a text of the model itself."""
    model = load(name)
    inputs, outputs, _ = texts(model)
    for result in model.attribute(inputs, outputs, method="dummy", step_scores=list(PLAIN)):
        z = own_logits(model, result)
        y = [t.id for t in result.step_tokens]
        rows = np.arange(len(y))
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        others = p.copy()
        others[rows, y] = 0
        expected = {
            "logit": z[rows, y],
            "probability": p[rows, y],
            "entropy": -(p * np.log(np.where(p > 0, p, 1))).sum(1),
            "crossentropy": -np.log(p[rows, y]),
            "perplexity": np.exp(-np.log(p[rows, y])),
            "surprisal": -np.log2(p[rows, y]),
            "rank": 1 + (z > z[rows, y][:, None]).sum(1),
            "margin": p[rows, y] - others.max(1),
            "top_p_size": [(np.cumsum(np.sort(row)[::-1]) < 0.9).sum() + 1 for row in p],
        }
        for function, values in expected.items():
            # results are stored as float32
            np.testing.assert_allclose(result.step_scores[function], values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_function_gives_a_text_alone_what_it_gives_it_in_a_batch(load, texts, name):
    """Different lengths, so that there is padding; all functions, contrasts included, in any batch size."""
    model = load(name)
    inputs, outputs, others = texts(model)
    arguments = {
        "method": "dummy",
        "step_scores": [*PLAIN, *CONTRASTS],
        "contrast_targets_alignments": "auto",
        "top_k": 20,
    }
    alone = [
        model.attribute(i, o, contrast_targets=c, **arguments)[0]
        for i, o, c in zip(inputs, outputs, others, strict=True)
    ]
    for size in (None, 2):
        together = model.attribute(inputs, outputs, contrast_targets=others, batch_size=size, **arguments)
        for a, b in zip(alone, together, strict=True):
            for function in a.step_scores:
                # float64 of other shapes, stored as float32
                np.testing.assert_allclose(
                    a.step_scores[function], b.step_scores[function], rtol=1e-5, atol=1e-7, err_msg=function
                )


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_identities_between_functions_hold(load, texts, name):
    """exp of a log-probability, bits and nats, ratios and differences."""
    model = load(name)
    inputs, outputs, others = texts(model)
    results = model.attribute(
        inputs,
        outputs,
        method="dummy",
        step_scores=[*PLAIN, *CONTRASTS],
        contrast_targets=others,
        contrast_targets_alignments="auto",
    )
    logs = model.attribute(inputs, outputs, method="dummy", step_scores="probability", logprob=True)
    for result, log in zip(results, logs, strict=True):
        s = {k: v.astype(np.float64) for k, v in result.step_scores.items()}
        pairs = [
            (np.exp(log.step_scores["probability"]), s["probability"]),
            (1 / s["perplexity"], s["probability"]),
            (s["crossentropy"] / np.log(2), s["surprisal"]),
            (s["contrast_prob_diff"], s["probability"] - s["contrast_prob"]),
            (s["contrast_logits_diff"], s["logit"] - s["contrast_logits"]),
            (s["pcxmi"], -np.log2(s["probability"] / s["contrast_prob"])),
            (s["in_context_pvi"], s["pcxmi"] * np.log(2)),
        ]
        for a, b in pairs:
            np.testing.assert_allclose(
                a, b, rtol=1e-4, atol=1e-5
            )  # stored as float32, ratios of small numbers
        assert (s["rank"] == 1).tolist() == (s["margin"] >= 0).tolist()
        assert (s["kl_divergence"] >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models_give_finite_functions_near_those_of_single_precision(load, texts, dtype):
    """Sums over the vocabulary are taken in float32 whatever the model computes in."""
    half, single = load("gpt2", dtype=dtype), load("gpt2", dtype=torch.float32)
    inputs, outputs, others = texts(half)
    arguments = {"method": "dummy", "step_scores": ["entropy", "kl_divergence"], "contrast_targets": others}
    for a, b in zip(
        half.attribute(inputs, outputs, contrast_targets_alignments="auto", **arguments),
        single.attribute(inputs, outputs, contrast_targets_alignments="auto", **arguments),
        strict=True,
    ):
        for function, values in a.step_scores.items():
            np.testing.assert_allclose(
                values, b.step_scores[function], rtol=0.1, atol=0.05
            )  # 8 bits of mantissa
