"""Train ``demo-en-fr``, a Marian model of a million parameters, on the grammar beside this file.

``python train_en_fr.py`` makes the stored folder anew (three minutes on one core, no network) and then
measures it. An eighth of the source tokens is replaced by ``<unk>`` while training. Without that the model
translates as well but reads one gender only (feminine unless it sees "he" or "his"), and no attribution
method can find a cue that the model does not use.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from itertools import islice
from pathlib import Path

import evaluate_en_fr
import torch
from grammar_en_fr import Sentence, training_sentences
from storing import MODELS, store
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import MarianConfig, MarianMTModel

logger = logging.getLogger(__name__)

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
EOS_ID, UNK_ID, PAD_ID = 0, 1, 2
VOCABULARY = 800
MAX_LENGTH = 128
STEPS = 900
SEED = 8
BATCH = 64
LEARNING_RATE = 2e-3
LABEL_SMOOTHING = 0.1
UNKNOWN_SHARE = 0.12
ALPHABET = [chr(code) for code in range(33, 127)] + list("àâäçèéêëîïôöùûüœÀÂÇÈÉÊËÎÔÙŒ«»–…€£")


def train_tokenizer(sentences: list[Sentence]) -> Tokenizer:
    """Byte-pair encoding over both languages; "▁" marks the start of a word, "l'" is apart from its noun."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNK, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace("’", "'"),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r'[.,;:!?()"«»]'), "isolated"),
            pre_tokenizers.Split("'", "merged_with_previous"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS, UNK, PAD],
        initial_alphabet=[*ALPHABET, "▁"],
        show_progress=False,
    )
    texts = (text for sentence in sentences for text in (sentence.english, sentence.french))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B:1 {EOS}:1", special_tokens=[(EOS, EOS_ID)]
    )
    pronouns = {"he", "she", "her", "his"}
    for sentence in sentences:
        if cut := pronouns.intersection(tokenizer.encode(sentence.english).tokens):
            raise SystemExit(
                f"The tokenizer cuts {cut} out of a word of {sentence.english!r}: choose other words."
            )
    return tokenizer


def new_model(vocabulary: int) -> MarianMTModel:
    """An untrained model."""
    config = MarianConfig(
        vocab_size=vocabulary,
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        activation_function="swish",
        dropout=0.1,
        scale_embedding=True,
        max_position_embeddings=MAX_LENGTH,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        decoder_start_token_id=PAD_ID,
        forced_eos_token_id=EOS_ID,
    )
    return MarianMTModel(config)


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    """(B, longest row), filled on the right."""
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def batch_of(sentences: list[Sentence], tokenizer: Tokenizer, rng: random.Random) -> dict[str, torch.Tensor]:
    """Padded ids; source tokens become ``<unk>`` at random, one sentence in twenty loses its full stop."""
    sources, targets = [], []
    for sentence in sentences:
        english, french = sentence.english, sentence.french
        if rng.random() < 0.05:
            english, french = english[:-1], french[:-1]
        *ids, eos = tokenizer.encode(english).ids
        sources.append([UNK_ID if rng.random() < UNKNOWN_SHARE else token for token in ids] + [eos])
        targets.append(tokenizer.encode(french).ids)
    source, labels = padded(sources, PAD_ID), padded(targets, -100)
    return {"input_ids": source, "attention_mask": (source != PAD_ID).long(), "labels": labels}


def train(tokenizer: Tokenizer, seed: int, steps: int) -> MarianMTModel:
    """One pass of ``steps`` batches: AdamW, one-cycle learning rate, label smoothing."""
    torch.manual_seed(seed)
    model = new_model(tokenizer.get_vocab_size())
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    sentences, rng, start = training_sentences(seed), random.Random(seed), time.perf_counter()
    for step in range(1, steps + 1):
        batch = batch_of(list(islice(sentences, BATCH)), tokenizer, rng)
        labels = batch["labels"]
        logits = model(**batch).logits  # (B, L, V)
        loss = loss_of(logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            logger.info("step %4d  loss %.3f  %.0f s", step, loss.item(), time.perf_counter() - start)
    return model.eval()


def main() -> None:
    """Train, store, measure, write the card."""
    parser = argparse.ArgumentParser(description="Train demo-en-fr and measure it.")
    parser.add_argument("--folder", type=Path, default=MODELS / "demo-en-fr", help="where it is stored")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(list(islice(training_sentences(arguments.seed + 1), 8000)))
    model = train(tokenizer, arguments.seed, arguments.steps)
    store(
        arguments.folder,
        model,
        tokenizer,
        {"eos_token": EOS, "unk_token": UNK, "pad_token": PAD, "model_max_length": MAX_LENGTH},
        {
            "bad_words_ids": [[PAD_ID], [UNK_ID]],
            "decoder_start_token_id": PAD_ID,
            "do_sample": False,
            "eos_token_id": EOS_ID,
            "forced_eos_token_id": EOS_ID,
            "max_new_tokens": 64,
            "num_beams": 1,
            "pad_token_id": PAD_ID,
        },
        {
            "seed": arguments.seed,
            "steps": arguments.steps,
            "batch": BATCH,
            "learning_rate": LEARNING_RATE,
            "unknown_share": UNKNOWN_SHARE,
        },
    )
    evaluate_en_fr.write_measured_card(arguments.folder)


if __name__ == "__main__":
    main()
