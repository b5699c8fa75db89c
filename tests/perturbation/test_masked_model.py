from __future__ import annotations

import numpy as np
import pytest
import torch
from support.removal_truth import WORDS, linear_model

from inseq_core.errors import InvalidArgumentError
from inseq_perturbation.masked import plain

FEW = {"max_probe_steps": 10, "num_probes": 2}
TEXT = "the dog sees a red cat"


def masked_model(words=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)):
    """A tiny BERT over the toy's words, and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        mask_token="[MASK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    return BertForMaskedLM(config).eval(), tokenizer


def pools(monkeypatch, model, **arguments):
    """The replacements that a call drew: (L, K) ids."""
    from inseq_perturbation import masked, reagent

    drawn = []
    draw = masked.masked_pool
    monkeypatch.setattr(masked, "masked_pool", lambda *a: drawn.append(draw(*a)) or drawn[-1])
    options = {"replacements": "masked", "masked_model": masked_model(), **FEW, **arguments}
    model.attribute(TEXT, f"{TEXT} small", method="reagent", **options)
    assert drawn[0].shape[1] == reagent.CANDIDATES
    return drawn


def test_a_token_is_replaced_by_what_the_masked_model_expects(monkeypatch):
    """A model that always says "man": so does every replacement, except in the place of "man" itself."""
    bert, tokenizer = masked_model()
    with torch.no_grad():
        bert.cls.predictions.bias[tokenizer.convert_tokens_to_ids("man")] = 1e4
    model = linear_model()
    (pool,) = pools(monkeypatch, model, masked_model=(bert, tokenizer))

    assert set(pool[1:].ravel()) == {model.adapter.ids["man"]}


def test_draws_are_words_of_both_vocabularies_and_never_the_token_itself(monkeypatch):
    """Seeded by the text: the same call draws the same ones."""
    model = linear_model()
    (first,) = pools(monkeypatch, model)
    (again,) = pools(monkeypatch, model)
    ids = model.adapter.encode_input(TEXT).ids

    np.testing.assert_array_equal(first, again)
    assert np.all(first >= 4)  # no special tokens
    assert all(own not in row for own, row in zip(ids, first, strict=False))


def test_a_masked_model_may_lie_in_a_folder(tmp_path):
    """Nothing is asked of the network."""
    bert, tokenizer = masked_model()
    bert.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    out = linear_model().attribute(
        TEXT, f"{TEXT} small", method="reagent", replacements="masked", masked_model=str(tmp_path), **FEW
    )

    assert out.info.notes["removal"] == "replacements:masked"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no/such/folder", "masked_model = 'no/such/folder'"),
        (3, r"masked_model = 3 .*\(model, tokenizer\)"),
        (masked_model(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "deux")), "shares pieces"),
    ],
)
def test_what_is_no_masked_model_of_these_words_is_refused(given, said):
    """By name, with what would do."""
    with pytest.raises(InvalidArgumentError, match=said):
        linear_model().attribute(TEXT, method="reagent", replacements="masked", masked_model=given, **FEW)


def test_a_text_longer_than_the_masked_model_says_so():
    """Sixteen positions are not enough for twenty words."""
    long = " ".join(WORDS * 2)
    with pytest.raises(InvalidArgumentError, match=r"masked_model has 16 positions, the target needs 2\d"):
        linear_model().attribute(
            long, f"{long} the", method="reagent", replacements="masked", masked_model=masked_model(), **FEW
        )


def test_pieces_of_different_tokenizers_are_compared_by_their_words():
    """A space where a word begins, however it is written."""
    assert plain(["Ġdog", "s"]) == plain(["▁dog", "s"]) == plain(["dog", "##s"]) == [" dog", "s"]
