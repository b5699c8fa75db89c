from __future__ import annotations

import numpy as np
import pytest

from inseq_core import errors

TEXTS = ["Hello ladies", "The nurse met the engineer, who", "A dog"]
WAYS = {
    "greedy": {},
    "sampled": {"do_sample": True, "temperature": 1.5, "seed": 3},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 2, "do_sample": True, "seed": 1},
    "constrained": {"bad_words_ids": [[5], [6]], "repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
}


def explained(model, texts, **generation_args):
    """Step scores of what is generated."""
    return model.attribute(
        texts,
        method="dummy",
        step_scores="probability",
        generation_args={"max_new_tokens": 5, **generation_args},
    )


@pytest.mark.parametrize("name", ["gpt2", "llama", "marian", "t5"])
@pytest.mark.parametrize("way", WAYS)
def test_a_batch_generates_and_explains_what_each_text_alone_does(load, name, way):
    """Left padding, masks, seeds, beams: none of it may reach the words."""
    model = load(name)
    together = explained(model, TEXTS, **WAYS[way])

    for text, result in zip(TEXTS, together, strict=True):
        (alone,) = explained(model, text, **WAYS[way])
        assert alone.target == result.target
        np.testing.assert_allclose(
            alone.step_scores["probability"], result.step_scores["probability"], rtol=1e-5
        )


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_what_is_explained_is_what_the_model_itself_generates(load, name):
    """The arguments are passed whole."""
    model = load(name)
    (result,) = explained(model, TEXTS[0], num_beams=3, length_penalty=0.5)
    inputs = model.tokenizer(TEXTS[0], return_tensors="pt")
    own = model.model.generate(
        **inputs, max_new_tokens=5, num_beams=3, length_penalty=0.5, pad_token_id=model.adapter.pad_id
    )

    assert [t.id for t in result.target] == own[0].tolist()
    assert result.attr_pos_end == len(own[0])


def test_the_same_seed_samples_the_same_and_another_another(load):
    """The global generator is neither read nor moved."""
    model = load("gpt2")
    first, same, other = (explained(model, TEXTS[0], do_sample=True, seed=seed)[0] for seed in (0, 0, 1))

    assert first == same and first.target != other.target


def test_what_was_generated_scores_as_it_does_when_it_is_given(load):
    """Step scores come from one pass over the whole text, whatever the way it came about."""
    model = load("gpt2")
    generated = explained(model, TEXTS, num_beams=2)
    given = model.attribute(
        TEXTS, list(generated.info.generated_texts), method="dummy", step_scores="probability"
    )
    for a, b in zip(generated, given, strict=True):
        if a.target == b.target:  # random pieces need not be tokenised as they were generated
            np.testing.assert_allclose(a.step_scores["probability"], b.step_scores["probability"], rtol=1e-5)


def test_step_scores_are_of_the_distribution_before_sampling_changes_it(load):
    """A temperature, top-k or forbidden word is a way to choose, not what the model believes."""
    model = load("gpt2")
    (hot,) = explained(model, TEXTS[0], do_sample=True, temperature=5.0, top_k=3, seed=0)
    (given,) = model.attribute(
        TEXTS[0], model.adapter.decode([t.id for t in hot.target]), method="dummy", step_scores="probability"
    )

    if given.target == hot.target:
        np.testing.assert_allclose(
            hot.step_scores["probability"], given.step_scores["probability"], rtol=1e-5
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_new_tokns": 3}, "Did you mean 'max_new_tokens'"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"num_return_sequences": 2}, "one output"),
        ({"seed": "x"}, "seed"),
        ({"max_new_tokens": 500}, "128 positions"),
    ],
)
def test_arguments_that_cannot_be_are_refused(load, arguments, said):
    """By name, with what is meant or possible."""
    with pytest.raises(errors.InvalidArgumentError, match=said):
        load("gpt2").attribute("Hello", method="dummy", generation_args=arguments)
