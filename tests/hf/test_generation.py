"""Generation: exact ids, the same alone and in a batch, and nothing left changed."""

from __future__ import annotations

import attrs
import pytest
import torch
from support.hf_adapters import PROMPTS, begun, tiny_adapter
from support.tiny_models import ARCHITECTURES
from transformers import LogitsProcessor, LogitsProcessorList

from inseq_core.errors import InvalidArgumentError, TextTooLongError, UnknownArgumentError


def own_generation(adapter, text, **options):
    """Target ids from the model's own ``generate`` on one unpadded text."""
    target = torch.tensor([text.target_ids.tolist()])
    options = {"pad_token_id": adapter.pad_id, **options}
    if text.source_ids is None:
        output = adapter.model.generate(target, attention_mask=torch.ones_like(target), **options)
    else:
        source = torch.tensor([text.source_ids.tolist()])
        output = adapter.model.generate(
            source,
            attention_mask=torch.ones_like(source),
            decoder_input_ids=target,
            forced_bos_token_id=adapter.codec.language_id(),
            **options,
        )
    return output[0].tolist()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_generates_as_each_text_alone(name):
    """Left padding without mask or positions changes what models write, differently on each architecture."""
    adapter = tiny_adapter(name)
    texts = [begun(adapter, prompt) for prompt in PROMPTS[:2]]

    together = adapter.generate(texts, {"max_new_tokens": 4})

    assert [ids.tolist() for ids in together] == [own_generation(adapter, t, max_new_tokens=4) for t in texts]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bart", "marian"])
def test_beams_in_a_batch_are_those_of_each_text_alone(name):
    """Beam search returns padded rows of its own length; what is cut must be padding only."""
    adapter = tiny_adapter(name)
    texts = [begun(adapter, prompt) for prompt in PROMPTS]

    together = adapter.generate(texts, {"max_new_tokens": 5, "num_beams": 3})

    alone = [own_generation(adapter, t, max_new_tokens=5, num_beams=3) for t in texts]
    assert [ids.tolist() for ids in together] == alone


@pytest.mark.parametrize("name", ["gpt2", "bart"])
@pytest.mark.parametrize("args", [{"max_length": 26}, {"max_length": 26, "min_length": 25}])
def test_a_length_of_everything_is_each_texts_own(name, args):
    """It counts the prompt: behind another text's padding there would be less room, or more to be written."""
    adapter = tiny_adapter(name)
    adapter.model.generation_config.max_new_tokens = 2  # of the two, transformers follows this one
    texts = [begun(adapter, prompt) for prompt in PROMPTS]

    together = [ids.tolist() for ids in adapter.generate(texts, args)]

    adapter.model.generation_config.max_new_tokens = None
    assert together == [own_generation(adapter, text, **args) for text in texts]


def test_texts_near_the_end_of_the_models_positions_shorten_no_other():
    """Without a length, a text is written to the model's last position; its neighbour has more room."""
    adapter = tiny_adapter("gpt2")
    limit = adapter.profile.max_target
    short = begun(adapter, PROMPTS[0])
    long = attrs.evolve(short, target_ids=(list(short.target_ids) * limit)[: limit - 2])
    alone = [adapter.generate([text], {})[0].tolist() for text in (short, long)]

    assert [ids.tolist() for ids in adapter.generate([short, long], {})] == alone
    assert len(alone[1]) <= limit


def test_a_length_that_the_prompt_has_already_is_refused():
    """Nothing could be written, and transformers writes a token anyway."""
    adapter = tiny_adapter("gpt2")
    text = begun(adapter, PROMPTS[0])
    with pytest.raises(InvalidArgumentError, match=rf"max_length = 2 .*the {len(text.target_ids)} target"):
        adapter.generate([text], {"max_length": 2})


@attrs.define(eq=False)
class Dictation(LogitsProcessor):
    """Makes the model write given tokens, one list a sequence, whatever it wanted."""

    words: list[list[int]]
    step: int = 0

    def __call__(self, input_ids, scores):
        dictated = torch.full_like(scores, -torch.inf)
        for row, words in enumerate(self.words):
            dictated[row, words[min(self.step, len(words) - 1)]] = 0.0
        self.step += 1
        return dictated


@pytest.mark.parametrize("name", ["llama", "gpt2", "bart"])
def test_tokens_that_equal_padding_keep_their_place_and_padding_is_cut(name):
    """A model may write its padding token, and models without one pad with EOS, which ends texts."""
    adapter = tiny_adapter(name)
    pad, eos = adapter.pad_id, adapter.tokenizer.eos_token_id
    dictated = [[50, pad, 51, pad, eos], [50, eos, 60], [60, 61, 62, 63, 64, 65]]
    texts = [begun(adapter, prompt) for prompt in (PROMPTS[0], PROMPTS[0], PROMPTS[0])]

    generated = adapter.generate(
        texts, {"max_new_tokens": 6, "logits_processor": LogitsProcessorList([Dictation(dictated)])}
    )

    first = [50, eos] if pad == eos else [50, pad, 51, pad, eos]
    expected = [first, [50, eos], [60, 61, 62, 63, 64, 65]]
    assert [ids[len(t.target_ids) :].tolist() for ids, t in zip(generated, texts, strict=True)] == expected


def test_nothing_is_cut_where_texts_do_not_end():
    """With ``eos_token_id=None`` the end token is a token like others."""
    adapter = tiny_adapter("llama")
    eos, text = adapter.tokenizer.eos_token_id, begun(adapter, PROMPTS[0])
    processors = LogitsProcessorList([Dictation([[50, eos, 51]])])

    (ids,) = adapter.generate(
        [text], {"max_new_tokens": 3, "eos_token_id": None, "logits_processor": processors}
    )

    assert ids[-3:].tolist() == [50, eos, 51]


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "m2m100"])
def test_sampling_with_a_seed_is_the_same_alone_and_in_a_batch(name):
    """A seed belongs to a text; otherwise adding a text to a list would change all others."""
    adapter = tiny_adapter(name)
    texts = [begun(adapter, prompt) for prompt in PROMPTS]
    args = {"max_new_tokens": 6, "do_sample": True, "seed": 7, "temperature": 2.0}

    together = [ids.tolist() for ids in adapter.generate(texts, args)]

    assert together == [adapter.generate([text], args)[0].tolist() for text in texts]
    assert together != [ids.tolist() for ids in adapter.generate(texts, {**args, "seed": 8})]


def test_a_seed_leaves_the_global_generator_alone():
    """A library that seeds behind the user's back makes their own draws repeat."""
    adapter = tiny_adapter("gpt2")
    torch.manual_seed(0)
    before = torch.get_rng_state()

    adapter.generate([begun(adapter, PROMPTS[0])], {"max_new_tokens": 3, "do_sample": True, "seed": 1})

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_the_models_settings_are_left_as_they_were(name):
    """The user's model has its own generation settings."""
    adapter = tiny_adapter(name)
    before = adapter.model.generation_config.to_dict(), adapter.model.config.to_dict()

    adapter.generate([begun(adapter, PROMPTS[0])], {"max_new_tokens": 3, "num_beams": 2})

    assert (adapter.model.generation_config.to_dict(), adapter.model.config.to_dict()) == before


def test_constraints_reach_the_model():
    """``generation_args`` are passed whole."""
    adapter = tiny_adapter("gpt2")
    text = begun(adapter, PROMPTS[0])
    free = adapter.generate([text], {"max_new_tokens": 4})[0][len(text.target_ids) :].tolist()

    (bound,) = adapter.generate([text], {"max_new_tokens": 4, "bad_words_ids": [[i] for i in free]})

    assert not set(bound[len(text.target_ids) :].tolist()) & set(free)


def test_a_forced_prefix_is_continued_in_ids():
    """Targets that begin with different numbers of tokens are generated apart: decoders know no padding."""
    adapter = tiny_adapter("marian")
    texts = [
        begun(adapter, PROMPTS[0], "Un chien"),
        begun(adapter, PROMPTS[1]),
        begun(adapter, PROMPTS[2], "La petite"),
    ]

    generated = adapter.generate(texts, {"max_new_tokens": 4})

    for text, ids in zip(texts, generated, strict=True):
        assert ids[: text.prompt_length].tolist() == text.target_ids.tolist()
        assert ids.tolist() == own_generation(adapter, text, max_new_tokens=4)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_without_a_length_something_sensible_is_written(name):
    """Neither nothing nor everything; decoder-only models stop at their last position."""
    adapter = tiny_adapter(name)
    text = begun(adapter, PROMPTS[0])

    (ids,) = adapter.generate([text], {"min_new_tokens": 1})

    assert 1 <= len(ids) - len(text.target_ids) <= (128 if adapter.is_encoder_decoder else 32)


def test_stop_strings_cut_nothing_that_was_written():
    """Texts that end without an end token are generated one by one, so that none is padded."""
    adapter = tiny_adapter("gpt2")
    texts = [begun(adapter, prompt) for prompt in PROMPTS]
    args = {"max_new_tokens": 8, "stop_strings": ["e"]}

    together = [ids.tolist() for ids in adapter.generate(texts, args)]

    alone = [own_generation(adapter, text, **args, tokenizer=adapter.tokenizer) for text in texts]
    assert together == alone


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        ({"max_new_token": 3}, UnknownArgumentError, "Did you mean 'max_new_tokens'"),
        ({"num_return_sequences": 2}, InvalidArgumentError, "one output"),
        ({"max_new_tokens": 0}, InvalidArgumentError, "at least 1"),
        ({"max_new_tokens": "3"}, InvalidArgumentError, "max_new_tokens = '3'"),
        ({"max_new_tokens": 125}, TextTooLongError, "128 positions"),
        ({"seed": "one"}, InvalidArgumentError, "a whole number"),
        ({"num_beams": -1}, InvalidArgumentError, "at least 1"),
        ({"do_sample": True, "temperature": -1.0}, InvalidArgumentError, "refuses generation_args"),
    ],
)
def test_arguments_that_generate_does_not_take_are_refused(args, error, said):
    """A typo must not be ignored, and the framework's own errors should say whose argument it was."""
    adapter = tiny_adapter("gpt2")

    with pytest.raises(error, match=said):
        adapter.generate([begun(adapter, PROMPTS[0])], args)
