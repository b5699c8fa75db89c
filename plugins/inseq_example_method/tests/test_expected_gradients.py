from __future__ import annotations

import numpy as np

import inseq
from inseq_core.data.batch import EncodedText
from inseq_core.testing import parametrize_with_checks
from inseq_core.testing.torch_toys import AttentionModel, PooledModel, TorchToy

test_contract = parametrize_with_checks("expected_gradients")


def test_scores_tend_to_the_closed_form_of_a_linear_model():
    """Where the score is linear in the embeddings, the gradient is the same everywhere and only the distance to
    the references is random; their mean is the baseline. The error falls with the root of the samples.
    """
    toy = TorchToy(PooledModel)
    model = inseq.AttributionModel(toy, "expected_gradients")
    given = toy.encode_input("the dog sees")
    ids = toy.encode_output("the dog sees a cat", given)
    _, truth = toy.contributions(EncodedText(target_ids=ids), len(ids) - 1)

    def error(n_samples: int) -> float:
        out = model.attribute(
            "the dog sees",
            "the dog sees a cat",
            attributed_fn="logit",
            n_samples=n_samples,
            show_progress=False,
        )
        found = out[0].target_attributions[: len(truth), -1].sum(-1)
        return float(np.abs(found[1:] - truth[1:]).mean())

    assert (
        error(1000) < error(10) / 3
    )  # ten times smaller on average; a factor of three leaves room for chance
    assert error(1000) < 0.1


def test_the_seed_decides_the_draws():
    """Random methods are repeatable, and two seeds are two estimates."""
    model = inseq.AttributionModel(TorchToy(AttentionModel), "expected_gradients")

    def scores(seed: int) -> np.ndarray:
        out = model.attribute("the dog", "the dog sees", n_samples=3, seed=seed, show_progress=False)
        return out[0].target_attributions[:3, 0]

    np.testing.assert_array_equal(scores(1), scores(1))
    assert not np.allclose(scores(1), scores(2))
