from __future__ import annotations

import numpy as np
import pytest

from inseq_core.model import AttributionModel
from inseq_core.testing.toys import BagModel, BagWeights


def columns(sequence):
    """(position, token id) of each attributed step."""
    return [(s, sequence.target[s].id) for s in range(sequence.attr_pos_start, sequence.attr_pos_end)]


def test_leaving_out_a_token_takes_away_exactly_its_vector(lm):
    """The model is linear in its tokens, so every cell is known: decay ** distance · W[token, target]."""
    out = lm.attribute("the dog sees", attributed_fn="logit")
    (result,), weights = out, lm.adapter.weights

    for k, (s, target) in enumerate(columns(result)):
        expected = [
            weights.decay ** (s - 1 - j) * weights.target[result.target[j].id, target] for j in range(s)
        ]
        expected[0] = 0.0  # <s> is never removed
        np.testing.assert_allclose(
            result.target_attributions[:s, k], expected, rtol=1e-5, atol=1e-6
        )  # float32


def test_what_is_not_before_its_step_is_nan_and_everything_else_is_a_number(lm):
    """NaN means one thing only: a target position that the step could not see."""
    (result,) = lm.attribute(["the dog sees"])
    positions = np.arange(len(result.target))[:, None]
    steps = np.arange(result.attr_pos_start, result.attr_pos_end)[None, :]

    np.testing.assert_array_equal(np.isnan(result.target_attributions), positions >= steps)


def test_a_source_is_attributed_by_what_each_of_its_tokens_adds(translator):
    """Source tokens have no distance: every step loses W[token, target] with a token."""
    (result,) = translator.attribute("the dog sees", attributed_fn="logit")
    weights = translator.adapter.weights

    assert result.target_attributions is None
    assert [str(t) for t in result.source] == ["the", "dog", "sees", "</s>"]
    for k, (_, target) in enumerate(columns(result)):
        expected = [weights.source[t.id, target] for t in result.source]
        expected[-1] = 0.0  # </s> is kept unless include_eos_baseline
        np.testing.assert_allclose(
            result.source_attributions[:, k], expected, rtol=1e-5, atol=1e-6
        )  # float32


def test_the_end_token_is_a_feature_where_it_is_asked_for(translator):
    """include_eos_baseline means the same for removal as for baselines."""
    (result,) = translator.attribute("the dog", attributed_fn="logit", include_eos_baseline=True)
    weights = translator.adapter.weights

    expected = [weights.source[result.source[-1].id, target] for _, target in columns(result)]
    np.testing.assert_allclose(result.source_attributions[-1], expected, rtol=1e-5, atol=1e-6)  # float32


def test_the_target_prefix_is_attributed_where_it_is_asked_for(translator):
    """Without it, what the prefix did is missing from the picture."""
    (result,) = translator.attribute("the dog", attributed_fn="logit", attribute_target=True)
    weights = translator.adapter.weights

    assert result.attr_pos_start == 1
    target = result.target[3].id
    expected = [0.0, weights.decay * weights.target[result.target[1].id, target]]
    np.testing.assert_allclose(result.target_attributions[:2, 2], expected, rtol=1e-5, atol=1e-6)  # float32


@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_texts_in_a_batch_are_as_alone(is_encoder_decoder):
    """Ragged texts, ragged sources, any batch size."""
    model = AttributionModel(BagModel(is_encoder_decoder=is_encoder_decoder), "positional")
    texts = ["the dog sees a cat", "a", "she likes it because it is red"]
    alone = [model.attribute(text, step_scores=["entropy"], keep_granular=True)[0] for text in texts]

    for size in (None, 1, 2):
        together = model.attribute(texts, step_scores=["entropy"], batch_size=size, keep_granular=True)
        assert list(together) == alone


def test_a_forced_text_gives_what_its_generation_gave(lm):
    """The same ids, however they came about."""
    generated = lm.attribute("the dog sees")
    text = generated.info.generated_texts[0]
    forced = lm.attribute("the dog sees", text)

    assert forced[0] == generated[0]
    assert forced.info.constrained_decoding and not generated.info.constrained_decoding


def test_generation_goes_on_from_a_target_prefix(translator):
    """Columns begin after the prefix: what was given is not explained."""
    (whole,) = translator.attribute("the dog")
    prefix = " ".join(str(t) for t in whole.target[1:3])
    (result,) = translator.attribute("the dog", prefix, generate_from_target_prefix=True)

    assert [str(t) for t in result.target[:6]] == [str(t) for t in whole.target[:6]]
    assert result.attr_pos_start == 3


def test_positions_inside_the_prompt_attribute_prompt_tokens(lm):
    """How likely was the prompt itself, and why."""
    (result,) = lm.attribute("the dog sees a cat", attr_pos_start=2, attr_pos_end=4, attributed_fn="logit")

    assert [str(t) for t in result.step_tokens] == ["dog", "sees"]
    weights = lm.adapter.weights
    expected = weights.target[result.target[1].id, result.target[2].id]
    np.testing.assert_allclose(result.target_attributions[1, 0], expected, rtol=1e-5)  # float32


def test_step_scores_are_the_model_s_own_probabilities(lm):
    """Softmax by hand over the toy's logits, one step at a time."""
    (result,) = lm.attribute("the dog", method="dummy", step_scores=["probability"])
    text = lm.generate("the dog", return_generation_output=True)[1][0]

    for k, (s, target) in enumerate(columns(result)):
        logits = lm.adapter.logits(text, s)
        p = np.exp(logits[target]) / np.exp(logits).sum()
        assert result.step_scores["probability"][k] == pytest.approx(p, rel=1e-6)


def test_step_scores_share_one_forward_pass(lm):
    """However many functions there are, and however many texts and steps."""
    lm.attribute(["the dog", "a cat sees"], method="dummy", step_scores=["probability", "entropy", "logit"])

    assert lm.adapter.passes == [2]


def test_removal_is_one_pass_for_all_steps(lm):
    """F + 1 versions of the text, every step read from each."""
    (result,) = lm.attribute("the dog sees")

    n_features = len(result.target) - 2  # all but <s> and the last token, which no step sees
    assert lm.adapter.passes == [n_features + 1]
    assert lm.attribute("the dog sees").info.passes == n_features + 1


def test_a_user_s_own_function_may_be_explained_and_shown(lm):
    """A callable needs no registration; its own arguments are bound like any other's."""

    def scaled(args, factor=1.0):
        return args.logits[:, 5] * factor

    (result,) = lm.attribute("the dog", attributed_fn=scaled, step_scores=[scaled], factor=3.0)
    (plain,) = lm.attribute("the dog", attributed_fn=scaled, step_scores=[scaled])

    np.testing.assert_allclose(result.step_scores["scaled"], 3 * plain.step_scores["scaled"], rtol=1e-6)
    np.testing.assert_allclose(
        result.target_attributions, 3 * plain.target_attributions, rtol=1e-5, atol=1e-6
    )


def test_the_documented_keyword_form_sees_rows_prefixes_and_the_model(lm):
    """Functions written for the peer run unchanged."""

    def last_prefix_id(attribution_model, forward_output, target_ids, decoder_input_ids, **kwargs):
        logits = attribution_model.output2logits(forward_output)
        assert logits.shape[0] == target_ids.shape[0]
        return decoder_input_ids[:, -1].astype(float)

    (result,) = lm.attribute("the dog", method="dummy", step_scores=[last_prefix_id])

    before = [result.target[s - 1].id for s, _ in columns(result)]
    assert result.step_scores["last_prefix_id"].tolist() == before


def test_step_attributions_are_filled_where_they_are_asked_for(lm):
    """One a step of the batch, each over its own prefix."""
    out = lm.attribute(["the dog", "a cat sees"], output_step_attributions=True)

    assert len(out.step_attributions) == max(s.n_steps for s in out)
    assert lm.attribute("the dog").step_attributions is None


def test_chat_messages_keep_their_turns_as_segments_and_features(lm):
    """A turn is removed as a whole, and its tokens show its score."""
    chat = [{"role": "man", "content": "the dog sees"}, {"role": "woman", "content": "a cat"}]
    (result,) = lm.attribute(chat, features="turn", attributed_fn="logit")

    assert [s.label for s in result.segments] == ["man", "woman"]
    assert result.feature_kind == "turn"
    first = result.target_attributions[1:6, 0]
    assert np.all(first == first[0])
    assert result.target_attributions[0, 0] == 0.0


def test_a_chat_s_answer_alone_is_enough_as_forced_text(lm):
    """Nobody should have to write the template out."""
    chat = [{"role": "man", "content": "the dog sees"}]
    (result,) = lm.attribute(chat, " a cat")

    assert [str(t) for t in result.step_tokens] == ["a", "cat"]


def test_special_tokens_can_be_left_out(translator):
    """skip_special_tokens: neither the source's end token nor the output's is there."""
    (result,) = translator.attribute("the dog", "a cat", skip_special_tokens=True)

    assert [str(t) for t in result.source] == ["the", "dog"]
    assert [str(t) for t in result.target] == ["<s>", "a", "cat"]


def test_the_same_call_gives_the_same_numbers_and_another_seed_need_not(lm):
    """Draws derive from the seed and the text alone."""
    assert lm.attribute("the dog")[0] == lm.attribute("the dog", seed=0)[0]
    assert lm.attribute("the dog", seed=5).info.seed == 5


def test_the_info_says_how_a_result_was_made(lm):
    """Model, method with all its parameters and who provides it, function, versions."""
    info = lm.attribute("the dog", step_scores=["probability"], logprob=True, sign=-1.0).info

    assert info.attribution_method == "leave_out"
    assert info.attribution_args == {"sign": -1.0, "n_steps": 1}
    assert info.method_plugin == "session"
    assert (info.attributed_fn, info.attributed_fn_args) == ("probability", {"logprob": True})
    assert info.step_scores_args == {"logprob": True}
    assert info.model_name == "toy-lm" and info.versions["numpy"] == np.__version__
    assert info.input_texts == ("the dog",)


def test_a_vocabulary_without_a_likely_end_still_ends(lm):
    """max_new_tokens is the model's own argument, given through untouched."""
    model = AttributionModel(BagModel(weights=BagWeights.random(23, seed=1)), "dummy")
    (result,) = model.attribute("the dog", generation_args={"max_new_tokens": 3})

    assert result.n_steps <= 3
