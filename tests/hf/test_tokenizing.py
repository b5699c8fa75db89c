"""Texts to ids: the boundary between prompt and output, for four kinds of tokenizers and any text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.hf_adapters import tiny_adapter
from support.tiny_models import DECODER_ONLY, tiny_tokenizer

from inseq_core.errors import ForcedTextError, InvalidArgumentError, TextTooLongError
from inseq_hf.tokenizing import TextCodec

KINDS = (
    "byte_bpe",
    "byte_bpe_no_bos",
    "byte_bpe_bos",
    "unigram",
    "unigram_bos",
    "wordpiece",
    "wordpiece_cls",
)
REVERSIBLE = ("byte_bpe", "byte_bpe_no_bos", "byte_bpe_bos")
"""Kinds whose ids decode to the text, character by character."""
WORDS = st.sampled_from(
    [
        "Hello",
        " ladies",
        "ing",
        "the ",
        " and",
        "你好",
        "日本",
        "مرحبا",
        "🙂",
        "é",
        "č",
        " ",
        "\n",
        "\t",
        ",",
        "can't",
        "x",
    ]
)
TEXTS = st.one_of(
    st.lists(WORDS, max_size=8).map("".join),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12),
)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def codec_of(kind: str) -> TextCodec:
    """Of a decoder-only model with a kind of tokenizer."""
    tokenizer = tiny_tokenizer(kind)
    starts = (tokenizer.bos_token_id, getattr(tokenizer, "cls_token_id", None), tokenizer.eos_token_id)
    start = next(i for i in starts if i is not None)
    return TextCodec(tokenizer=tokenizer, model_name="tiny", vocabulary_size=len(tokenizer), start_id=start)


@EVERY_KIND
@settings(max_examples=60, deadline=None)
@given(prompt=TEXTS, rest=TEXTS)
@example(prompt="Hello lad", rest="ies and")
@example(prompt="Hello ", rest="ladies")
@example(prompt="", rest="Hello")
@example(prompt="你", rest="好")
def test_a_forced_output_begins_with_the_prompts_own_ids(kind, prompt, rest):
    """Whatever merges across the boundary: the prompt that is attributed is the prompt that was given."""
    codec = codec_of(kind)
    begun = codec.prompt_ids(prompt)

    ids = codec.continued(begun, prompt, prompt + rest)

    assert begun and ids[: len(begun)] == begun
    if kind in REVERSIBLE:
        assert codec.decode(ids) == prompt + rest


@pytest.mark.parametrize("kind", ["unigram", "unigram_bos"])
@settings(max_examples=60, deadline=None)
@given(prompt=st.lists(WORDS, max_size=8).map("".join), rest=st.lists(WORDS, max_size=6).map("".join))
@example(prompt="Hello ladies", rest="x")
def test_a_continuation_gets_no_space_that_the_text_does_not_have(kind, prompt, rest):
    """SentencePiece puts a space before every text; a continuation is not a text."""
    codec = codec_of(kind)

    ids = codec.continued(codec.prompt_ids(prompt), prompt, prompt + rest)

    # the same text tokenised at once is what the continuation must read as
    assert codec.decode(ids) == codec.decode(codec.bare(prompt + rest))


def test_a_word_that_a_prompt_cuts_goes_on_as_a_word_piece():
    """WordPiece marks continuations; the second half of a word is not a word of its own."""
    codec = codec_of("wordpiece")
    begun = codec.prompt_ids("the lad")

    ids = codec.continued(begun, "the lad", "the ladies")

    assert codec.decode(ids) == "the ladies"
    assert codec.token_texts(ids, "target").tokens[len(begun)].startswith("##")


@pytest.mark.parametrize(
    ("kind", "first"),
    [("byte_bpe", "He"), ("byte_bpe_bos", "<s>"), ("unigram_bos", "<s>"), ("wordpiece_cls", "[CLS]")],
)
def test_prompts_begin_as_the_tokenizer_says_and_never_end(kind, first):
    """A start token belongs to a prompt; an end token would tell the model that the text is over."""
    codec = codec_of(kind)

    tokens = codec.token_texts(codec.prompt_ids("Hello ladies"), "target")

    assert tokens.tokens[0].lower() == first.lower()
    assert not any(tokens.special[1:])


@EVERY_KIND
def test_an_empty_prompt_is_the_start_token(kind):
    """Without any token there would be no position to predict the first word from."""
    codec = codec_of(kind)

    assert codec.prompt_ids("") == [codec.start_id]
    assert codec.continued([codec.start_id], "", "Hello")[0] == codec.start_id


def test_an_empty_prompt_without_a_start_token_is_refused():
    """Better than an index error in the model."""
    codec = codec_of("unigram")
    codec.start_id = None

    with pytest.raises(InvalidArgumentError, match="no start token"):
        codec.prompt_ids("")


def test_an_output_that_does_not_continue_its_input_shows_both():
    """The user must see where they differ, also far behind a common beginning."""
    codec = codec_of("byte_bpe")
    day, night = "Hello. " * 20 + "Good day", "Hello. " * 20 + "Good night"

    with pytest.raises(ForcedTextError, match=r"'….*Good night' where the input has '….*Good day'"):
        codec.continued(codec.prompt_ids(day), day, night)


def test_the_prompt_alone_is_an_output():
    """Prompt tokens can be attributed, so a forced text may add nothing."""
    codec = codec_of("unigram_bos")
    begun = codec.prompt_ids("Hello ladies ")

    assert codec.continued(begun, "Hello ladies ", "Hello ladies ") == begun


@pytest.mark.parametrize("kind", ["byte_bpe_bos", "unigram_bos"])
def test_a_prompt_that_was_cut_is_continued_from_where_it_was_cut(kind):
    """The end of the prompt that was left out must not come back as output."""
    codec = codec_of(kind)
    text = "Hello ladies and gentlemen, welcome to the show."
    begun = codec.prompt_ids(text, limit=8, truncate=True)

    ids = codec.continued(begun, text, text + " She said")

    assert len(begun) <= 8
    assert ids[: len(begun)] == begun
    assert codec.decode(ids[len(begun) :]).strip() == "She said"


@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_a_text_beyond_the_models_positions_says_both_numbers(name):
    """128 positions in the tiny models."""
    adapter = tiny_adapter(name)

    with pytest.raises(TextTooLongError, match=r"has \d{3} tokens: .* has 128 positions"):
        adapter.encode_input("ladies " * 200)


@pytest.mark.parametrize(("name", "before", "after"), [("marian", 0, 1), ("mbart", 0, 2), ("m2m100", 1, 1)])
def test_a_source_that_is_cut_keeps_its_frame(name, before, after):
    """An end token or language code that is cut off changes what the model reads."""
    adapter = tiny_adapter(name)
    whole = adapter.encode_input("ladies").ids

    ids = adapter.encode_input("ladies " * 200, truncate=True).ids

    assert len(ids) == 128
    assert ids[:before] == whole[:before] and ids[-after:] == whole[-after:]


def test_a_prompt_that_is_cut_leaves_room_to_write():
    """A prompt that fills all positions could not be continued."""
    adapter = tiny_adapter("gpt2")

    ids = adapter.encode_input("ladies " * 200, truncate=True).ids

    assert len(ids) == 128 - 32


@pytest.mark.parametrize("name", DECODER_ONLY)
def test_prompt_and_output_of_every_architecture_join_in_ids(name):
    """The adapter's own way from text to ids, with the tokenizer of each family."""
    adapter = tiny_adapter(name)
    given_ids = adapter.encode_input("Hello lad")

    ids = adapter.encode_output("Hello ladies and gentlemen", given_ids)

    assert ids[: len(given_ids.ids)].tolist() == list(given_ids.ids)
    assert adapter.decode(ids).strip() == "Hello ladies and gentlemen"


def test_ids_beyond_the_embeddings_are_refused():
    """A tokenizer of another model would end in an index error, or in silence."""
    codec = codec_of("byte_bpe")
    codec.vocabulary_size = 60

    with pytest.raises(InvalidArgumentError, match="embeddings for 60 ids"):
        codec.prompt_ids("Hello")
