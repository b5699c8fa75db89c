"""Train ``demo-lm``, a GPT-2 of three layers, on the texts of the grammar beside this file.

``python train_lm.py`` makes the stored folder anew (three minutes on one core, no network) and then
measures it. Texts are packed end to end into rows of the model's full length, half of the rows starting
without the start token, so that prompts with and without it work and every position is trained. One input
token in twenty is replaced by ``<|unk|>``: the model then reads every cue, and a removed token looks like
something it has seen.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import evaluate_lm
import torch
from grammar_lm import END, training_texts, words_in_one_piece
from storing import MODELS, store
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel

logger = logging.getLogger(__name__)

PAD, UNK = "<|pad|>", "<|unk|>"
END_ID, PAD_ID, UNK_ID = 0, 1, 2
VOCABULARY = 1000
LENGTH = 128
STEPS = 700
SEED = 1
BATCH = 16
LEARNING_RATE = 3e-3
UNKNOWN_SHARE = 0.05
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def train_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """Byte-level byte-pair encoding, as GPT-2's: every text has tokens and comes back unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD, UNK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Repeated, because the trainer merges the most frequent pairs first.
    whole = [" " + word for word in words_in_one_piece()]
    tokenizer.train_from_iterator(chain(texts, whole * 300), trainer)
    if pieces := [word for word in whole if len(tokenizer.encode(word).ids) > 1]:
        raise SystemExit(f"The vocabulary of {VOCABULARY} cuts {pieces} into pieces: make it larger.")
    return tokenizer


def new_model(vocabulary: int) -> GPT2LMHeadModel:
    """An untrained model."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=LENGTH,
        n_embd=128,
        n_layer=3,
        n_head=4,
        resid_pdrop=0.05,
        embd_pdrop=0.05,
        attn_pdrop=0.05,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    return GPT2LMHeadModel(config)


def rows(tokenizer: Tokenizer, seed: int) -> Iterator[list[int]]:
    """Endless rows of LENGTH + 1 ids: texts and end tokens, the last text cut."""
    texts, rng = training_texts(seed), random.Random(seed)
    while True:
        row = [END_ID] if rng.random() < 0.5 else []
        while len(row) <= LENGTH:
            row += [*tokenizer.encode(next(texts)).ids, END_ID]
        yield row[: LENGTH + 1]


def train(tokenizer: Tokenizer, seed: int, steps: int) -> GPT2LMHeadModel:
    """``steps`` batches of packed rows: AdamW, one-cycle learning rate."""
    torch.manual_seed(seed)
    model = new_model(tokenizer.get_vocab_size())
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    data, start = rows(tokenizer, seed), time.perf_counter()
    for step in range(1, steps + 1):
        ids = torch.tensor(list(islice(data, BATCH)))  # (B, L + 1)
        inputs = ids[:, :-1].clone()
        inputs[(torch.rand(inputs.shape) < UNKNOWN_SHARE) & (inputs != END_ID)] = UNK_ID
        logits = model(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
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
    parser = argparse.ArgumentParser(description="Train demo-lm and measure it.")
    parser.add_argument("--folder", type=Path, default=MODELS / "demo-lm", help="where the model is stored")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(islice(training_texts(arguments.seed + 1), 8000))
    model = train(tokenizer, arguments.seed, arguments.steps)
    store(
        arguments.folder,
        model,
        tokenizer,
        {
            "bos_token": END,
            "eos_token": END,
            "unk_token": UNK,
            "pad_token": PAD,
            "model_max_length": LENGTH,
            "chat_template": CHAT_TEMPLATE,
        },
        {
            "bos_token_id": END_ID,
            "do_sample": False,
            "eos_token_id": END_ID,
            "max_new_tokens": 24,
            "num_beams": 1,
            "pad_token_id": PAD_ID,
        },
        {
            "seed": arguments.seed,
            "steps": arguments.steps,
            "batch": BATCH,
            "learning_rate": LEARNING_RATE,
            "unknown_share": UNKNOWN_SHARE,
            "length": LENGTH,
        },
    )
    evaluate_lm.write_measured_card(arguments.folder)


if __name__ == "__main__":
    main()
