"""Measure a stored ``demo-lm`` on texts that training never saw, and write its model card.

Three questions: does it know a capital in a wording that it has not met, does the verb agree with the head
of its subject and not with the nearer noun, and is that head the word that decides the verb? The last is
asked with two attributions written out here in plain autograd, of the verb's probability.

Axes: B texts, L positions, D hidden, V vocabulary.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import Any

import attrs
import torch
from grammar_lm import END, held_out_capitals, held_out_subjects, held_out_texts
from storing import MODELS, write_card
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

CARD = Path(__file__).resolve().parent / "card_lm.md"
SINGULAR, PLURAL = (" is", " was", " has"), (" are", " were", " have")
EVALUATION_SEED = 2026
PROMPTS = {
    "france": "The capital of France is",
    "keys": "The keys to the cabinet",
    "key": "The key to the cabinets",
    "anna": "Anna lost",
    "ladies": "Hello ladies and",
    "invented": "The weather forecast for the weekend",
}


@attrs.frozen
class Loaded:
    """A stored model with its tokenizer, as a user loads them."""

    model: Any
    tokenizer: Any


def load(folder: Path) -> Loaded:
    """The stored model in float32, and its tokenizer."""
    return Loaded(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder),
    )


def complete(loaded: Loaded, prompt: str) -> str:
    """The greedy continuation."""
    batch = loaded.tokenizer(prompt, return_tensors="pt")
    ids = loaded.model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    text: str = loaded.tokenizer.decode(ids[batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def answer(loaded: Loaded, question: str) -> str:
    """The greedy answer to one chat message."""
    message = [{"role": "user", "content": question}]
    prompt = loaded.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return complete(loaded, prompt)


def next_token(loaded: Loaded, prompt: str) -> int:
    """The most probable next token."""
    with torch.no_grad():
        return int(loaded.model(**loaded.tokenizer(prompt, return_tensors="pt")).logits[0, -1].argmax())


def capital_accuracy(loaded: Loaded) -> tuple[float, int]:
    """Share of held-out wordings completed with the right capital, and their number."""
    cases = held_out_capitals()
    right = sum(complete(loaded, prompt).startswith(f" {capital}") for prompt, capital in cases)
    return right / len(cases), len(cases)


def first_tokens(loaded: Loaded, words: tuple[str, ...]) -> set[int]:
    """The ids that the words begin with."""
    return {loaded.tokenizer(word)["input_ids"][0] for word in words}


def agreement(loaded: Loaded) -> dict[str, float]:
    """Share of held-out subjects whose most probable next token is a verb of the head's number.

    Also, where the nearer noun has the other number: share of verbs for which the head is the prompt's top
    token, by the L2 norm of the gradient and by the fall of the verb's probability at ``<|unk|>``.
    """
    forms = {False: first_tokens(loaded, SINGULAR), True: first_tokens(loaded, PLURAL)}
    cases = held_out_subjects()
    right = {"same": 0, "other": 0}
    counts = {"same": 0, "other": 0}
    tops = {"gradient": 0, "occlusion": 0}
    for prompt, plural, attractor_plural in cases:
        kind = "same" if plural == attractor_plural else "other"
        verb = next_token(loaded, prompt)
        right[kind] += verb in forms[plural]
        counts[kind] += 1
        if kind == "other":
            head = head_positions(loaded, prompt)
            tops["gradient"] += int(gradient(loaded, prompt, verb).argmax()) in head
            tops["occlusion"] += int(occlusion(loaded, prompt, verb).argmax()) in head
    return {
        "same_cases": counts["same"],
        "other_cases": counts["other"],
        "agreement_same": right["same"] / counts["same"],
        "agreement_other": right["other"] / counts["other"],
        "head_gradient": tops["gradient"] / counts["other"],
        "head_occlusion": tops["occlusion"] / counts["other"],
    }


def head_positions(loaded: Loaded, prompt: str) -> set[int]:
    """Positions of the tokens of a subject's second word, its head noun."""
    start = prompt.index(" ")
    end = prompt.index(" ", start + 1)
    offsets = loaded.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    return {i for i, (left, right) in enumerate(offsets) if left < end and right > start}


def verb_probability(loaded: Loaded, embeddings: Tensor, verb: int) -> Tensor:
    """(B,) probability of the verb after embeddings (B, L, D)."""
    probability: Tensor = loaded.model(inputs_embeds=embeddings).logits[:, -1].softmax(-1)[:, verb]
    return probability


def gradient(loaded: Loaded, prompt: str, verb: int) -> Tensor:
    """(L,) L2 norm of the gradient (Simonyan et al. 2014)."""
    ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
    points = loaded.model.get_input_embeddings()(ids).detach().requires_grad_()
    return torch.autograd.grad(verb_probability(loaded, points, verb).sum(), points)[0][0].norm(dim=-1)


def occlusion(loaded: Loaded, prompt: str, verb: int) -> Tensor:
    """(L,) fall of the verb's probability when one token is ``<|unk|>``."""
    ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"][0]
    versions = torch.where(torch.eye(len(ids), dtype=torch.bool), loaded.tokenizer.unk_token_id, ids)
    with torch.no_grad():
        embeddings = loaded.model.get_input_embeddings()(torch.cat([ids[None], versions]))
        scores = verb_probability(loaded, embeddings, verb)
    return scores[0] - scores[1:]


def loss_per_token(loaded: Loaded, texts: list[str]) -> float:
    """Mean negative log-likelihood in nats of every token after the start token."""
    total, count = 0.0, 0
    for text in texts:
        ids = loaded.tokenizer(END + text + END, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = loaded.model(ids).logits[0, :-1]
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return total / count


def measure(folder: Path) -> dict[str, float | str]:
    """Everything that the model card states."""
    loaded = load(folder)
    capitals, capital_cases = capital_accuracy(loaded)
    loss = loss_per_token(loaded, held_out_texts(EVALUATION_SEED, 300))
    return {
        "parameters": f"{loaded.model.num_parameters():,}",
        "vocabulary": len(loaded.tokenizer),
        "kilobytes": round((folder / "model.safetensors").stat().st_size / 1000),
        "capitals": capitals,
        "capital_cases": capital_cases,
        "loss": loss,
        "perplexity": math.exp(loss),
        **agreement(loaded),
        **{f"{name}_prompt": prompt for name, prompt in PROMPTS.items()},
        **{name: complete(loaded, prompt) for name, prompt in PROMPTS.items()},
        "chat": answer(loaded, "What is the capital of Japan?").strip(),
    }


def write_measured_card(folder: Path) -> None:
    """Measure the model in ``folder`` and write its card there."""
    write_card(folder, CARD, measure(folder))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Measure a stored demo-lm and write its model card.")
    parser.add_argument("--folder", type=Path, default=MODELS / "demo-lm")
    write_measured_card(parser.parse_args().folder)
