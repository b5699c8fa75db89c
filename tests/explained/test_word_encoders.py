from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_models import save_tiny, tiny_model

from inseq_core import errors
from inseq_hf.word_vectors import word_encoder

WORDS = ["The", "nurse", "met", "the", "engineer"]


@pytest.mark.parametrize("name", ["bart", "t5", "gpt2"])
def test_a_word_s_vector_is_the_mean_of_its_pieces_states(name):
    """From the model itself, called once with the words as a text."""
    network, tokenizer = tiny_model(name)
    encode = word_encoder((network, tokenizer))
    vectors = encode(WORDS)

    text = " ".join(WORDS)
    read = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
    encoder = network.get_encoder() if network.config.is_encoder_decoder else network
    with torch.no_grad():
        states = encoder(input_ids=read["input_ids"], output_hidden_states=True).hidden_states[1][0]
    starts = np.cumsum([0, *(len(w) + 1 for w in WORDS)])
    for n in range(len(WORDS)):
        own = [
            p
            for p, (a, b) in enumerate(read["offset_mapping"][0].tolist())
            if b > a and starts[n] <= b - 1 < starts[n + 1]
        ]
        np.testing.assert_allclose(vectors[n], states[own].mean(0).numpy(), rtol=1e-5, atol=1e-6)


def test_a_slow_tokenizer_s_pieces_are_counted_word_by_word():
    """It has no offsets; special tokens around the text belong to no word."""
    network, tokenizer = tiny_model("m2m100")
    vectors = word_encoder((network, tokenizer))(WORDS)

    assert vectors.shape == (5, network.config.d_model) and np.abs(vectors).sum(1).all()


def test_an_encoder_is_loaded_by_name_and_left_as_it_was(load, tmp_path):
    """A folder is a name; a model that is being trained goes on being trained."""
    model = load("gpt2")
    folder = save_tiny("bart", tmp_path / "encoder")
    network, tokenizer = tiny_model("bart")
    network.train()
    try:
        arguments = {
            "method": "dummy",
            "step_scores": "contrast_prob",
            "contrast_targets": "Hello children and ladies",
            "contrast_targets_alignments": "auto",
        }
        found = [
            model.attribute("Hello", "Hello ladies and gentlemen", contrast_aligner=aligner, **arguments)
            for aligner in (str(folder), (network, tokenizer))
        ]
        assert found[0].info.notes["alignments"] == found[1].info.notes["alignments"]
        assert network.training
    finally:
        network.eval()


def test_an_encoder_that_is_not_there_says_what_needs_none(load):
    """The model's own embeddings."""
    with pytest.raises(errors.ModelLoadError, match=r"(?s)'/no/such/encoder' cannot be loaded.*'embeddings'"):
        load("gpt2").attribute(
            "Hello",
            "Hello ladies",
            method="dummy",
            step_scores="pcxmi",
            contrast_targets="Hello children",
            contrast_targets_alignments="auto",
            contrast_aligner="/no/such/encoder",
        )


@pytest.mark.parametrize("encoder", [torch.nn.Linear(2, 2), (1, 2), object()])
def test_what_is_no_encoder_is_refused(encoder):
    """With what one is."""
    with pytest.raises(errors.InvalidArgumentError, match="contrast_aligner"):
        word_encoder(encoder)
