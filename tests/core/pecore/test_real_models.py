from __future__ import annotations

import numpy as np
import pytest

from inseq_core.model import load_model
from inseq_core.pecore import attribute_context

torch = pytest.importorskip("torch")
pytest.importorskip("inseq_demo")
pytest.importorskip("inseq_captum")


@pytest.fixture(scope="module")
def translator():
    """English to French; who is feminine is said by a pronoun."""
    return load_model("demo-en-fr", "saliency")


@pytest.fixture(scope="module")
def lm():
    """A small English model."""
    return load_model("demo-lm", "saliency")


CLAUSE = {
    "input_current_text": "The developer argued with the designer",
    "input_template": "{current} {context}",
    "contextless_input_current_text": "{current}.",
    "attributed_fn": "contrast_prob_diff",
    "context_sensitivity_std_threshold": None,
}


def article(translator, pronoun):
    """What is found for the article of the designer, whose gender the clause decides."""
    out = attribute_context(
        translator, input_context_text=f"because {pronoun} idea cannot be implemented.", **CLAUSE
    )
    words = [token.strip("▁") for token in out.output_current_tokens]
    place = words.index("avec") + 1
    return out, next(c for c in out.cci_scores if c.cti_idx == place)


def test_the_pronoun_of_the_context_is_the_cue_of_the_article(translator):
    """Without the clause the designer is masculine; "her" makes her feminine, and is what is found."""
    out, cci = article(translator, "her")

    assert (cci.cti_token, cci.contrast_token) == ("▁la", "▁le")
    assert (
        cci.cti_score > 1 > max(out.cti_scores[: cci.cti_idx])
    )  # words before it do not depend on the clause
    assert out.cues(cci)[0].token == "▁her"
    assert cci.contextless_output.endswith("avec le") and cci.contextual_output.endswith("avec la")


def test_where_the_context_changes_nothing_the_article_does_not_stand_out(translator):
    """ "His" says what the model takes for granted anyway."""
    _, feminine = article(translator, "her")
    _, masculine = article(translator, "his")

    assert masculine.cti_token == "▁le"
    assert masculine.cti_score < feminine.cti_score / 10


def log_probabilities(model, source, target):
    """(L, V) of plain calls, one for each target prefix of an encoder–decoder or decoder-only model."""
    with torch.no_grad():
        if source is None:
            logits = model.model(input_ids=torch.tensor([target])).logits[0]
        else:
            logits = model.model(
                input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])
            ).logits[0]
    return torch.log_softmax(logits.double(), dim=-1).numpy()


def divergence(p, q):
    """KL(p ‖ q) of each row of ln p and ln q, in nats."""
    return (np.exp(p) * (p - q)).sum(-1)


def test_cti_of_a_translator_equals_plain_calls_of_the_model(translator):
    """Tokenizer and model by themselves: the full sentence, and the sentence without the clause."""
    context, french = (
        "because her idea cannot be implemented.",
        "Le développeur s'est disputé avec la conceptrice",
    )
    out = attribute_context(translator, input_context_text=context, output_current_text=french, **CLAUSE)

    tokenizer = translator.tokenizer
    target = tokenizer(text_target=french).input_ids[:-1]
    start = [translator.model.config.decoder_start_token_id, *target[:-1]]
    with_context = tokenizer(f"{CLAUSE['input_current_text']} {context}").input_ids
    without = tokenizer(f"{CLAUSE['input_current_text']}.").input_ids
    expected = divergence(
        log_probabilities(translator, with_context, start), log_probabilities(translator, without, start)
    )
    # float32 sums over a few hundred words
    np.testing.assert_allclose(out.cti_scores, expected, rtol=1e-3, atol=1e-5)


def test_cti_of_a_language_model_equals_plain_calls_of_the_model(lm):
    """Spaces belong to the words behind them: the same ids follow both prompts."""
    out = attribute_context(
        lm,
        "The capital of",
        "My friend lives in France.",
        output_current_text="France is Paris.",
        attributed_fn="logit",
        context_sensitivity_std_threshold=None,
    )

    tokenizer = lm.tokenizer
    current = tokenizer(" France is Paris.", add_special_tokens=False).input_ids
    prompts = [
        [*lm.adapter.encode_input(text).ids]
        for text in ("My friend lives in France. The capital of", "The capital of")
    ]
    p, q = (log_probabilities(lm, None, [*prompt, *current])[len(prompt) - 1 : -1] for prompt in prompts)
    assert len(out.cti_scores) == len(current)
    np.testing.assert_allclose(out.cti_scores, divergence(p, q), rtol=1e-3, atol=1e-5)


def test_cci_of_a_gradient_method_is_the_gradient_of_the_difference(lm):
    """Saliency of z_y − z_c by one plain backward pass from the embeddings of the whole prompt."""
    context, current = "My friend lives in France.", "The capital of"
    out = attribute_context(
        lm,
        current,
        context,
        output_current_text="France is",
        attributed_fn="contrast_logits_diff",
        context_sensitivity_std_threshold=None,
        context_sensitivity_topk=1,
        contextless_output_next_tokens=["Spain"],
    )

    (cci,) = out.cci_scores
    whole = lm.tokenizer(f"{context} {current} France is", add_special_tokens=False).input_ids
    ids = [*lm.adapter.encode_input(f"{context} {current}").ids]
    ids += whole[len(lm.tokenizer(f"{context} {current}", add_special_tokens=False).input_ids) :]
    position = len(ids) - len(out.output_current_tokens) + cci.cti_idx
    other = lm.tokenizer(" Spain", add_special_tokens=False).input_ids[0]
    embedded = lm.model.get_input_embeddings()(torch.tensor([ids[:position]])).detach().requires_grad_()
    z = lm.model(inputs_embeds=embedded).logits[0, -1]
    (z[ids[position]] - z[other]).backward()
    expected = embedded.grad[0].norm(dim=-1).numpy()
    first = len(ids) - len(whole)
    np.testing.assert_allclose(
        cci.input_context_scores, expected[first : first + len(out.input_context_tokens)], rtol=1e-4
    )
