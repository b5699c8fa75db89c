"""Models in which the rows of a pass change each other's numbers: int8 activations that share one scale."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from support.tiny_models import tiny_model

import inseq
from inseq_core.errors import ApproximationWarning

PROMPT, TEXT = "she likes the red dog", "she likes the red dog because it is small"


@pytest.fixture
def lm():
    """A quantised model."""
    model, tokenizer = tiny_model("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(
            copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8
        )
        return inseq.load_model(quantised, "leave_one_out", tokenizer=tokenizer)


def probability(lm, ids, position):
    """Of a token, on what stands before it and nothing else."""
    with torch.no_grad():
        logits = lm.adapter.model(input_ids=torch.tensor([ids[:position]]), use_cache=False).logits[0, -1]
    return float(logits.softmax(-1)[ids[position]])


def test_every_version_and_step_is_run_alone(lm):
    """Anything else would be said to be right, and would not be."""
    with pytest.warns(ApproximationWarning, match="each is run alone"):
        out = lm.attribute(PROMPT, TEXT, step_scores=["probability"], show_progress=False)[0]
    ids = [token.id for token in out.target]
    unk = lm.adapter.tokenizer.unk_token_id
    for t in range(out.n_steps):
        position = out.attr_pos_start + t
        assert out.step_scores["probability"][t] == pytest.approx(probability(lm, ids, position), rel=1e-5)
        expected = [
            probability(lm, ids, position)
            - probability(lm, [unk if i == k else x for i, x in enumerate(ids)], position)
            for k in range(1, position)
        ]
        np.testing.assert_allclose(out.target_attributions[1:position, t], expected, atol=1e-7)
