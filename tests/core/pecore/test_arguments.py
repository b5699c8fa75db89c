from __future__ import annotations

import numpy as np
import pytest

from inseq_core import errors
from inseq_core.pecore import attribute_context
from inseq_core.pecore.selecting import standing_out, threshold
from inseq_core.pecore.templates import Template, joined


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_current_text": " "}, "input_current_text = ' '"),
        ({"input_context_text": ""}, "input_context_text = ''"),
        ({"input_context_text": None}, "There is no context"),
        ({"input_template": "{context}"}, "has 0 places {current}"),
        ({"input_template": "{current} {current} {context}"}, "has 2 places {current}"),
        ({"input_template": "{context} {context} {current}"}, "has 2 places {context}"),
        ({"input_template": "{current}"}, "input_context_text would not be used"),
        ({"input_context_text": None, "input_template": "{context} {current}"}, "has a place {context}"),
        ({"output_template": "{current} {context}"}, "has to stand before {current}"),
        (
            {"output_template": "{current}", "output_context_text": "a"},
            "output_context_text would not be used",
        ),
        ({"contextless_output_current_text": "the"}, "has 0 places {current}"),
        ({"contextless_output_current_text": "{context} {current}"}, "without one"),
        ({"contextless_input_current_text": ""}, "contextless_input_current_text = ''"),
        ({"handle_output_context_strategy": "automatic"}, "Did you mean 'auto'"),
        ({"context_sensitivity_metric": "kl_divergense"}, "Did you mean 'kl_divergence'"),
        ({"attributed_fn": "probabilty"}, "Did you mean 'probability'"),
        ({"attribution_method": "leave_outt"}, "Did you mean 'leave_out'"),
        ({"context_sensitivity_topk": 0}, "context_sensitivity_topk = 0"),
        ({"attribution_topk": 1.5}, "attribution_topk = 1.5"),
        ({"attribution_std_threshold": "high"}, "attribution_std_threshold = 'high'"),
        ({"normalize_attributions": True, "rescale_attributions": True}, "Use one of"),
        ({"attribution_selectors": [1, 2]}, "at most one index"),
        ({"attribution_aggregators": ["wrods"]}, "Did you mean 'words'"),
        ({"attribution_kwargs": {"contrast_targets": "x"}}, "contrast_targets is what the procedure"),
        ({"attribution_kwargs": [1]}, "attribution_kwargs = [1]"),
        ({"contextless_output_next_tokens": ["a"]}, "'probability' compares nothing"),
        ({"prompt_user_for_contextless_output_next_tokens": True}, "'probability' compares nothing"),
        (
            {
                "attributed_fn": "contrast_prob_diff",
                "contextless_output_next_tokens": ["a"],
                "prompt_user_for_contextless_output_next_tokens": True,
            },
            "Use one of",
        ),
        ({"special_tokens_to_keep": [1]}, "special_tokens_to_keep = [1]"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_works(lm, arguments, message):
    """One line of what, with the value; nothing is generated first."""
    given = {"input_current_text": "a cat", "input_context_text": "the dog", **arguments}
    with pytest.raises(errors.InseqError) as raised:
        attribute_context(lm, **given)

    assert message in str(raised.value)
    assert lm.adapter.passes == []


def test_a_model_is_not_loaded_for_a_call_that_cannot_be_answered():
    """Loading may take minutes."""
    with pytest.raises(errors.InvalidArgumentError, match="There is no context"):
        attribute_context("a-model-that-there-is-not", "a cat")


def test_other_braces_of_a_template_stand_for_themselves():
    """Prompts hold JSON and code."""
    filled = Template.of("input_template", '{"a": "{context}", "b": {current}}').fill("now", "then")

    assert filled.text == '{"a": "then", "b": now}'
    assert filled.text[slice(*filled.context)] == "then" and filled.text[slice(*filled.current)] == "now"


def test_texts_that_look_like_places_are_texts():
    """A context about templates is not filled in."""
    assert Template.of("input_template", "{context}|{current}").fill("{context}", "{current}").text == (
        "{current}|{context}"
    )


def test_a_separator_is_not_doubled():
    """It may come with either text."""
    assert joined("a ", "b", " ") == joined("a", " b", " ") == joined("a", "b", " ") == "a b"
    assert joined("a", "b", "") == "ab"


def test_the_threshold_is_the_mean_and_some_standard_deviations():
    """Of the absolute values, with n - 1: of 1, 2, 3 the mean is 2 and the deviation 1."""
    assert threshold([1.0, -2.0, 3.0], 1.0) == pytest.approx(3.0)
    assert threshold([1.0, -2.0, 3.0], 0.0) == pytest.approx(2.0)
    assert threshold([1.0, -2.0, 3.0], None) == 0.0
    assert threshold([4.0], 1.0) == 4.0 and threshold([], 1.0) == 0.0


def test_what_stands_out_comes_largest_first():
    """By absolute value, topk of them; nothing of zero."""
    scores = [1.0, -5.0, 0.0, 2.0]

    assert standing_out(scores, None, None) == (1, 3, 0)
    assert standing_out(scores, None, 2) == (1, 3)
    assert standing_out(scores, 1.0, None) == (1,)
    assert standing_out([0.0, 0.0], 1.0, None) == ()
    assert standing_out([np.float32(0.1)] * 3, 1.0, None) == (0, 1, 2)


def test_thresholds_decide_which_tokens_are_attributed_and_which_are_cues(lm):
    """CTI's decide what is worked out, CCI's only what is shown: every score is kept."""
    arguments = {"output_current_text": "sees it because", "attributed_fn": "logit"}
    every = attribute_context(
        lm, "a cat", "the small dog", context_sensitivity_std_threshold=None, **arguments
    )
    two = attribute_context(
        lm,
        "a cat",
        "the small dog",
        context_sensitivity_std_threshold=-9.0,
        context_sensitivity_topk=2,
        attribution_std_threshold=None,
        attribution_topk=2,
        **arguments,
    )
    few = attribute_context(lm, "a cat", "the small dog", context_sensitivity_std_threshold=1.0, **arguments)

    order = np.argsort([-s for s in every.cti_scores]).tolist()
    assert [c.cti_idx for c in every.cci_scores] == order
    assert [c.cti_idx for c in two.cci_scores] == order[:2]
    limit = np.mean(every.cti_scores) + np.std(every.cti_scores, ddof=1)
    assert few.cti_threshold == pytest.approx(limit, rel=1e-6)
    assert {c.cti_idx for c in few.cci_scores} == {i for i, s in enumerate(few.cti_scores) if s >= limit}
    cci = two.cci_scores[0]
    assert len(cci.input_context_scores) == 3 and len(two.cues(cci)) == 2
    assert two.cues(cci)[0].score == max(cci.input_context_scores, key=abs)
    assert len(every.cues(every.cci_scores[0])) < 3  # one deviation, by default
