"""Encoder–decoder mixtures of experts: their decoders ask for more than every encoder's output has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_models import tiny_tokenizer

import inseq


@pytest.fixture(scope="module")
def lm():
    """NLLB as a mixture of experts."""
    import transformers as hf

    tokenizer = tiny_tokenizer("unigram_eos")
    config = hf.NllbMoeConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_sparse_step=2,
        decoder_sparse_step=2,
        num_experts=3,
        expert_capacity=64,
        init_std=0.25,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.NllbMoeForConditionalGeneration(config).eval()
    return inseq.load_model(model, "saliency", tokenizer=tokenizer)


@pytest.mark.parametrize("method", ["saliency", "attention", "occlusion"])
def test_every_kind_of_method_runs(lm, method):
    """Scores are the model's: the probability of each step is that of a plain call."""
    out = lm.attribute(
        "she likes it", "he is", method=method, step_scores=["probability"], show_progress=False
    )[0]
    source = torch.tensor([[token.id for token in out.source]])
    target = [token.id for token in out.target]
    with torch.no_grad():
        logits = lm.adapter.model(input_ids=source, decoder_input_ids=torch.tensor([target[:-1]])).logits[0]
    start = out.attr_pos_start
    expected = logits.softmax(-1)[start - 1 :].gather(1, torch.tensor(target[start:])[:, None])[:, 0]
    np.testing.assert_allclose(out.step_scores["probability"], expected, rtol=1e-4)
    assert np.isfinite(out.source_attributions).all()
