"""Ids of baselines, and which positions keep their own token."""

from __future__ import annotations

import numpy as np
import pytest
from support.hf_adapters import forced, tiny_adapter
from support.tiny_models import ARCHITECTURES

from inseq_core.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("name", "baseline", "token"),
    [
        ("llama", "unk", "<unk>"),
        ("llama", "pad", "<pad>"),
        ("llama", "eos", "</s>"),
        ("llama", "bos", "<s>"),
        ("bart", "mask", "<mask>"),
        ("qwen2", "unk", "<|endoftext|>"),  # no unknown token: padding
        ("gpt2", "pad", "<|endoftext|>"),  # no padding either: end
        ("llama", "▁la", None),
        ("gpt2", "Ġand", None),
        ("t5", "▁a", None),
    ],
)
def test_a_baseline_is_a_special_token_or_a_token_of_the_vocabulary(name, baseline, token):
    """``unk`` falls back to padding, then to the end token."""
    adapter = tiny_adapter(name)

    i = adapter.baseline_ids(baseline, "target")

    assert adapter.tokenizer.convert_ids_to_tokens(i) == (token or baseline)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_a_baseline_may_be_a_word_of_one_token(name):
    """Users write words, not pieces with marks."""
    adapter = tiny_adapter(name)
    marked = [piece for piece in adapter.tokenizer.get_vocab() if piece[:1] in "▁Ġ" and len(piece) > 2]
    written = {piece: piece[1:] if piece[0] == "▁" else piece.replace("Ġ", " ") for piece in marked}
    piece, word = next((p, w) for p, w in written.items() if w not in adapter.tokenizer.get_vocab())

    assert adapter.tokenizer.convert_ids_to_tokens(adapter.baseline_ids(word, "target")) == piece


@pytest.mark.parametrize("baseline", ["mask", "gentlemen welcome", 10**6, -1, 1.5, True])
def test_a_baseline_that_is_no_token_is_refused(baseline):
    """An unknown word must not silently become ``<unk>``."""
    with pytest.raises(InvalidArgumentError, match="baseline"):
        tiny_adapter("llama").baseline_ids(baseline, "target")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_start_and_end_keep_their_token(name):
    """A baseline says "no content"; without its frame a text is something that the model never saw."""
    adapter = tiny_adapter(name)
    text = forced(adapter, "A dog and a cat", " un chien")
    sides = {"target": text.target_ids}
    if adapter.is_encoder_decoder:
        sides["source"] = text.source_ids
    for side, ids in sides.items():
        special = np.array(adapter.token_texts(ids.tolist(), side).special)
        if side == "target" and adapter.is_encoder_decoder:
            special[0] = True

        kept = adapter.kept_in_baseline(ids, side, False)

        assert kept.tolist() == special.tolist()


@pytest.mark.parametrize("name", ["marian", "bart", "mbart", "m2m100"])
def test_the_end_has_a_baseline_where_that_is_asked_for(name):
    """``include_eos_baseline``: the end token is content like any other."""
    adapter = tiny_adapter(name)
    text = forced(adapter, "A dog", "un chien")
    for side, ids in (("source", text.source_ids), ("target", text.target_ids)):
        with_end = adapter.kept_in_baseline(ids, side, False)
        without = adapter.kept_in_baseline(ids, side, True)

        ends = ids == adapter.tokenizer.eos_token_id
        ends[0] &= side == "source"  # BART's decoder starts with its end token
        assert (with_end & ~without).tolist() == ends.tolist()


def test_a_start_token_that_is_also_the_end_is_kept_at_the_start():
    """GPT-2 has one token for both."""
    adapter = tiny_adapter("gpt2")
    end = adapter.tokenizer.eos_token_id
    ids = np.array([end, 50, end, 51])

    assert adapter.kept_in_baseline(ids, "target", False).tolist() == [True, False, True, False]
    assert adapter.kept_in_baseline(ids, "target", True).tolist() == [True, False, False, False]


def test_padding_inside_a_target_is_content():
    """T5's decoder starts with its padding token; only that one is its start."""
    adapter = tiny_adapter("t5")
    pad = adapter.tokenizer.pad_token_id

    assert (
        adapter.kept_in_baseline(np.array([pad, 50, pad, 51]), "target", False).tolist()
        == [True] + [False] * 3
    )


def test_special_tokens_are_listed_as_they_are_shown():
    """``AttributionModel.special_tokens`` hands them on."""
    assert {"<s>", "</s>", "<unk>", "<pad>", "<|im_start|>"} <= set(tiny_adapter("llama").special_tokens)
