"""Measure a stored ``demo-en-fr`` on sentences that training never saw, and write its model card.

Two questions: does it translate them, and does it decide the gendered article by the word that a reader
would name? The second is asked with four attributions written out here in plain autograd, so that they can
disagree with the package's own. The article is the first target word that changes when the pronoun changes
its gender; what is explained is its probability.

Axes: B texts, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from grammar_en_fr import Sentence, demo_sentence, held_out_pairs, held_out_singles
from storing import MODELS, write_card
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

CARD = Path(__file__).resolve().parent / "card_en_fr.md"
ARTICLES = ("▁le", "▁la", "▁Le", "▁La", "▁au", "▁à")
EVALUATION_SEED = 2026


@attrs.frozen
class Loaded:
    """A stored model with its tokenizer, as a user loads them."""

    model: Any
    tokenizer: Any


def load(folder: Path) -> Loaded:
    """The stored model in float32, and its tokenizer."""
    return Loaded(
        AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder),
    )


def translate(loaded: Loaded, sentences: list[str], batch_size: int = 64) -> list[str]:
    """Greedy translations."""
    found: list[str] = []
    for start in range(0, len(sentences), batch_size):
        batch = loaded.tokenizer(sentences[start : start + batch_size], return_tensors="pt", padding=True)
        ids = loaded.model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        found += loaded.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return found


def exact_match(loaded: Loaded, sentences: list[Sentence]) -> float:
    """Share of the sentences whose greedy translation equals the reference."""
    translations = translate(loaded, [sentence.english for sentence in sentences])
    return sum(t == s.french for t, s in zip(translations, sentences, strict=True)) / len(sentences)


@attrs.frozen(kw_only=True)
class Decision:
    """One gendered article: source ids (S,), decoder input up to it, its id, and where the pronoun stands."""

    source: Tensor
    prefix: Tensor
    article: int
    cue: int


def decision(loaded: Loaded, sentence: Sentence) -> Decision | None:
    """Where the translation of either gender parts, if that is at an article; None if it is inside a noun."""
    source = loaded.tokenizer(sentence.english)["input_ids"]
    target = loaded.tokenizer(sentence.french)["input_ids"]
    opposite = loaded.tokenizer(sentence.opposite)["input_ids"]
    step = next((i for i, pair in enumerate(zip(target, opposite, strict=False)) if pair[0] != pair[1]), None)
    if step is None or loaded.tokenizer.convert_ids_to_tokens(target[step]) not in ARTICLES:
        return None
    return Decision(
        source=torch.tensor(source),
        prefix=torch.tensor([loaded.model.config.decoder_start_token_id, *target[:step]]),
        article=target[step],
        cue=loaded.tokenizer.convert_ids_to_tokens(source).index(f"▁{sentence.cue}"),
    )


def article_probability(loaded: Loaded, decision: Decision, embeddings: Tensor) -> Tensor:
    """(B,) probability of the article for source embeddings (B, S, D)."""
    encoder = loaded.model.get_encoder()
    encoder_outputs = encoder(inputs_embeds=embeddings * encoder.embed_scale)
    prefix = decision.prefix.expand(len(embeddings), -1)
    logits = loaded.model(encoder_outputs=encoder_outputs, decoder_input_ids=prefix).logits[:, -1]
    probability: Tensor = logits.softmax(-1)[:, decision.article]
    return probability


def gradients(loaded: Loaded, decision: Decision, embeddings: Tensor) -> Tensor:
    """(B, S, D) derivatives of the article's probability."""
    points = embeddings.detach().requires_grad_()
    return torch.autograd.grad(article_probability(loaded, decision, points).sum(), points)[0]


def embedded(loaded: Loaded, ids: Tensor) -> Tensor:
    """Embeddings of ids, before Marian's scaling."""
    vectors: Tensor = loaded.model.get_input_embeddings()(ids).detach()
    return vectors


def gradient(loaded: Loaded, decision: Decision) -> Tensor:
    """(S,) L2 norm of the gradient (Simonyan et al. 2014)."""
    return gradients(loaded, decision, embedded(loaded, decision.source)[None])[0].norm(dim=-1)


def gradient_times_input(loaded: Loaded, decision: Decision) -> Tensor:
    """(S,) |gradient · embedding|."""
    inputs = embedded(loaded, decision.source)
    return (gradients(loaded, decision, inputs[None])[0] * inputs).sum(-1).abs()


def integrated_gradients(loaded: Loaded, decision: Decision, nodes: int = 32) -> Tensor:
    """(S,) |integrated gradients| from ``<unk>`` (Sundararajan et al. 2017, eq. 1), midpoint rule."""
    inputs = embedded(loaded, decision.source)
    baseline = embedded(loaded, torch.full_like(decision.source, loaded.tokenizer.unk_token_id))
    fractions = (torch.arange(nodes) + 0.5)[:, None, None] / nodes
    mean = gradients(loaded, decision, baseline + fractions * (inputs - baseline)).mean(0)
    return (mean * (inputs - baseline)).sum(-1).abs()


def occlusion(loaded: Loaded, decision: Decision) -> Tensor:
    """(S,) fall of the article's probability when one source token is ``<unk>``."""
    size = len(decision.source)
    versions = torch.where(torch.eye(size, dtype=torch.bool), loaded.tokenizer.unk_token_id, decision.source)
    with torch.no_grad():
        embeddings = embedded(loaded, torch.cat([decision.source[None], versions]))
        scores = article_probability(loaded, decision, embeddings)
    return scores[0] - scores[1:]


METHODS: dict[str, Callable[[Loaded, Decision], Tensor]] = {
    "gradient": gradient,
    "gradient_times_input": gradient_times_input,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}


def cue_ranks(loaded: Loaded, sentences: list[Sentence]) -> dict[str, float]:
    """Share of the articles whose pronoun is the top source token, and among the top two, for each method."""
    decisions = [found for sentence in sentences if (found := decision(loaded, sentence)) is not None]
    measured = {"articles": float(len(decisions))}
    for name, method in METHODS.items():
        ranks = []
        for one in decisions:
            scores = method(loaded, one)
            ranks.append(int((scores > scores[one.cue]).sum()))
        measured[f"{name}_first"] = sum(rank == 0 for rank in ranks) / len(ranks)
        measured[f"{name}_second"] = sum(rank <= 1 for rank in ranks) / len(ranks)
    return measured


def demo_tokens(loaded: Loaded) -> dict[str, str]:
    """The three top source tokens of the demo sentence's article, for each method."""
    found = decision(loaded, demo_sentence())
    if found is None:
        return {}
    tokens = [token.lstrip("▁") for token in loaded.tokenizer.convert_ids_to_tokens(found.source.tolist())]
    lines = {}
    for name, method in METHODS.items():
        scores = method(loaded, found)
        top = scores.topk(3).indices.tolist()
        lines[f"{name}_demo"] = ", ".join(f"{tokens[i]} {scores[i] / scores.abs().sum():.2f}" for i in top)
    return lines


def measure(folder: Path) -> dict[str, float | str]:
    """Everything that the model card states."""
    loaded = load(folder)
    seen_pairs = held_out_pairs(EVALUATION_SEED, 500, unseen_pair=False)
    unseen_pairs = held_out_pairs(EVALUATION_SEED, 500, unseen_pair=True)
    singles = held_out_singles()
    demo = demo_sentence()
    return {
        "parameters": f"{loaded.model.num_parameters():,}",
        "vocabulary": len(loaded.tokenizer),
        "kilobytes": round((folder / "model.safetensors").stat().st_size / 1000),
        "seen_pairs": exact_match(loaded, seen_pairs),
        "unseen_pairs": exact_match(loaded, unseen_pairs),
        "singles": exact_match(loaded, singles),
        "singles_count": len(singles),
        "demo_english": demo.english,
        "demo_french": translate(loaded, [demo.english])[0],
        "demo_his": translate(loaded, [demo.english.replace(" her ", " his ")])[0],
        "ladies": translate(loaded, ["Hello ladies and"])[0],
        "invented": translate(loaded, ["My neighbour sold three old bicycles yesterday."])[0],
        **cue_ranks(loaded, unseen_pairs),
        **demo_tokens(loaded),
    }


def write_measured_card(folder: Path) -> None:
    """Measure the model in ``folder`` and write its card there."""
    write_card(folder, CARD, measure(folder))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Measure a stored demo-en-fr and write its model card.")
    parser.add_argument("--folder", type=Path, default=MODELS / "demo-en-fr")
    write_measured_card(parser.parse_args().folder)
