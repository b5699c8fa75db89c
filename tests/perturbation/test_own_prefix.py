"""What a step's scores may depend on: its own prefix, the seed, the text. Nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from support.removal_truth import linear_model

METHODS = [
    ("occlusion", {"window": 2}),
    ("leave_one_out", {}),
    ("lime", {"n_samples": 20}),
    ("kernel_shap", {"n_samples": 20}),
    ("shapley", {"exact": False, "n_samples": 6, "tolerance": 0.3}),
    ("context_cite", {"n_samples": 20, "n_bootstrap": 5}),
    ("reagent", {"max_probe_steps": 6, "num_probes": 3}),
]
TEXT = "the dog sees a cat . the man sees red . because"

pytestmark = pytest.mark.filterwarnings("ignore:shapley")


@pytest.mark.parametrize(("method", "arguments"), METHODS)
def test_a_step_is_as_it_would_be_if_the_attribution_ended_with_it(method, arguments):
    """Features at or after a step never count, neither in its draws nor in its regression."""
    model = linear_model(scale=1.2)
    (whole,) = model.attribute("the dog", TEXT, method=method, **arguments)
    (part,) = model.attribute("the dog", TEXT, method=method, attr_pos_end=7, **arguments)

    np.testing.assert_allclose(
        part.target_attributions[:6], whole.target_attributions[:6, : part.n_steps], rtol=1e-5, atol=1e-7
    )  # float32
    for name, scores in part.step_scores.items():
        np.testing.assert_allclose(scores, whole.step_scores[name][: part.n_steps], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("method", "arguments"), METHODS)
@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_texts_in_a_batch_are_as_alone(method, arguments, is_encoder_decoder):
    """Each text has its own generator."""
    model = linear_model(is_encoder_decoder=is_encoder_decoder)
    texts, options = ["the dog sees", "a"], {"attribute_target": is_encoder_decoder, **arguments}
    alone = [model.attribute(text, method=method, **options)[0] for text in texts]

    assert list(model.attribute(texts, method=method, **options)) == alone
    assert list(model.attribute(texts[::-1], method=method, **options)) == alone[::-1]


@pytest.mark.parametrize(("method", "arguments"), METHODS)
def test_how_much_is_run_at_once_changes_nothing(method, arguments, monkeypatch):
    """Logits of all versions are never held together; the parts give the same numbers."""
    model = linear_model(scale=1.2)
    (whole,) = model.attribute("the dog", TEXT, method=method, **arguments)
    monkeypatch.setattr(
        "inseq_core.contracts.memory.LOGIT_BUDGET", 12 * 14 * 15
    )  # a version or two at a time
    model.adapter.passes.clear()
    (parts,) = model.attribute("the dog", TEXT, method=method, **arguments)

    assert len(model.adapter.passes) > 3
    assert parts == whole


@pytest.mark.parametrize(("method", "arguments"), METHODS)
def test_running_out_of_memory_halves_the_work_and_changes_nothing(method, arguments, monkeypatch):
    """The error is survived inside the method, so that not even its draws are made again."""
    model = linear_model(scale=1.2)
    (whole,) = model.attribute("the dog", TEXT, method=method, **arguments)
    forward = model.adapter.forward_rows

    def small(batch, grid):
        if len(batch) > 3:
            raise MemoryError("too many at once")
        return forward(batch, grid)

    monkeypatch.setattr(model.adapter, "forward_rows", small)

    assert model.attribute("the dog", TEXT, method=method, **arguments)[0] == whole


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "context_cite", "shapley", "reagent"])
def test_another_seed_draws_other_versions(method):
    """And the same seed the same ones, without asking."""
    model = linear_model(scale=1.2)
    arguments = dict(METHODS)[method]
    first, again, other = (
        model.attribute("the dog", TEXT, method=method, seed=seed, **arguments)[0] for seed in (0, None, 1)
    )

    assert first == again
    assert not np.allclose(first.target_attributions, other.target_attributions, equal_nan=True)
