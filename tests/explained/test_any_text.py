from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_models import tiny_model

import inseq
from inseq_core import errors

KINDS = ("byte_bpe", "unigram", "wordpiece", "unigram_bos")
"""Byte-level BPE, SentencePiece unigram, WordPiece, SentencePiece with a start token and byte fallback."""

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@functools.cache
def model_of(kind):
    """A decoder-only model with a tokenizer of the kind."""
    model, tokenizer = tiny_model("gpt2", tokenizer=kind)
    return inseq.load_model(model, tokenizer=tokenizer)


def attributed(kind, *texts, **arguments):
    """Step scores of a call, quick."""
    call = {"method": "dummy", "step_scores": "probability", "show_progress": False, **arguments}
    return model_of(kind).attribute(*texts, **call)


def ids(result):
    """Target ids of a result."""
    return [t.id for t in result.target]


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(prompt=TEXT)
def test_any_prompt_is_generated_from_and_explained_in_its_own_ids(kind, prompt):
    """Every generated id has its column, and none is decoded and tokenised again."""
    model = model_of(kind)
    arguments = {"max_new_tokens": 3}
    try:
        (result,) = attributed(kind, prompt, generation_args=arguments)
    except errors.InvalidArgumentError as error:
        # nothing is left of the prompt (white space, control characters), and there is no start token
        assert "has no tokens" in str(error)
        return
    given_ids = list(model.adapter.encode_input(prompt).ids)
    (expected,) = model.generate(prompt, return_generation_output=True, **arguments)[1]

    assert ids(result) == expected.target_ids.tolist()
    assert ids(result)[: len(given_ids)] == given_ids == [t.id for t in result.source]
    assert result.attr_pos_start == len(given_ids) and result.attr_pos_end == len(result.target)
    assert all(isinstance(str(t), str) and "\ufffd" not in str(t) for t in result.target)
    assert np.isfinite(result.step_scores["probability"]).all()


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(prompt=TEXT, rest=TEXT)
def test_any_forced_text_keeps_its_prompt_in_ids(kind, prompt, rest):
    """Also where the border lies inside a merge, a letter or a word."""
    model = model_of(kind)
    try:
        (result,) = attributed(kind, prompt, prompt + rest)
    except errors.InvalidArgumentError:  # no prompt, or nothing behind it that the tokenizer can write
        return
    given_ids = list(model.adapter.encode_input(prompt).ids)

    assert ids(result)[: len(given_ids)] == given_ids
    assert result.n_steps == len(result.target) - len(given_ids) > 0
    decoded = model.adapter.decode(ids(result))
    if model.adapter.decode(model.adapter.encode_input(prompt + rest).ids) == prompt + rest:
        assert decoded.replace(" ", "") == (prompt + rest).replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(prompts=st.lists(TEXT.map(lambda t: "a" + t), min_size=2, max_size=3))
def test_any_texts_of_a_batch_are_as_alone(kind, prompts):
    """Generation and scores, whatever the lengths."""
    arguments = {"generation_args": {"max_new_tokens": 2}}
    together = attributed(kind, prompts, **arguments)

    for prompt, result in zip(prompts, together, strict=True):
        (alone,) = attributed(kind, prompt, **arguments)
        assert ids(alone) == ids(result)
        # float32 of other shapes
        np.testing.assert_allclose(
            alone.step_scores["probability"], result.step_scores["probability"], rtol=1e-3
        )


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(
    rest=st.text(st.sampled_from("abcdefgh你好世界مرحباé🙂🚀 .,"), min_size=2, max_size=14),
    cut=st.tuples(st.integers(0, 13), st.integers(1, 5)),
)
def test_a_piece_of_any_output_is_found_in_it(kind, rest, cut):
    """The tokens of a piece decode to a text that has it; if it stands there twice, that is said."""
    model = model_of(kind)
    (whole,) = attributed(kind, "Hello", "Hello" + rest)
    output = model.adapter.decode(ids(whole)[whole.attr_pos_start :], skip_special_tokens=False)
    piece = output[cut[0] : cut[0] + cut[1]]
    if not piece.strip():
        return
    occurrences = sum(output.startswith(piece, i) for i in range(len(output)))
    try:
        (result,) = attributed(kind, "Hello", "Hello" + rest, attribute_span=piece)
    except errors.PositionError as error:
        assert occurrences != 1 and ("times in the output" in str(error) or "no part" in str(error))
        return
    found = ids(result)[result.attr_pos_start : result.attr_pos_end]
    assert piece.strip() in model.adapter.decode(found, skip_special_tokens=False)


# -- what random texts do not meet ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_end_token_has_its_column(kind):
    """Also where end, padding and unknown token are one."""
    model = model_of(kind)
    tokenizer = model.adapter.tokenizer
    end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    (result,) = attributed(
        kind, "Hello", generation_args={"max_new_tokens": 4, "forced_eos_token_id": end, "min_new_tokens": 4}
    )

    assert ids(result)[-1] == end and result.n_steps == 4
    assert result.target_special[-1]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("你好世界。我喜欢学习新的语言。", "学习"),
        ("こんにちは世界。日本語のテキストです。", "日本語"),
        ("مرحبا بالعالم، هذا نص قصير.", "قصير"),
        ("Emoji are fun 🙂🚀 and more", "🚀"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_every_script_can_be_read_and_pieces_of_them_found(kind, text, pieces):
    """The peer shows bytes as Latin letters."""
    if kind == "wordpiece":
        pytest.skip("its vocabulary has few letters beyond Latin: the rest is [UNK]")
    (result,) = attributed(kind, "Hello ", "Hello " + text)
    shown = "".join(str(t) for t in result.target).replace("▁", " ").replace("Ġ", " ")

    assert not set("åæçéèäãï¼½¿Ùذ") - set("ذ") & set(shown)
    (found,) = attributed(kind, "Hello ", "Hello " + text, attribute_span=pieces)
    written = model_of(kind).adapter.decode(ids(found)[found.attr_pos_start : found.attr_pos_end])
    assert pieces in written and len(written) < len(text)


def test_an_empty_prompt_begins_with_the_start_token():
    """Everything that the model writes is then its own."""
    (result,) = attributed("unigram_bos", "", generation_args={"max_new_tokens": 3})

    assert result.attr_pos_start == 1 and str(result.target[0]) == "<s>"


def test_special_tokens_in_a_prompt_are_themselves():
    """Not their letters."""
    (result,) = attributed("byte_bpe", "<|im_start|>user", generation_args={"max_new_tokens": 2})

    assert str(result.target[0]) == "<|im_start|>" and result.target_special[0]


def test_a_prompt_beyond_the_model_s_length_says_both_numbers_or_is_cut():
    """An error of the embedding table would say neither."""
    prompt = "Hello ladies " * 60
    with pytest.raises(
        errors.TextTooLongError, match=r"has \d+ tokens.*has 128 positions(.|\n)*truncation=True"
    ):
        attributed("byte_bpe", prompt)
    (result,) = attributed("byte_bpe", prompt, truncation=True, generation_args={"max_new_tokens": 2})

    assert result.n_steps == 2 and len(result.target) <= 128
