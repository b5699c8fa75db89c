from __future__ import annotations

import numpy as np
import pytest

from inseq_core import errors


def test_scores_are_weighted_by_a_step_score_that_is_asked_for_with_them(lm):
    """As ``out.weight_attributions`` does afterwards: steps that were open count more."""
    weighted = lm.attribute("the dog sees", weight_by="entropy")
    plain = lm.attribute("the dog sees", step_scores=["entropy"])

    assert weighted[0] == plain.weight_attributions("entropy")[0]
    expected = plain[0].aggregate().target_attributions * plain[0].step_scores["entropy"]
    np.testing.assert_allclose(weighted[0].target_attributions, expected, rtol=1e-6)
    assert weighted.info.notes["weight_by"] == "entropy" and "entropy" in weighted[0].step_scores


def test_a_weight_takes_its_arguments_and_may_be_a_step_score_already(lm):
    """It is a step score like any other."""
    both = lm.attribute("the dog", step_scores=["top_p_size"], weight_by="top_p_size", top_p=0.5)

    assert list(both[0].step_scores) == ["top_p_size"]
    assert both.info.step_scores_args == {"top_p": 0.5}


def test_a_function_may_be_a_weight(lm):
    """Under its own name."""

    def doubt(args):
        return 1.0 - np.exp(args.logits - args.logits.max(-1, keepdims=True)).mean(-1)

    result = lm.attribute("the dog", weight_by=doubt, output_step_attributions=True)

    assert set(result[0].step_scores) == {"doubt"} and result.info.notes["weight_by"] == "doubt"
    column = result.step_attributions[0].target_attributions[0]
    np.testing.assert_array_equal(column, result[0].target_attributions[: len(column), 0])


@pytest.mark.parametrize("weight", ["entrpy", 3])
def test_what_is_no_weight_is_refused(lm, weight):
    """With what there is."""
    with pytest.raises(
        (errors.UnknownNameError, errors.InvalidArgumentError), match=r"entropy|step function"
    ):
        lm.attribute("the dog", weight_by=weight)
    with pytest.raises(errors.UnknownNameError, match="entropy"):
        lm.attribute("the dog", step_scores=["entropy"]).weight_attributions("entrpy")


def test_a_sum_of_steps_of_a_toy_is_the_sum_of_their_losses(lm):
    """Leave one out of a sum is the sum of leaving it out; positions closing up included."""
    for removal in (None, "delete"):
        each = lm.attribute("the dog sees a cat", attributed_fn="logit", removal=removal)[0]
        total = lm.attribute("the dog sees a cat", attributed_fn="logit", removal=removal, steps="sum")[0]

        seen = ~np.isnan(total.target_attributions[:, 0])
        expected = np.nansum(each.target_attributions, axis=1)[seen]
        np.testing.assert_allclose(total.target_attributions[seen, 0], expected, rtol=1e-5, atol=1e-5)
