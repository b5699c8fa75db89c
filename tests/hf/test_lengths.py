"""Models that are others beyond some length: one pass over a long text no longer serves its prefixes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support.hf_adapters import tiny_adapter
from support.tiny_models import tiny_model

import inseq
from inseq_core.errors import ApproximationWarning

STRETCHED_FROM = 28
"""Tokens beyond which the positions of the model are stretched, the first ones too."""
PROMPT = "she likes the red dog because"


@pytest.fixture
def phi():
    """Phi 3 with rotary positions for long and for short texts, loaded anew."""
    import transformers as hf

    model, tokenizer = tiny_model("phi3")
    config = copy.deepcopy(model.config)
    width = config.hidden_size // config.num_attention_heads // 2
    config.original_max_position_embeddings = STRETCHED_FROM
    config.rope_parameters = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * width,
        "long_factor": [2.0 + i for i in range(width)],
        "original_max_position_embeddings": STRETCHED_FROM,
        "factor": 4.0,
    }
    other = hf.Phi3ForCausalLM(config).eval()
    other.load_state_dict(model.state_dict())
    return inseq.load_model(other.double(), "saliency", tokenizer=tokenizer)


def text_of(lm, length):
    """A prompt and an output of ``length`` tokens in all."""
    words = "it is a small house and he was very kind to the nurse who said that they had been sleeping"
    text = PROMPT
    for word in words.split() * 3:
        if len(lm.adapter.encode_input(text).ids) >= length:
            break
        text += f" {word}"
    assert text != PROMPT
    return text


def probability(lm, ids, position):
    """Of a token, from the model on what stands before it."""
    with torch.no_grad():
        logits = lm.adapter.model(input_ids=torch.tensor([ids[:position]]), use_cache=False).logits[0, -1]
    return float(logits.softmax(-1)[ids[position]])


def check(lm, sequence):
    """Step scores and gradients are those of every prefix alone."""
    ids = [token.id for token in sequence.target]
    start = sequence.attr_pos_start
    expected = [probability(lm, ids, start + t) for t in range(sequence.n_steps)]
    np.testing.assert_allclose(sequence.step_scores["probability"], expected, rtol=1e-5)
    embed = lm.adapter.model.get_input_embeddings()
    for t in (0, sequence.n_steps - 1):
        leaf = embed(torch.tensor([ids[: start + t]])).detach().requires_grad_()
        logits = lm.adapter.model(inputs_embeds=leaf, use_cache=False).logits[0, -1]
        (gradient,) = torch.autograd.grad(logits.softmax(-1)[ids[start + t]], leaf)
        np.testing.assert_allclose(
            sequence.target_attributions[: start + t, t], gradient[0].abs(), rtol=1e-4, atol=1e-9
        )


def test_prefixes_of_a_text_that_is_long_are_run_alone(phi):
    """With a warning; texts that are short stay as fast as before, and a second long one is not proved again."""
    short, long = text_of(phi, STRETCHED_FROM - 4), text_of(phi, STRETCHED_FROM + 6)
    keywords = {"step_scores": ["probability"], "show_progress": False}
    out = phi.attribute(PROMPT, short, **keywords)
    assert out.info.notes["counts"]["forward"] < 4
    check(phi, out[0])

    with pytest.warns(ApproximationWarning, match="not those that it has alone"):
        out = phi.attribute(PROMPT, long, **keywords)
    check(phi, out[0])

    again = phi.attribute(PROMPT, short, **keywords)
    assert again.info.notes["counts"]["forward"] < 4
    check(phi, again[0])


@pytest.mark.filterwarnings("ignore::inseq_core.errors.ApproximationWarning")
def test_a_short_text_beside_a_long_one_keeps_its_scores(phi):
    """The longest text of a batch would decide for all."""
    short, long = text_of(phi, STRETCHED_FROM - 4), text_of(phi, STRETCHED_FROM + 6)
    out = phi.attribute([PROMPT, PROMPT], [short, long], step_scores=["probability"], show_progress=False)
    for sequence in out:
        check(phi, sequence)


@pytest.mark.filterwarnings("ignore::inseq_core.errors.ApproximationWarning")
@pytest.mark.parametrize("removal", ["token", "delete"])
def test_removal_from_a_long_text_equals_the_versions_alone(phi, removal):
    """Behind no cached prefix, and deletion may make a long text short."""
    long = text_of(phi, STRETCHED_FROM + 2)
    out = phi.attribute(PROMPT, long, method="leave_one_out", removal=removal, show_progress=False)
    sequence, feature = out[0], 2
    ids = [token.id for token in sequence.target]
    unk = phi.adapter.tokenizer.unk_token_id
    for t in range(sequence.n_steps):
        position = sequence.attr_pos_start + t
        version = list(ids)
        if removal == "token":
            version[feature] = unk
        else:
            del version[feature]
        moved = position - (removal == "delete")
        expected = probability(phi, ids, position) - probability(phi, version, moved)
        assert sequence.target_attributions[feature, t] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_lengths_are_proved_once(monkeypatch):
    """On the longest text so far: what is shorter costs nothing more."""
    model, tokenizer = tiny_model("llama")
    lm = inseq.load_model(copy.deepcopy(model), "attention", tokenizer=tokenizer)
    passes = []
    usual = type(lm.adapter).run_decoder
    monkeypatch.setattr(
        type(lm.adapter),
        "run_decoder",
        lambda self, *a, **k: (passes.append(1), usual(self, *a, **k))[1],
    )

    def count(length):
        passes.clear()
        lm.attribute(PROMPT, text_of(lm, length), show_progress=False)
        return len(passes)

    count(24)
    assert count(24) == 1
    assert 1 < count(60) < 8
    assert [count(60), count(40), count(24)] == [1, 1, 1]


def test_an_encoder_that_cannot_bear_padding_has_its_texts_run_apart(monkeypatch):
    """Found on the texts themselves: two tokens of padding had not shown it."""
    adapter = copy.copy(tiny_adapter("bart"))
    lm = inseq.load_model(copy.deepcopy(adapter.model), "attention", tokenizer=adapter.tokenizer)
    usual = type(lm.adapter).run_encoder

    def fragile(self, ids, mask):
        states = usual(self, ids, mask)
        padded = (mask == 0).sum(-1) > 4
        return torch.where(padded[:, None, None], torch.full_like(states, float("nan")), states)

    monkeypatch.setattr(type(lm.adapter), "run_encoder", fragile)
    texts = ["she", "she likes the red dog because it is small and very kind to the nurse"]
    with pytest.warns(ApproximationWarning, match="right padding changes"):
        out = lm.attribute(texts, ["he is", "he was here"], show_progress=False)
    for sequence, text, output in zip(out, texts, ["he is", "he was here"], strict=True):
        alone = lm.attribute(text, output, show_progress=False)[0]
        np.testing.assert_allclose(sequence.source_attributions, alone.source_attributions, atol=1e-6)
