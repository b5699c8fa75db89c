from __future__ import annotations

import numpy as np
import pytest
from support.removal_truth import linear_model, score, steps_of, text_of

from inseq_core.errors import InvalidArgumentError


def test_every_step_equals_a_run_of_its_own():
    """Also the steps after the first, whose prefix holds generated tokens."""
    model = linear_model()
    (result,) = model.attribute("the dog sees", method="occlusion")
    text = text_of(result)

    for k, s in steps_of(result):
        full = score(model.adapter, text, s)
        expected = [0.0] + [full - score(model.adapter, text, s, {j}) for j in range(1, s)]
        np.testing.assert_allclose(result.target_attributions[:s, k], expected, atol=1e-7)  # float32


def test_a_token_that_speaks_against_the_step_scores_below_zero():
    """The peer drops the sign, and with it half of the answer."""
    (result,) = linear_model().attribute("the dog sees a cat", method="occlusion")

    assert np.nanmin(result.target_attributions) < 0 < np.nanmax(result.target_attributions)


@pytest.mark.parametrize(("window", "strides"), [(2, 1), (3, 1), (3, 2), (2, 2), (20, 20)])
def test_a_window_s_loss_is_averaged_over_the_windows_that_cover_a_token(window, strides):
    """By hand: windows begin at 1, 1 + strides …; the last ones are cut where the step's prefix ends."""
    model = linear_model()
    (result,) = model.attribute("the dog sees a cat", method="occlusion", window=window, strides=strides)
    text = text_of(result)

    for k, s in steps_of(result):
        full, total, count = score(model.adapter, text, s), np.zeros(s), np.zeros(s)
        last = len(result.target) - 1  # the last token is seen by no step
        for start in range(1, last, strides):
            covered = [j for j in range(start, start + window) if j < s]
            total[covered] += full - score(model.adapter, text, s, set(covered))
            count[covered] += 1
        expected = total / np.maximum(count, 1)
        np.testing.assert_allclose(result.target_attributions[:s, k], expected, atol=1e-7)  # float32


def test_windows_do_not_reach_from_the_source_into_the_target():
    """They are different texts: the end of one is not beside the beginning of the other."""
    model = linear_model(is_encoder_decoder=True)
    (result,) = model.attribute(
        "the dog", method="occlusion", window=2, strides=2, attribute_target=True, attributed_fn="logit"
    )

    source = result.source_attributions
    np.testing.assert_allclose(source[0], source[1], rtol=1e-6)
    assert not np.allclose(source[1, 2:], result.target_attributions[1, 2:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"window": 0}, "window = 0"),
        ({"window": 2.5}, "window = 2.5"),
        ({"window": 2, "strides": 3}, "strides = 3 .*at most window = 2"),
        ({"window": True}, "window = True"),
    ],
)
def test_windows_that_make_no_sense_are_refused(arguments, said):
    """Before the model does anything."""
    model = linear_model()

    with pytest.raises(InvalidArgumentError, match=said):
        model.attribute("the dog", method="occlusion", **arguments)
    assert model.adapter.passes == []


def test_features_times_steps_cost_one_version_a_feature_and_one_more():
    """The peer runs each of them for every step again."""
    model = linear_model()
    (result,) = model.attribute("the dog sees a cat", method="occlusion")

    n_features = len(result.target) - 2  # neither <s> nor the last token
    assert result.n_steps > 3
    assert sum(model.adapter.passes) == n_features + 1
