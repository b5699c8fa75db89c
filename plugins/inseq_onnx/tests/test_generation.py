"""Generation, against the definition: logits added up by hand, and all outputs written out where they are
few."""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest

from inseq_core.data.batch import EncodedText
from inseq_core.errors import (
    InvalidArgumentError,
    MeaningWarning,
    TextTooLongError,
    UnknownArgumentError,
)

EOS = 2
PROMPTS = ([1, 4, 6], [1, 5, 7, 8, 4], [1])


def begun(*rows, source=None) -> list[EncodedText]:
    """Texts up to where generation starts."""
    return [EncodedText(target_ids=ids, source_ids=source, prompt_length=len(ids)) for ids in rows]


def written(adapter, *rows, **options) -> list[list[int]]:
    """What is generated, prompts included."""
    return [ids.tolist() for ids in adapter.generate(begun(*rows), options)]


def greedy(sums, ids, new: int, forbidden=(), end=EOS) -> list[int]:
    """The most likely token each time, one text alone."""
    ids = list(ids)
    for _ in range(new):
        scores = sums.logits(ids)[-1].copy()
        scores[list(forbidden)] = -np.inf
        ids.append(int(scores.argmax()))
        if ids[-1] == end:
            break
    return ids


def log_p(sums, ids) -> np.ndarray:
    """(L, V) ln p of the token after each position."""
    logits = sums.logits(ids)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.fixture
def lm(workshop, loaded):
    """A decoder-only model."""
    return loaded(workshop.decoder_only())


def test_the_most_likely_token_each_time(lm, sums):
    """Texts of different lengths end at different times, each as if it were alone."""
    assert written(lm, *PROMPTS, max_new_tokens=6) == [greedy(sums, ids, 6) for ids in PROMPTS]


def test_an_output_ends_with_its_end_token(lm, sums):
    """It is kept; nothing comes after it."""
    ends = [
        ids
        for prompt in itertools.product(range(4, 14), repeat=2)
        for ids in written(lm, [1, *prompt], max_new_tokens=8)
    ]

    assert any(ids[-1] == EOS for ids in ends)
    assert all(EOS not in ids[:-1] for ids in ends)
    assert ends == [greedy(sums, [1, *prompt], 8) for prompt in itertools.product(range(4, 14), repeat=2)]


def test_a_translation_reads_its_source(workshop, loaded, sums):
    """And begins with the decoder's start token."""
    adapter = loaded(workshop.translator())
    source = [5, 7, 2]
    (ids,) = adapter.generate(begun([1], source=source), {"max_new_tokens": 4})

    expected = [1]
    while len(expected) < 5 and expected[-1] != EOS:
        expected.append(int(sums.logits(expected, source)[-1].argmax()))
    assert ids.tolist() == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_length": 6}, lambda sums: greedy(sums, PROMPTS[0], 3)),
        ({"min_new_tokens": 8, "max_new_tokens": 8}, lambda sums: greedy(sums, PROMPTS[0], 8, [EOS])),
        ({"min_length": 11, "max_new_tokens": 8}, lambda sums: greedy(sums, PROMPTS[0], 8, [EOS])),
        (
            {"suppress_tokens": [9, 12], "max_new_tokens": 5},
            lambda sums: greedy(sums, PROMPTS[0], 5, [9, 12]),
        ),
        (
            {"bad_words_ids": [[9], [12]], "max_new_tokens": 5},
            lambda sums: greedy(sums, PROMPTS[0], 5, [9, 12]),
        ),
        ({"eos_token_id": 13, "max_new_tokens": 5}, lambda sums: greedy(sums, PROMPTS[0], 5, end=13)),
    ],
)
def test_what_may_be_written_is_bounded(lm, sums, options, expected):
    """Lengths, ends and forbidden words."""
    assert written(lm, PROMPTS[0], **options) == [expected(sums)]


def test_forced_tokens_are_written(workshop, loaded):
    """A language code first, an end at the last position."""
    folder = workshop.translator()
    workshop.configure(
        folder, eos_token_id=EOS, decoder_start_token_id=1, forced_bos_token_id=7, forced_eos_token_id=EOS
    )
    adapter = loaded(folder)

    (ids,) = adapter.generate(begun([1], source=[4, 2]), {"max_new_tokens": 4, "min_new_tokens": 4})

    assert ids[1] == 7 and ids[-1] == EOS and len(ids) == 5


def test_two_words_in_a_row_are_forbidden_together(lm, sums):
    """Each may stand where the other does not."""
    prompt = next(ids for k in range(4, 14) if len(set((ids := greedy(sums, [1, k], 2))[1:])) == 3)[:2]
    free = greedy(sums, prompt, 2)

    found = written(lm, prompt, max_new_tokens=2, bad_words_ids=[free[2:]])[0]

    assert found[2] == free[2] and found[3] != free[3]


def test_no_sequence_is_repeated(lm):
    """What the prompt has said counts."""
    prompt = [1, 4, 6, 4, 6, 4]
    ids = written(lm, prompt, max_new_tokens=8, min_new_tokens=8, no_repeat_ngram_size=2)[0]

    said, new = set(itertools.pairwise(prompt)), list(itertools.pairwise(ids))[len(prompt) - 1 :]
    assert len(set(new)) == len(new) == 8 and not said & set(new)


def test_a_repetition_penalty_divides_what_is_above_zero(lm, sums):
    """And multiplies what is below (Keskar et al. 2019, section 4.1)."""
    ids = list(PROMPTS[1])
    for _ in range(4):
        scores = sums.logits(ids)[-1].copy()
        seen = sorted(set(ids))
        scores[seen] = np.where(scores[seen] > 0, scores[seen] / 1.7, scores[seen] * 1.7)
        ids.append(int(scores.argmax()))

    assert EOS not in ids and written(lm, PROMPTS[1], max_new_tokens=4, repetition_penalty=1.7) == [ids]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_beams_find_the_best_of_all_outputs(lm, sums, prompt, length_penalty):
    """With as many beams as there are prefixes nothing is lost: the best output is that of a list of all of
    them."""
    new, candidates = 3, []
    for length in range(1, new + 1):
        for tail in itertools.product(range(14), repeat=length):
            has_ended = tail[-1] == EOS
            if EOS in tail[:-1] or not (has_ended or length == new):
                continue
            ids = [*prompt, *tail]
            table = log_p(sums, ids)
            score = sum(table[len(prompt) - 1 + k, token] for k, token in enumerate(tail))
            candidates.append((score / length**length_penalty, ids))
    best = max(candidates)

    options = {"num_beams": 200, "early_stopping": "never", "length_penalty": length_penalty}
    assert written(lm, prompt, max_new_tokens=new, **options) == [best[1]]


def test_one_beam_is_greedy_and_texts_do_not_disturb_each_other(lm, sums):
    """Beams of several texts share a batch."""
    together = written(lm, *PROMPTS, num_beams=3, max_new_tokens=6)

    assert together == [written(lm, ids, num_beams=3, max_new_tokens=6)[0] for ids in PROMPTS]
    assert written(lm, *PROMPTS, num_beams=1, max_new_tokens=6) == [greedy(sums, ids, 6) for ids in PROMPTS]


def test_a_seed_gives_a_text_the_same_draws_alone_and_in_a_batch(lm):
    """Results must not depend on what else was asked for."""
    options = {"do_sample": True, "seed": 3, "max_new_tokens": 6}
    together = written(lm, *PROMPTS, **options)

    assert together == [written(lm, ids, **options)[0] for ids in PROMPTS]
    assert together != written(lm, *PROMPTS, **{**options, "seed": 4})


def test_draws_follow_the_distribution(lm, sums):
    """Frequencies of the first token over 400 seeds; three standard deviations of the largest frequency are
    0.075."""
    temperature = 2.0
    logits = sums.logits(PROMPTS[0])[-1] / temperature
    p = np.exp(logits) / np.exp(logits).sum()

    options = {"do_sample": True, "temperature": temperature, "max_new_tokens": 1, "top_k": 0}
    draws = [written(lm, PROMPTS[0], seed=seed, **options)[0][-1] for seed in range(400)]

    assert np.abs(np.bincount(draws, minlength=14) / 400 - p).max() < 0.075


@pytest.mark.parametrize(("option", "size"), [({"top_k": 2}, 2), ({"top_p": 0.05}, 1)])
def test_draws_are_among_the_likeliest(lm, sums, option, size):
    """top k, and the smallest set with the mass top p (Holtzman et al. 2020, eq. 2)."""
    likeliest = np.argsort(-sums.logits(PROMPTS[0])[-1])[:size]
    options = {"do_sample": True, "temperature": 5.0, "max_new_tokens": 1, **option}

    draws = {written(lm, PROMPTS[0], seed=seed, **options)[0][-1] for seed in range(30)}

    assert draws == set(likeliest.tolist())


def test_the_models_own_settings_hold_where_the_call_says_nothing(workshop, loaded, sums):
    """And the call's own hold where it does."""
    folder = workshop.decoder_only()
    workshop.configure(folder, eos_token_id=EOS, max_new_tokens=2, suppress_tokens=[9])
    adapter = loaded(folder)

    assert written(adapter, PROMPTS[0]) == [greedy(sums, PROMPTS[0], 2, [9])]
    assert written(adapter, PROMPTS[0], max_length=7) == [greedy(sums, PROMPTS[0], 4, [9])]


def test_settings_that_are_not_done_here_are_told(workshop, loaded):
    """Outputs may differ from those of the model elsewhere; nobody should have to find out."""
    folder = workshop.decoder_only()
    workshop.configure(folder, eos_token_id=EOS, num_beam_groups=2, diversity_penalty=0.5, typical_p=1.0)
    adapter = loaded(folder)

    with pytest.warns(
        MeaningWarning, match="num_beam_groups, diversity_penalty in generation, which is not done here"
    ):
        written(adapter, PROMPTS[0])


def test_positions_that_a_model_does_not_have_are_not_written(lm):
    """The model's own length is cut; a call that asks for more is told."""
    lm.profile = attrs.evolve(lm.profile, max_target=6)
    lm.settings = attrs.evolve(lm.settings, values={**lm.settings.values, "max_new_tokens": 50})

    assert len(written(lm, PROMPTS[0], min_new_tokens=3)[0]) == 6
    with pytest.raises(
        TextTooLongError, match=r"3 tokens and 4 new ones make 7: lm has 6 positions.\n  Generate at most 3"
    ):
        written(lm, PROMPTS[0], max_new_tokens=4)
    with pytest.raises(TextTooLongError, match="6 tokens leave no room"):
        written(lm, [1, 4, 4, 4, 4, 4])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_tokens": 3}, UnknownArgumentError, "Did you mean 'max_new_tokens'"),
        ({"typical_p": 0.5}, UnknownArgumentError, "onnxruntime: max_new_tokens"),
        ({"num_return_sequences": 2}, InvalidArgumentError, "an input has one output"),
        ({"max_new_tokens": 0}, InvalidArgumentError, "max_new_tokens = 0"),
        ({"max_new_tokens": True}, InvalidArgumentError, "max_new_tokens = True"),
        ({"max_length": 3}, InvalidArgumentError, r"max_length = 3, and the text has 3 tokens"),
        ({"do_sample": True, "num_beams": 2}, InvalidArgumentError, "beams are not sampled"),
        ({"temperature": 0.0}, InvalidArgumentError, "temperature = 0.0"),
        ({"top_p": 1.5}, InvalidArgumentError, "top_p = 1.5"),
        ({"eos_token_id": "</s>"}, InvalidArgumentError, "eos_token_id"),
        ({"early_stopping": 3}, InvalidArgumentError, "early_stopping = 3"),
        ({"seed": -1}, InvalidArgumentError, "seed = -1"),
    ],
)
def test_what_generation_does_not_take_is_refused(lm, options, error, message):
    """By name, with the nearest that it takes."""
    with pytest.raises(error, match=message):
        written(lm, PROMPTS[0], **options)
