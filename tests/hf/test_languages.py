"""Encoder–decoder targets: start, language and end tokens, against what the models are trained on."""

from __future__ import annotations

import copy

import pytest
import torch
from support.hf_adapters import begun, tiny_adapter
from support.tiny_models import ENCODER_DECODER, LANGUAGES, tiny_model
from tokenizers.processors import TemplateProcessing
from transformers import MarianMTModel
from transformers.models.m2m_100.modeling_m2m_100 import shift_tokens_right

from inseq_core.errors import InvalidArgumentError
from inseq_hf.loading import load

OUTPUT = "Un chien et un chat"


@pytest.mark.parametrize("name", ENCODER_DECODER)
def test_forced_targets_are_the_decoder_inputs_of_training(name):
    """transformers' own shift of the tokenizer's labels says what the decoder was trained to read."""
    adapter = tiny_adapter(name)
    labels = torch.tensor([adapter.tokenizer(text_target=OUTPUT).input_ids])
    if hasattr(adapter.model, "prepare_decoder_input_ids_from_labels"):
        read = adapter.model.prepare_decoder_input_ids_from_labels(labels)[0].tolist()
    else:
        config = adapter.model.config
        read = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)[0].tolist()

    ids = adapter.encode_output(OUTPUT, adapter.encode_input("A dog and a cat")).tolist()

    assert ids[: len(read)] == read
    assert ids[-1] == adapter.tokenizer.eos_token_id
    assert len(ids) - len(read) in (0, 1)  # mBART's last label, its language, is where its decoder starts


@pytest.mark.parametrize("name", ENCODER_DECODER)
def test_sources_are_what_the_tokenizer_writes(name):
    """End tokens and language codes of the source are the tokenizer's own business."""
    adapter = tiny_adapter(name)

    assert list(adapter.encode_input("A dog").ids) == adapter.tokenizer("A dog").input_ids


@pytest.mark.parametrize("name", ENCODER_DECODER)
def test_generation_starts_from_the_decoder_start_token(name):
    """Position 0 is the start token, whether the output is generated or forced."""
    adapter = tiny_adapter(name)
    given = adapter.encode_input("A dog")

    assert adapter.start_ids(given).tolist() == adapter.encode_output(OUTPUT, given)[:1].tolist()


@pytest.mark.parametrize("name", ENCODER_DECODER)
def test_a_forced_prefix_is_the_beginning_of_the_forced_target(name):
    """What is forced as a prefix reads as the same text forced as an output, without its end."""
    adapter = tiny_adapter(name)
    given = adapter.encode_input("A dog")

    prefix = adapter.start_ids(given, prefix=OUTPUT).tolist()

    assert prefix == adapter.encode_output(OUTPUT, given).tolist()[:-1]


@pytest.mark.parametrize("name", ["m2m100", "nllb"])
def test_the_language_that_the_tokenizer_was_told_is_written_first(name):
    """Without it a multilingual model writes whatever language it likes."""
    adapter = tiny_adapter(name)

    (ids,) = adapter.generate([begun(adapter, "A dog")], {"max_new_tokens": 3})

    tokenizer, code = adapter.tokenizer, LANGUAGES[name][1]
    expected = tokenizer.get_lang_id(code) if name == "m2m100" else tokenizer.convert_tokens_to_ids(code)
    assert ids[1] == expected


def test_a_language_given_to_generation_wins():
    """``generation_args`` are the user's last word."""
    adapter = tiny_adapter("nllb")
    german = adapter.tokenizer.convert_tokens_to_ids("deu_Latn")

    (ids,) = adapter.generate([begun(adapter, "A dog")], {"max_new_tokens": 3, "forced_bos_token_id": german})

    assert ids[1] == german


def without_target_language(name):
    """An adapter whose tokenizer was not told the language of the output."""
    model, tokenizer = tiny_model(name)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.tgt_lang = None
    return load(model, tokenizer=tokenizer)


@pytest.mark.parametrize("name", ["m2m100", "nllb"])
def test_a_forced_output_in_no_language_is_refused(name):
    """The tokenizers write the source's code in its place, or fail with a KeyError."""
    adapter = without_target_language(name)
    adapter.codec.forced_start_id = None

    with pytest.raises(InvalidArgumentError, match="tgt_lang"):
        adapter.encode_output(OUTPUT, adapter.encode_input("A dog"))


@pytest.mark.parametrize("name", ["m2m100", "nllb", "mbart"])
def test_a_model_that_forces_its_language_says_it_for_the_tokenizer(name):
    """Fine-tuned models carry the language in their settings."""
    told, untold = tiny_adapter(name), without_target_language(name)
    untold.codec.forced_start_id = told.codec.language_id()

    given = told.encode_input("A dog")

    assert untold.encode_output(OUTPUT, given).tolist() == told.encode_output(OUTPUT, given).tolist()


def test_a_language_code_behind_the_end_is_written_first():
    """NLLB's older behaviour: only mBART's decoder starts with that code, others write it first."""
    model, tokenizer = tiny_model("nllb")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.set_src_lang_special_tokens = tokenizer.set_tgt_lang_special_tokens = lambda code: None
    french, end = tokenizer.convert_tokens_to_ids("fra_Latn"), tokenizer.eos_token_id
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="$A </s> fra_Latn", special_tokens=[("</s>", end), ("fra_Latn", french)]
    )
    adapter = load(model, tokenizer=tokenizer)

    ids = adapter.encode_output(OUTPUT, adapter.encode_input("A dog")).tolist()

    assert ids[:2] == [model.config.decoder_start_token_id, french]
    assert ids[-1] == end and french not in ids[2:]


def test_a_model_with_two_vocabularies_uses_each_for_its_side():
    """Newer Marian models: an id means one word in the source and another in the target."""
    source, target = 217, 250
    config = copy.deepcopy(tiny_model("marian")[0].config)
    config.share_encoder_decoder_embeddings, config.tie_word_embeddings = False, False
    config.vocab_size, config.decoder_vocab_size = source, target
    tokenizer = tiny_model("marian")[1]
    adapter = load(MarianMTModel(config).eval(), tokenizer=tokenizer)

    assert adapter.embedding_matrix("source").shape[0] == source
    assert adapter.embedding_matrix("target").shape[0] == target
    assert adapter.baseline_ids(target - 1, "target") == target - 1
    with pytest.raises(InvalidArgumentError, match="from 0 to 216"):
        adapter.baseline_ids(target - 1, "source")


def test_a_failing_tokenizer_is_left_in_its_input_mode():
    """M2M100's tokenizer stays in target mode when the language is unknown."""
    adapter = without_target_language("m2m100")
    before = adapter.encode_input("A dog").ids
    adapter.codec.forced_start_id = None

    with pytest.raises(InvalidArgumentError):
        adapter.encode_output(OUTPUT, adapter.encode_input("A dog"))

    assert adapter.encode_input("A dog").ids == before
