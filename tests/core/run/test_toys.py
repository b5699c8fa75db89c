from __future__ import annotations

import attrs
import numpy as np
import pytest

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.testing.toys import EOS, UNK, BagModel


def test_the_logits_are_the_sum_that_the_docstring_says():
    """Everything else derives its expected numbers from this sum, so it is written out once by hand."""
    model = BagModel(is_encoder_decoder=True)
    w, ids = model.weights, model.token_ids(["a", "dog", "sees"])
    text = EncodedText(target_ids=ids, source_ids=[5, EOS])

    expected = w.bias + 0.64 * w.target[ids[0]] + 0.8 * w.target[ids[1]] + w.target[ids[2]]
    expected = expected + w.source[5] + w.source[EOS]

    np.testing.assert_allclose(model.logits(text, 3), expected, rtol=1e-12)


def test_an_unknown_word_adds_nothing():
    """Removal by <unk> is then exactly removal of the word's vector."""
    model = BagModel()
    with_unknown = EncodedText(target_ids=[5, UNK, 6])
    masked = EncodedText(target_ids=[5, 7, 6], target_kept=np.array([True, False, True]))

    np.testing.assert_array_equal(model.logits(with_unknown, 3), model.logits(masked, 3))


def test_generation_takes_the_most_likely_token_at_every_step():
    """Greedy by definition: each generated token is the argmax of the logits of what stands before it."""
    model = BagModel(seed=3)
    given = model.encode_input("the dog")
    text = EncodedText(target_ids=model.start_ids(given), prompt_length=3)
    (ids,) = model.generate([text], {"max_new_tokens": 5})

    whole = attrs.evolve(text, target_ids=ids)
    assert len(ids) == 8 or ids[-1] == EOS
    assert [int(model.logits(whole, s).argmax()) for s in range(3, len(ids))] == ids[3:].tolist()


def test_rows_of_a_padded_batch_are_those_of_the_texts_alone():
    """Padding must not be seen."""
    model = BagModel()
    texts = [EncodedText(target_ids=[5, 6, 7, 8, 9]), EncodedText(target_ids=[5, 8])]
    batch = TokenBatch.of(texts, model.pad_id)
    together = model.forward_rows(batch, StepGrid.of(batch, [(1, 5), (1, 2)])).logits
    alone = TokenBatch.of(texts[1:], model.pad_id)

    np.testing.assert_array_equal(
        together[4:], model.forward_rows(alone, StepGrid.of(alone, [(1, 2)])).logits
    )


@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_a_text_survives_encoding_and_decoding(is_encoder_decoder):
    """The tokenizer of the toys is exact for words of its vocabulary."""
    model = BagModel(is_encoder_decoder=is_encoder_decoder)

    assert model.decode(model.encode_input("the dog sees a cat .").ids) == "the dog sees a cat ."
