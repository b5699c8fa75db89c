from __future__ import annotations

import numpy as np
import pytest

from inseq_core import errors
from inseq_core.data.token import TokenWithId
from inseq_core.testing.toys import BOS, EOS, PAD, UNK


def test_texts_are_encoded_as_the_model_reads_them(translator):
    """Right-padded, with mask, pieces and baseline."""
    encoding = translator.encode(["the dog sees", "a"], return_baseline=True)
    the, dog, sees, a = translator.adapter.token_ids(["the", "dog", "sees", "a"])

    assert encoding.input_ids.tolist() == [[the, dog, sees, EOS], [a, EOS, PAD, PAD]]
    assert encoding.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert encoding.input_tokens == (("the", "dog", "sees", "</s>"), ("a", "</s>"))
    assert encoding.baseline_ids.tolist() == [[UNK, UNK, UNK, EOS], [UNK, EOS, PAD, PAD]]
    assert translator.encode("a", as_targets=True).ids[0] == (BOS, a, EOS)
    assert translator.encode("a", add_special_tokens=False).ids[0] == (a,)


def test_the_end_token_is_in_the_baseline_only_on_request(translator):
    """include_eos_baseline."""
    encoding = translator.encode("a", return_baseline=True, include_eos_baseline=True)

    assert encoding.baseline_ids.tolist() == [[UNK, UNK]]


def test_ids_and_pieces_and_texts_turn_into_each_other(lm):
    """One row or several, lists or arrays."""
    ids = lm.encode(["the dog", "a"], add_special_tokens=False)

    assert lm.decode(ids) == ["the dog", "a"]
    assert lm.decode(ids.input_ids[0]) == "the dog"
    assert lm.decode([BOS, *ids.ids[1]], skip_special_tokens=False) == "<s> a"
    assert lm.convert_ids_to_tokens(np.array([BOS, ids.ids[1][0]])) == ["a"]
    assert lm.convert_ids_to_tokens([[BOS], [EOS]], skip_special_tokens=False) == [["<s>"], ["</s>"]]
    assert lm.convert_tokens_to_ids(["the", "dog"]) == list(ids.ids[0])
    assert lm.convert_tokens_to_ids([["the", "dog"], ["a"]]) == [list(row) for row in ids.ids]
    assert lm.convert_tokens_to_string(["<s>", "the", "dog"]) == "the dog"


def test_clean_tokens_keep_their_ids(lm):
    """Marks go, identity stays."""
    tokens = [TokenWithId("the", 4), TokenWithId("</s>", EOS)]

    assert lm.clean_tokens(tokens) == tokens
    assert lm.clean_tokens(["the", "</s>"], skip_special_tokens=True) == ["the"]
    assert lm.get_token_with_ids(lm.encode("the", add_special_tokens=False))[0][0] == TokenWithId("the", 4)


def test_generation_gives_texts_and_their_ids(lm, translator):
    """output_generated_only leaves the prompt out."""
    whole = lm.generate("the dog", max_new_tokens=2)[0]
    (only,), (text,) = lm.generate(
        ["the dog"], True, output_generated_only=True, batch_size=1, max_new_tokens=2
    )

    assert whole == f"the dog {only}"
    assert text.prompt_length == 3 and len(text.target_ids) <= 5
    assert translator.generate(translator.encode("the dog")) == translator.generate("the dog")


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.encode("a", as_targets=True),
        lambda m: m.encode([]),
        lambda m: m.encode(3),
        lambda m: m.decode("the"),
        lambda m: m.decode([[1], 2]),
        lambda m: m.clean_tokens("the"),
        lambda m: m.generate([]),
    ],
)
def test_what_is_neither_text_nor_ids_is_refused(lm, call):
    """A string of ids, a mixture, nothing."""
    with pytest.raises(errors.InvalidArgumentError):
        call(lm)


def test_what_a_framework_does_not_have_is_said_by_name(lm):
    """A model of counts has no embeddings and no device to move to."""
    with pytest.raises(errors.CapabilityError, match="give no embeddings"):
        lm.embed("the dog")
    with pytest.raises(errors.CapabilityError, match="give no embeddings"):
        _ = lm.vocabulary_embeddings
    with pytest.raises(AttributeError, match="'tokenizer'"):
        _ = lm.tokenizer
    assert lm.device == "cpu" and lm.special_tokens[0] == "<pad>"
