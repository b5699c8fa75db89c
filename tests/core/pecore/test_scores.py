from __future__ import annotations

import numpy as np
import pytest

from inseq_core.data.batch import EncodedText
from inseq_core.errors import InvalidArgumentError
from inseq_core.pecore import attribute_context
from inseq_core.testing.toys import BOS, EOS

CONTEXT, CURRENT, OUTPUT = "the small dog", "a cat", "sees it because"
ALL = {"context_sensitivity_std_threshold": None, "attribution_std_threshold": None}


def ids(model, text):
    """Ids of a toy's words."""
    return [model.adapter.ids[word] for word in text.split()]


def logits(model, target, source=None):
    """(V,) of the next token, from the toy's definition."""
    source_ids = None if source is None else [*ids(model, source), EOS]
    return model.adapter.next_logits(EncodedText(target_ids=[BOS, *target], source_ids=source_ids))


def log_softmax(z):
    """By its definition."""
    return z - np.log(np.exp(z).sum())


def kl(z, z2):
    """KL(p ‖ p′) of two rows of logits, in nats."""
    p, q = log_softmax(z), log_softmax(z2)
    return (np.exp(p) * (p - q)).sum()


def both(model, k, output=OUTPUT):
    """Logits of the k-th output token with and without context."""
    before = ids(model, output)[:k]
    if model.is_encoder_decoder:
        return logits(model, before, f"{CONTEXT} {CURRENT}"), logits(model, before, CURRENT)
    with_context = ids(model, f"{CONTEXT} {CURRENT}")
    return logits(model, [*with_context, *before]), logits(model, [*ids(model, CURRENT), *before])


@pytest.fixture(params=["lm", "translator"])
def model(request):
    """Both kinds of toys."""
    return request.getfixturevalue(request.param)


def test_cti_is_the_divergence_between_the_model_with_and_without_the_context(model):
    """KL(p with ‖ p without) of each output token, from two plain calls of the toy."""
    out = attribute_context(model, CURRENT, CONTEXT, output_current_text=OUTPUT, **ALL)

    expected = [kl(*both(model, k)) for k in range(3)]
    assert out.output_current_tokens == tuple(OUTPUT.split())
    np.testing.assert_allclose(out.cti_scores, expected, rtol=1e-5)  # results are float32


def test_cci_is_what_each_context_token_does_for_the_token_against_its_alternative(model):
    """z_y − z_c is linear in the toy: leaving out v takes away (w_vy − w_vc), decayed by its distance."""
    out = attribute_context(
        model, CURRENT, CONTEXT, output_current_text=OUTPUT, attributed_fn="contrast_logits_diff", **ALL
    )

    weights = model.adapter.weights
    assert len(out.cci_scores) == 3
    for cci in out.cci_scores:
        y = ids(model, OUTPUT)[cci.cti_idx]
        c = int(both(model, cci.cti_idx)[1].argmax())
        assert cci.contrast_token == model.adapter.vocabulary[c] and c != y
        if model.is_encoder_decoder:
            expected = [weights.source[v, y] - weights.source[v, c] for v in ids(model, CONTEXT)]
        else:
            position = 1 + 5 + cci.cti_idx
            expected = [
                (weights.target[v, y] - weights.target[v, c]) * weights.decay ** (position - 1 - at)
                for at, v in enumerate(ids(model, CONTEXT), start=1)
            ]
        np.testing.assert_allclose(cci.input_context_scores, expected, atol=1e-6)
        assert cci.output_context_scores is None


def test_a_token_that_is_likeliest_either_way_is_compared_with_its_own_score_without_context(model):
    """On one and the same input there would be no difference; without context the contrast is a constant."""
    first = model.adapter.vocabulary[int(both(model, 0)[1].argmax())]
    out = attribute_context(
        model, CURRENT, CONTEXT, output_current_text=first, attributed_fn="contrast_logits_diff", **ALL
    )

    (cci,) = out.cci_scores
    y = ids(model, first)[0]
    assert cci.contrast_token == first
    weights = model.adapter.weights
    if model.is_encoder_decoder:
        expected = [weights.source[v, y] for v in ids(model, CONTEXT)]
    else:
        expected = [
            weights.target[v, y] * weights.decay ** (4 - k) for k, v in enumerate(ids(model, CONTEXT))
        ]
    np.testing.assert_allclose(cci.input_context_scores, expected, atol=1e-6)


def test_the_contrast_may_be_forced_on_the_input_without_context(model):
    """The user's word goes before the procedure's: then only the token's own logit is attributed."""
    out = attribute_context(
        model,
        CURRENT,
        CONTEXT,
        output_current_text=OUTPUT,
        attributed_fn="contrast_logits_diff",
        attribution_kwargs={"contrast_force_inputs": True},
        **ALL,
    )
    plain = attribute_context(
        model, CURRENT, CONTEXT, output_current_text=OUTPUT, attributed_fn="logit", **ALL
    )

    for a, b in zip(out.cci_scores, plain.cci_scores, strict=True):
        np.testing.assert_allclose(a.input_context_scores, b.input_context_scores, atol=1e-6)
        assert b.contrast_token is None and b.contextless_output is None


def test_a_divergence_can_be_attributed_itself(model):
    """KL with the distribution without context, minus the same with one context token left out."""
    out = attribute_context(
        model, CURRENT, CONTEXT, output_current_text="sees", attributed_fn="kl_divergence", **ALL
    )

    with_context, without = both(model, 0)
    weights, place = model.adapter.weights, 0
    row = weights.source if model.is_encoder_decoder else weights.target * weights.decay**4
    expected = kl(with_context, without) - kl(with_context - row[ids(model, CONTEXT)[place]], without)
    assert out.cci_scores[0].input_context_scores[place] == pytest.approx(expected, abs=1e-5)


def test_an_output_context_has_scores_of_its_own(translator):
    """A context of the target side: the source is the same, the prefix is not."""
    out = attribute_context(
        translator,
        CURRENT,
        output_context_text="the dog",
        output_current_text="sees it",
        attributed_fn="contrast_logits_diff",
        **ALL,
    )

    weights = translator.adapter.weights
    assert out.output_context_tokens == ("the", "dog") and out.input_context_tokens is None
    for k in range(2):
        before = ids(translator, "sees it")[:k]
        z = logits(translator, [*ids(translator, "the dog"), *before], CURRENT)
        assert out.cti_scores[k] == pytest.approx(kl(z, logits(translator, before, CURRENT)), rel=1e-5)
    for cci in out.cci_scores:
        y = ids(translator, "sees it")[cci.cti_idx]
        c = translator.adapter.ids[cci.contrast_token]
        distance = np.array([2, 1]) + cci.cti_idx
        rows = ids(translator, "the dog")
        expected = (weights.target[rows, y] - weights.target[rows, c]) * weights.decay ** (distance - 1)
        np.testing.assert_allclose(cci.output_context_scores, expected, atol=1e-6)
        assert cci.input_context_scores is None


def test_a_language_model_has_both_contexts_in_one_text(lm):
    """Input context, input, output context, output: positions by their characters, none by counting."""
    out = attribute_context(
        lm,
        "a cat",
        "the dog",
        output_context_text="she is",
        output_current_text="it was",
        attributed_fn="logit",
        **ALL,
    )

    weights = lm.adapter.weights
    for cci in out.cci_scores:
        y, position = ids(lm, "it was")[cci.cti_idx], 7 + cci.cti_idx
        for scores, words, first in (
            (cci.input_context_scores, "the dog", 1),
            (cci.output_context_scores, "she is", 5),
        ):
            at = np.arange(first, first + 2)
            expected = weights.target[ids(lm, words), y] * weights.decay ** (position - 1 - at)
            np.testing.assert_allclose(scores, expected, atol=1e-6)
        assert cci.contextual_output.startswith("the dog a cat she is it")


def test_the_context_may_stand_after_the_current_text(translator):
    """A template decides, and tokens are found where it puts them."""
    out = attribute_context(
        translator,
        "a cat",
        "because it sees",
        input_template="the {current} {context} .",
        output_current_text="red",
        attributed_fn="logit",
        **ALL,
    )

    y = ids(translator, "red")[0]
    expected = translator.adapter.weights.source[ids(translator, "because it sees"), y]
    np.testing.assert_allclose(out.cci_scores[0].input_context_scores, expected, atol=1e-6)
    z = logits(translator, [], "the a cat because it sees .")
    assert out.cti_scores[0] == pytest.approx(kl(z, logits(translator, [], "a cat")), rel=1e-5)


@pytest.mark.parametrize(
    ("template", "without"), [("red {current} .", "red a cat ."), ("blue woman", "blue woman")]
)
def test_the_input_without_context_is_what_its_template_says(translator, template, without):
    """Filled with the current text, or a text of its own."""
    out = attribute_context(
        translator,
        CURRENT,
        CONTEXT,
        contextless_input_current_text=template,
        output_current_text="sees",
    )

    z = logits(translator, [], f"{CONTEXT} {CURRENT}")
    assert out.cti_scores[0] == pytest.approx(kl(z, logits(translator, [], without)), rel=1e-5)


def test_the_output_without_context_may_begin_with_something_else(model):
    """Its template's beginning stands before the same tokens."""
    out = attribute_context(
        model,
        CURRENT,
        CONTEXT,
        contextless_output_current_text="she {current}",
        output_current_text="sees it",
        context_sensitivity_std_threshold=None,
    )

    for k in range(2):
        z = both(model, k, "sees it")[0]
        before = [*ids(model, "she"), *ids(model, "sees it")[:k]]
        z2 = (
            logits(model, before, CURRENT)
            if model.is_encoder_decoder
            else logits(model, [*ids(model, CURRENT), *before])
        )
        assert out.cti_scores[k] == pytest.approx(kl(z, z2), rel=1e-5)


def test_the_separator_stands_between_input_and_output(lm):
    """Of decoder-only models, with and without context."""
    out = attribute_context(
        lm, CURRENT, CONTEXT, output_current_text="sees", decoder_input_output_separator=" is "
    )

    z = logits(lm, ids(lm, f"{CONTEXT} {CURRENT} is"))
    assert out.cti_scores[0] == pytest.approx(kl(z, logits(lm, ids(lm, f"{CURRENT} is"))), rel=1e-5)


@pytest.mark.parametrize("metric", ["pcxmi", "in_context_pvi", "contrast_prob_diff", "contrast_logits_diff"])
def test_any_contrastive_function_measures_sensitivity(model, metric):
    """p is with context and p′ without, in each function's own formula."""
    out = attribute_context(
        model, CURRENT, CONTEXT, output_current_text=OUTPUT, context_sensitivity_metric=metric
    )

    for k, y in enumerate(ids(model, OUTPUT)):
        z, z2 = both(model, k)
        p, q = log_softmax(z)[y], log_softmax(z2)[y]
        expected = {
            "pcxmi": -(p - q) / np.log(2),
            "in_context_pvi": -p + q,
            "contrast_prob_diff": np.exp(p) - np.exp(q),
            "contrast_logits_diff": z[y] - z2[y],
        }[metric]
        assert out.cti_scores[k] == pytest.approx(expected, abs=1e-5)


def test_a_function_that_compares_nothing_is_no_metric(lm):
    """Entropy with and without context is not what it returns."""
    with pytest.raises(InvalidArgumentError, match=r"'entropy' compares nothing.*\n.*kl_divergence"):
        attribute_context(lm, CURRENT, CONTEXT, context_sensitivity_metric="entropy")


def test_a_user_s_own_contrastive_function_is_recognised_by_its_signature(lm):
    """No list of names decides."""

    def gap(args, contrast_sources=None, contrast_targets=None, contrast_targets_alignments=None):
        return args.logits[:, 5] * 0 + len(contrast_targets[0])

    out = attribute_context(lm, CURRENT, CONTEXT, output_current_text=OUTPUT, context_sensitivity_metric=gap)

    assert out.cti_scores == (6.0, 6.0, 6.0)  # <s> a cat, and three words of output


def test_the_word_to_compare_with_can_be_given(model):
    """One for each context-sensitive token, the most sensitive first."""
    out = attribute_context(
        model,
        CURRENT,
        CONTEXT,
        output_current_text=OUTPUT,
        attributed_fn="contrast_logits_diff",
        context_sensitivity_topk=2,
        context_sensitivity_std_threshold=None,
        contextless_output_next_tokens=["red", "blue"],
    )

    order = np.argsort([-s for s in out.cti_scores])[:2].tolist()
    assert [c.cti_idx for c in out.cci_scores] == order
    assert [c.contrast_token for c in out.cci_scores] == ["red", "blue"]
    assert all(c.contextless_output.split()[-1] == c.contrast_token for c in out.cci_scores)


def test_another_number_of_words_to_compare_with_is_refused_with_the_tokens(lm):
    """How many there are is only known after the first stage."""
    with pytest.raises(InvalidArgumentError, match=r"1 tokens for 3 context-sensitive ones: '"):
        attribute_context(
            lm,
            CURRENT,
            CONTEXT,
            output_current_text=OUTPUT,
            attributed_fn="contrast_prob_diff",
            contextless_output_next_tokens=["red"],
            **ALL,
        )


def test_special_tokens_have_scores_only_where_they_are_kept(translator):
    """A template's marker inside a context is text for some models, and none for others."""
    arguments = {"input_context_text": "the <unk> dog", "output_current_text": "sees", **ALL}
    plain = attribute_context(translator, CURRENT, **arguments)
    kept = attribute_context(translator, CURRENT, special_tokens_to_keep=["<unk>"], **arguments)

    assert plain.input_context_tokens == ("the", "dog")
    assert kept.input_context_tokens == ("the", "<unk>", "dog")
    assert len(kept.cci_scores[0].input_context_scores) == 3


def test_aggregators_reduce_the_axes_of_cci(translator):
    """layers: 100 · step + position in layer 0, ten times that in layer 1; the step stands at position 1."""
    arguments = {
        "output_current_text": "sees",
        "attribution_method": "layers",
        "context_sensitivity_std_threshold": None,
    }

    def scores(**options):
        out = attribute_context(translator, CURRENT, CONTEXT, **arguments, **options)
        return np.array(out.cci_scores[0].input_context_scores)

    base = 100.0 + np.arange(3)
    whole = 100.0 + np.arange(6)  # with the current text and the end
    np.testing.assert_allclose(scores(), 5.5 * base)
    np.testing.assert_allclose(scores(attribution_aggregators=["sum"]), 11 * base)
    np.testing.assert_allclose(scores(attribution_selectors=[1]), 10 * base)
    np.testing.assert_allclose(scores(normalize_attributions=True), base / whole.sum(), rtol=1e-5)
    np.testing.assert_allclose(scores(rescale_attributions=True), base / whole.max(), rtol=1e-5)
    np.testing.assert_allclose(scores(attribution_kwargs={"scale": 2.0}), 11 * base)


def test_aggregators_that_merge_tokens_are_refused(translator):
    """Afterwards nobody could say which score is which context token's."""
    with pytest.raises(InvalidArgumentError, match="merge tokens"):
        attribute_context(
            translator,
            CURRENT,
            CONTEXT,
            output_current_text="sees",
            attribution_aggregators=["mean", "sentences"],
            **ALL,
        )
