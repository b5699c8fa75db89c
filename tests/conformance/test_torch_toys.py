"""The toys in torch: linear where they say so, and as large as the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inseq_core.data.batch import EncodedText
from inseq_core.testing.torch_toys import DECAY, AttentionModel, PooledModel, TorchToy
from inseq_core.testing.words import EOS, SPECIAL


def encoded(toy: TorchToy, text: str, output: str) -> EncodedText:
    """A text and its output in ids."""
    given = toy.encode_input(text)
    source = given.ids if toy.is_encoder_decoder else None
    return EncodedText(target_ids=toy.encode_output(output, given), source_ids=source)


@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_contributions_and_bias_are_the_logit(is_encoder_decoder):
    """The closed form that other tests take for the truth, against the model itself."""
    toy = TorchToy(PooledModel, is_encoder_decoder=is_encoder_decoder)
    text = encoded(toy, "the dog sees", "the dog sees a cat")
    for position in range(2, len(text.target_ids)):
        token = int(text.target_ids[position])
        source, target = toy.contributions(text, position)
        expected = float(toy.model.head.bias[token]) + target.sum() + (0 if source is None else source.sum())

        np.testing.assert_allclose(toy.next_logits(text.truncated(position))[token], expected, rtol=1e-12)


def test_a_token_counts_less_the_farther_back_it_stands():
    """By the decay, written out for one token."""
    toy = TorchToy(PooledModel)
    text = encoded(toy, "dog", "dog the a cat")
    _, near = toy.contributions(text, 2)
    _, far = toy.contributions(text, 4)
    word, cat, the = (int(text.target_ids[i]) for i in (1, 4, 2))
    weight, embedding = toy.model.head.weight, toy.model.embedding.weight

    np.testing.assert_allclose(near[1], float(embedding[word] @ weight[the]))
    np.testing.assert_allclose(far[1], DECAY**2 * float(embedding[word] @ weight[cat]))


@pytest.mark.parametrize("kind", [PooledModel, AttentionModel])
@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_special_tokens_have_no_embedding(kind, is_encoder_decoder):
    """So that the baselines "zero" and "unk" are one, and start tokens contribute nothing."""
    toy = TorchToy(kind, is_encoder_decoder=is_encoder_decoder)
    for side in ("source", "target") if is_encoder_decoder else ("target",):
        assert not toy.embedding_matrix(side)[: len(SPECIAL)].any()


def test_weights_are_drawn_without_the_global_generator():
    """Making a toy in the middle of a test may not change what follows."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    TorchToy(AttentionModel)

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", [PooledModel, AttentionModel])
def test_generation_takes_the_most_likely_token_at_every_step(kind):
    """Greedy by definition."""
    toy = TorchToy(kind, seed=3)
    text = EncodedText(target_ids=toy.start_ids(toy.encode_input("the dog")))
    (ids,) = toy.generate([text], {"max_new_tokens": 4})
    whole = EncodedText(target_ids=ids)

    assert len(ids) == 7 or ids[-1] == EOS
    assert [int(toy.next_logits(whole.truncated(p)).argmax()) for p in range(3, len(ids))] == ids[3:].tolist()
