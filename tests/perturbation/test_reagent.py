from __future__ import annotations

import numpy as np
import pytest
from support.removal_truth import linear_model

from inseq_core.errors import ApproximationWarning
from inseq_perturbation.reagent import Reagent, rank_of_target, softmax

FEW = {"max_probe_steps": 40, "num_probes": 4}


def cue_model():
    """A toy on which one word alone decides: "red" makes "small" likely."""
    model = linear_model(scale=0.0, decay=1.0)
    toy = model.adapter
    toy.weights.bias[:] = 0.0
    toy.weights.bias[toy.ids["the"]] = -3.0  # never the likeliest
    toy.weights.target[toy.ids["red"], toy.ids["small"]] = 6.0
    return model


@pytest.mark.parametrize("replacements", ["model", "vocabulary"])
def test_the_word_that_decides_comes_first(replacements):
    """Where it is replaced the target's probability falls, and where another is, it does not."""
    text = "the dog sees a red cat . the man"
    (result,) = cue_model().attribute(
        text, f"{text} small", method="reagent", replacements=replacements, keep_top_n=1, **FEW
    )
    scores = result.target_attributions[:-1, 0]

    assert str(result.target[int(scores.argmax())]) == "red"
    assert scores[0] == 0.0  # <s> is never replaced


def test_the_scores_of_a_step_are_a_distribution_over_what_it_sees():
    """A softmax of log-odds, averaged over the probes."""
    (result,) = linear_model().attribute("the dog sees", method="reagent", **FEW)

    assert np.nanmin(result.target_attributions) >= 0.0
    np.testing.assert_allclose(np.nansum(result.target_attributions, axis=0), 1.0, rtol=1e-5)  # float32


def test_the_same_seed_gives_the_same_scores_and_another_gives_others():
    """The peer draws from whatever state the process happens to be in."""
    model = cue_model()
    text = "the dog sees a red cat"
    first, again = (model.attribute(text, f"{text} small", method="reagent", **FEW)[0] for _ in range(2))
    other = model.attribute(text, f"{text} small", method="reagent", seed=1, **FEW)[0]

    assert first == again
    assert not np.array_equal(first.target_attributions, other.target_attributions, equal_nan=True)


def test_probes_stop_when_their_top_tokens_are_enough():
    """ "red" alone keeps "small" the likeliest token: nothing is left to find out once it leads."""
    text = "the dog sees a red cat"
    model = cue_model()
    (easy,) = model.attribute(
        text, f"{text} small", method="reagent", stopping_condition_top_k=1, keep_top_n=2, **FEW
    )
    (hard,) = model.attribute(
        text, f"{text} the", method="reagent", stopping_condition_top_k=1, keep_top_n=2, **FEW
    )

    assert easy.step_scores["probe_steps"][0] < hard.step_scores["probe_steps"][0] == FEW["max_probe_steps"]


def test_many_rounds_run_in_few_batches():
    """Choices do not depend on what was found, so that all rounds between two looks go together."""
    model = cue_model()
    text = "the dog sees a red cat"
    model.attribute(text, f"{text} the", method="reagent", stopping_condition_top_k=1, **FEW)
    looks = len(list(Reagent(**FEW).looks()))

    assert looks < 12
    assert len(model.adapter.passes) <= 2 * looks + 1  # and one that asks the model what it expects


def test_rounds_between_looks_add_up_to_the_bound():
    """No round is lost, and none is added."""
    for bound in (1, 2, 3, 10, 3000):
        assert sum(Reagent(max_probe_steps=bound).looks()) == bound


def test_the_rank_of_a_target_counts_the_likelier_tokens():
    """By hand; ties count for the target."""
    from inseq_core.contracts.step_function import ForwardOutput

    class Args:
        logits = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]])
        target_ids = np.array([0, 1])
        forward_output = ForwardOutput(logits=logits[:, None])

    np.testing.assert_array_equal(rank_of_target(Args()), [2, 0])


def test_a_softmax_of_nothing_is_zero():
    """A step that sees no feature has no distribution to give."""
    np.testing.assert_array_equal(softmax(np.full((2, 3), -np.inf)), 0.0)


def test_what_stood_in_for_the_tokens_is_said_in_the_result():
    """Not the way to remove that other methods have by default."""
    out = linear_model().attribute("the dog", method="reagent", replacements="vocabulary", **FEW)

    assert out.info.notes["removal"] == "replacements:vocabulary"


def test_what_is_no_probability_is_spoken_of():
    """A logit may fall by more than one, which the log-odds of a change cannot say."""
    model = linear_model()

    with pytest.warns(ApproximationWarning, match=r"'logit' for a probability, but it changed by up to"):
        model.attribute(
            "the dog", "the dog sees a", method="reagent", attributed_fn="logit", max_probe_steps=20
        )
