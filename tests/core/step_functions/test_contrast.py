from __future__ import annotations

import math

import numpy as np
import pytest

from inseq_core import errors
from inseq_core.data.batch import EncodedText
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import BagModel

TEXT = ("the dog", "the dog sees a cat")
OTHER = "the dog hears a woman"
DIFFERENCES = ("contrast_logits_diff", "contrast_prob_diff", "pcxmi", "in_context_pvi", "kl_divergence")
GIVEN = {"contrast_targets": OTHER}
CONTRASTIVE = ("contrast_logits", "contrast_prob", *DIFFERENCES)


def log_softmax(logits):
    """By its definition, in float64."""
    return logits - np.log(np.exp(logits).sum())


def ids_of(model, text):
    """Ids of a toy's text, with its start token."""
    return model.adapter.encode_input(text).ids


def logits_of(model, text, position, source=None):
    """The toy's own logits of the token at a position."""
    given = EncodedText(target_ids=text, source_ids=source)
    return model.adapter.logits(given, position)


def scores(model, *texts, functions=CONTRASTIVE, **arguments):
    """Step scores of the first text of a call."""
    return model.attribute(*texts, method="dummy", step_scores=list(functions), **arguments)[0].step_scores


def test_a_step_score_is_the_formula_on_the_contrast_s_own_prefix(lm):
    """By hand, from the toy's definition: p of the text, p′ of the other text, one step at a time."""
    found = scores(lm, *TEXT, contrast_targets=OTHER)
    own, other = ids_of(lm, TEXT[1]), ids_of(lm, OTHER)

    for k, s in enumerate((3, 4, 5)):
        z, z2 = logits_of(lm, own, s), logits_of(lm, other, s)
        p, q = log_softmax(z), log_softmax(z2)
        y, y2 = own[s], other[s]
        expected = {
            "contrast_logits": z2[y2],
            "contrast_prob": math.exp(q[y2]),
            "contrast_logits_diff": z[y] - z2[y2],
            "contrast_prob_diff": math.exp(p[y]) - math.exp(q[y2]),
            "pcxmi": -math.log2(math.exp(p[y]) / math.exp(q[y2])),
            "in_context_pvi": -p[y] + q[y2],
            "kl_divergence": (np.exp(p) * (p - q)).sum(),
        }
        for name, value in expected.items():
            # results are float32, so a difference is exact to the size of its terms
            np.testing.assert_allclose(found[name][k], value, rtol=2e-6, atol=2e-6, err_msg=f"{name} {s}")


def test_logarithms_of_contrasts_are_those_of_their_probabilities(lm):
    """``logprob`` changes the scale, nothing else."""
    names = ("contrast_prob", "contrast_prob_diff", "probability")
    plain = scores(lm, *TEXT, functions=names, contrast_targets=OTHER)
    logs = scores(lm, *TEXT, functions=names, contrast_targets=OTHER, logprob=True)

    np.testing.assert_allclose(np.exp(logs["contrast_prob"]), plain["contrast_prob"], rtol=1e-5)
    ratio = np.log(plain["probability"]) - np.log(plain["contrast_prob"])
    np.testing.assert_allclose(logs["contrast_prob_diff"], ratio, rtol=1e-4, atol=1e-5)  # float32


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_text_against_itself_is_exactly_zero(lm, name):
    """Not nearly: whoever looks for what changed must not find noise."""
    found = scores(lm, *TEXT, functions=[name], contrast_targets=TEXT[1])

    assert (found[name] == 0).all()


@pytest.mark.parametrize("name", ["contrast_logits_diff", "contrast_prob_diff", "pcxmi", "in_context_pvi"])
def test_equal_tokens_have_no_attribution_and_others_one_on_the_same_prefix(lm, name):
    """Why *cat* rather than *woman*: the prefix is the text's own, only the token differs."""
    (result,) = lm.attribute(*TEXT, attributed_fn=name, contrast_targets=OTHER)
    own, other = ids_of(lm, TEXT[1]), ids_of(lm, OTHER)

    def value(ids, s):
        z = logits_of(lm, ids, s)
        p = log_softmax(z)
        y, y2 = own[s], other[s]
        return {
            "contrast_logits_diff": z[y] - z[y2],
            "contrast_prob_diff": math.exp(p[y]) - math.exp(p[y2]),
            "pcxmi": -(p[y] - p[y2]) / math.log(2),
            "in_context_pvi": -p[y] + p[y2],
        }[name]

    assert (result.target_attributions[1:4, 1] == 0).all()  # "a" in both
    for k, s in ((0, 3), (2, 5)):
        for removed in range(1, s):
            changed = [3 if i == removed else token for i, token in enumerate(own)]  # 3 is <unk>
            expected = value(own, s) - value(changed, s)
            np.testing.assert_allclose(result.target_attributions[removed, k], expected, rtol=1e-5, atol=1e-6)


def test_forced_inputs_make_the_contrast_a_constant(lm):
    """The difference from a constant loses with each token what the function itself loses."""
    forced = lm.attribute(
        *TEXT, attributed_fn="contrast_prob_diff", contrast_targets=OTHER, contrast_force_inputs=True
    )
    alone = lm.attribute(*TEXT, attributed_fn="probability")

    np.testing.assert_allclose(
        forced[0].target_attributions, alone[0].target_attributions, rtol=1e-5, atol=1e-7, equal_nan=True
    )


def test_a_divergence_may_be_explained_from_the_contrast_s_own_answer(lm):
    """KL(p of the perturbed text ‖ p′), p′ fixed: what each token does for the difference of two contexts."""
    (result,) = lm.attribute(
        *TEXT, attributed_fn="kl_divergence", contrast_targets=OTHER, contrast_force_inputs=True
    )
    own, other = ids_of(lm, TEXT[1]), ids_of(lm, OTHER)
    s, removed = 5, 3
    q = log_softmax(logits_of(lm, other, s))

    def divergence(ids):
        p = log_softmax(logits_of(lm, ids, s))
        return (np.exp(p) * (p - q)).sum()

    changed = [3 if i == removed else token for i, token in enumerate(own)]
    expected = divergence(own) - divergence(changed)
    np.testing.assert_allclose(result.target_attributions[removed, 2], expected, rtol=1e-5)


@pytest.mark.parametrize("is_encoder_decoder", [False, True])
@pytest.mark.parametrize("attributed", ["probability", "contrast_prob_diff"])
def test_contrasts_of_a_batch_are_those_of_each_text_alone(is_encoder_decoder, attributed):
    """The peer takes one text at a time; here any number, of any lengths, in any batches."""
    model = AttributionModel(BagModel(is_encoder_decoder=is_encoder_decoder), "leave_out")
    inputs = ["the dog", "a", "she likes it because"]
    outputs = ["the dog sees a cat", "a cat is small .", "she likes it because it is red"]
    others = ["the dog hears a", "a man is blue .", "she likes it because he was blue"]
    if is_encoder_decoder:
        outputs, others = ([t.split(maxsplit=1)[1] for t in texts] for texts in (outputs, others))
    alone = [
        model.attribute(
            i,
            o,
            attributed_fn=attributed,
            step_scores=list(CONTRASTIVE),
            contrast_targets=c,
            contrast_targets_alignments="auto",
        )[0]
        for i, o, c in zip(inputs, outputs, others, strict=True)
    ]
    for size in (None, 1, 2):
        together = model.attribute(
            inputs,
            outputs,
            attributed_fn=attributed,
            step_scores=list(CONTRASTIVE),
            contrast_targets=others,
            contrast_targets_alignments="auto",
            batch_size=size,
        )
        assert list(together) == alone


def test_the_contrasts_are_run_once_however_many_functions_ask(lm):
    """One pass for the texts, one for their contrasts."""
    texts, outputs = ["the dog", "a man"], ["the dog sees a cat", "a man was red ."]
    others = [OTHER, "a man is blue ."]
    scores(lm, texts, outputs, contrast_targets=others)

    assert lm.adapter.passes == [2, 2]


def test_contrasts_from_the_text_s_own_prefix_need_no_pass(lm):
    """Where only the last token differs, the model's answer is there already."""
    scores(lm, *TEXT, contrast_targets="the dog sees a woman")

    assert lm.adapter.passes == [1]


def test_an_explained_contrast_costs_no_pass_of_its_own(lm):
    """Both tokens are read from the same distribution; the passes are those of the probability."""
    lm.attribute(*TEXT, attributed_fn="contrast_prob_diff", contrast_targets=OTHER)
    with_contrast = list(lm.adapter.passes)
    lm.adapter.passes.clear()
    lm.attribute(*TEXT, attributed_fn="probability")

    assert with_contrast == lm.adapter.passes


def test_another_source_goes_with_the_text_s_own_output(translator):
    """What did the source contribute: the same output, given another source."""
    output = "cat is red"
    found = scores(translator, "the dog", output, contrast_sources="a woman sees")
    target = [1, *(translator.adapter.ids[w] for w in output.split()), 2]
    sources = [
        (*(translator.adapter.ids[w] for w in text.split()), 2) for text in ("the dog", "a woman sees")
    ]

    for k, s in enumerate(range(1, 5)):
        p, q = (log_softmax(logits_of(translator, target, s, source)) for source in sources)
        assert found["pcxmi"][k] == pytest.approx(-(p - q)[target[s]] / math.log(2), rel=1e-5)


def test_another_prompt_goes_with_the_text_s_own_output_in_ids(lm):
    """Words that the toy does not know cannot be tokenised again; their ids can be kept."""
    (result,) = lm.attribute(
        "she likes the dog",
        "she likes the dog zzz red",
        method="dummy",
        step_scores=["contrast_prob"],
        contrast_sources="the dog",
    )
    other = [*ids_of(lm, "the dog"), 3, lm.adapter.ids["red"]]

    assert result.target[-2].id == 3
    for k, s in enumerate((3, 4)):
        expected = math.exp(log_softmax(logits_of(lm, other, s))[other[s]])
        assert result.step_scores["contrast_prob"][k] == pytest.approx(expected, rel=1e-6)


def test_steps_compared_with_another_token_say_which(lm):
    """A column of a difference is about two tokens."""
    (result,) = lm.attribute(*TEXT, attributed_fn="contrast_prob_diff", contrast_targets=OTHER)

    assert [str(t) for t in result.target] == ["<s>", "the", "dog", "sees → hears", "a", "cat → woman"]
    assert [str(t) for t in result.source] == ["<s>", "the", "dog"]
    assert result.target[3].id == -1 and result.target[4].id == lm.adapter.ids["a"]


def test_a_contrast_that_is_only_a_step_score_changes_no_labels(lm):
    """What is explained is the probability of the token that is written there."""
    (result,) = lm.attribute(*TEXT, step_scores=["contrast_prob"], contrast_targets=OTHER)

    assert [str(t) for t in result.target[3:]] == ["sees", "a", "cat"]


def test_results_say_what_they_were_compared_with_and_how_it_was_aligned(lm):
    """An automatic alignment is a part of the result: it has to be there to be checked."""
    info = lm.attribute(
        *TEXT,
        attributed_fn="contrast_prob_diff",
        contrast_targets="the dog hears a small woman",
        contrast_targets_alignments=[(3, 3), (5, 6)],
    ).info

    assert info.notes["contrasts"] == ["the dog hears a small woman"]
    assert info.notes["alignments"] == [[[3, 3], [4, 4], [5, 6]]]
    assert info.attributed_fn_args["contrast_targets_alignments"] == [[3, 3], [5, 6]]


def test_pairs_name_positions_as_results_count_them(translator):
    """Position 0 is the decoder's start, the last the end token."""
    found = scores(
        translator,
        "the dog",
        "cat is red",
        functions=["contrast_prob"],
        contrast_targets="a small cat was blue",
        contrast_targets_alignments=[(0, 0), (1, 3), (2, 4), (3, 5), (4, 6)],
    )
    other = [1, *(translator.adapter.ids[w] for w in ["a", "small", "cat", "was", "blue"]), 2]
    source = (*(translator.adapter.ids[w] for w in ("the", "dog")), 2)

    for k, c in enumerate((3, 4, 5, 6)):
        expected = math.exp(log_softmax(logits_of(translator, other, c, source))[other[c]])
        assert found["contrast_prob"][k] == pytest.approx(expected, rel=1e-6)


def test_texts_of_different_lengths_lie_side_by_side_from_the_right(lm):
    """A longer prompt with the same end: the context is what differs, not the place."""
    notes = lm.attribute(
        "the dog", "the dog sees a cat", method="dummy", step_scores=["pcxmi"],
        contrast_targets="she was small because the dog hears a woman",
    ).info.notes  # fmt: skip

    assert notes["alignments"] == [[[3, 7], [4, 8], [5, 9]]]


def test_a_text_that_was_cut_short_lies_beside_its_contrast(translator):
    """The contrast's end token has no counterpart in a text without one."""
    model = translator
    generated = model.attribute(
        "the dog", method="dummy", generation_args={"max_new_tokens": 3},
        step_scores=["contrast_prob_diff"], contrast_targets="cat is red",
    )  # fmt: skip

    assert str(generated[0].target[-1]) != "</s>"
    assert generated.info.notes["alignments"] == [[[1, 1], [2, 2], [3, 3]]]


def test_a_text_with_an_end_token_has_a_contrast_with_one(lm):
    """A forced text of a decoder-only model has none of its own."""
    text = (*ids_of(lm, "the dog sees"), 2)
    prompt = lm.adapter.encode_input("the dog")

    class Ending(BagModel):
        def encode_output(self, forced, given):
            ids = super().encode_output(forced, given)
            return ids if forced == "the dog hears" else np.append(ids, 2)

    model = AttributionModel(Ending(), "leave_out")
    result = model.attribute(
        "the dog", "the dog sees", attributed_fn="contrast_prob_diff", contrast_targets="the dog hears"
    )

    assert tuple(t.id for t in result[0].target) == (*text[:3], -1, 2)
    assert len(prompt.ids) == 3 and str(result[0].target[3]) == "sees → hears"


# -- top-k and top-p ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"top_k": 3}, {"top_p": 0.5}, {"top_k": 4, "top_p": 0.9}, {"top_p": 1e-6, "min_tokens_to_keep": 5}],
)
def test_a_divergence_over_likely_tokens_is_that_of_the_two_renormalised(lm, arguments):
    """By hand: the tokens that the mean of both finds likely. (The peer's is NaN.)"""
    found = scores(lm, *TEXT, functions=["kl_divergence"], contrast_targets=OTHER, **arguments)
    own, other = ids_of(lm, TEXT[1]), ids_of(lm, OTHER)

    for k, s in enumerate((3, 4, 5)):
        p, q = (np.exp(log_softmax(logits_of(lm, ids, s))) for ids in (own, other))
        order = np.argsort(-(p + q))
        mass = np.cumsum(((p + q) / 2)[order])
        size = len(p)
        if "top_p" in arguments:
            size = int(np.searchsorted(mass, arguments["top_p"])) + 1
        size = max(min(size, arguments.get("top_k", size)), arguments.get("min_tokens_to_keep", 1))
        kept = order[:size]
        p, q = p[kept] / p[kept].sum(), q[kept] / q[kept].sum()
        np.testing.assert_allclose(found["kl_divergence"][k], (p * np.log(p / q)).sum(), rtol=1e-5, atol=1e-7)


def test_a_divergence_over_likely_tokens_is_zero_between_equal_texts(lm):
    """KL(p, p) = 0, also on a part of the vocabulary."""
    found = scores(lm, *TEXT, functions=["kl_divergence"], contrast_targets=TEXT[1], top_k=3, top_p=0.5)

    assert (found["kl_divergence"] == 0).all()


def test_a_divergence_sees_a_mass_that_has_moved_away(lm):
    """On the text's own likeliest token alone both would be certain, and the divergence 0."""
    weights = lm.adapter.weights
    size = len(lm.adapter.vocabulary)
    for word, favourite in (("dog", 10), ("cat", 11)):
        weights.target[lm.adapter.ids[word]] = 20.0 * (np.arange(size) == favourite)
    found = scores(
        lm, "the dog", "the dog red", functions=["kl_divergence"], contrast_targets="the cat red", top_p=0.9
    )

    assert found["kl_divergence"][0] > 5


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "nothing to compare with: give contrast_targets"),
        ({"contrast_targets": ""}, "the contrast of the text has no token to compare with: ''"),
        ({"contrast_targets": "the dog"}, "no token to compare with: 'the dog'"),
        ({"contrast_targets": ["the dog is", "a"]}, "contrast_targets has 2 texts for 1 input_texts"),
        ({"contrast_targets": 3}, "contrast_targets = 3"),
        ({**GIVEN, "contrast_force_inputs": "yes"}, "contrast_force_inputs = 'yes'"),
        ({**GIVEN, "contrast_targets_alignments": "left"}, "'left'.*'auto', pairs"),
        ({**GIVEN, "contrast_targets_alignments": [(3, 6)]}, r"pair \(3, 6\).*has 6 tokens"),
        ({**GIVEN, "contrast_targets_alignments": [(6, 3)]}, r"pair \(6, 3\).*has 6 target"),
        ({**GIVEN, "contrast_targets_alignments": [(-1, 3)]}, r"\(-1, 3\).*counted from 0"),
        ({**GIVEN, "contrast_targets_alignments": [(4, 0)]}, "nothing stands before position 0"),
        ({**GIVEN, "contrast_targets_alignments": [(1, 2, 3)]}, "has 1 entries|pair of positions"),
        ({"contrast_sources": "a", "contrast_targets_alignments": "auto"}, "None, without contrast_targets"),
        ({**GIVEN, "contrast_aligner": "identity"}, "None, unless contrast_targets_alignments"),
        (
            {**GIVEN, "contrast_targets_alignments": "auto", "contrast_aligner": 3},
            "contrast_aligner = 3",
        ),
        ({"contrast_targets": "a"}, "no token to compare with|nothing to be compared with"),
    ],
)  # fmt: skip
def test_contrasts_that_say_nothing_or_something_else_are_refused(lm, arguments, said):
    """Before the model works; the text and the position are named."""
    with pytest.raises(errors.InvalidArgumentError, match=said):
        scores(lm, *TEXT, functions=["contrast_prob"], **arguments)
    assert lm.adapter.passes == []


def test_steps_beside_tokens_of_the_prompt_are_told(lm):
    """A shorter contrast slides under the prompt, and nobody meant "sees" against "dog"."""
    with pytest.warns(errors.MeaningWarning, match=r"2 of 3 steps of the text .* prompt.*\n.*'auto'"):
        (result,) = lm.attribute(
            "the small dog",
            "the small dog sees a cat",
            attributed_fn="contrast_prob_diff",
            contrast_targets="the small dog hears",
        )

    assert [str(token) for token in result.step_tokens] == ["sees → small", "a → dog", "cat → hears"]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ({"contrast_targets": OTHER}, TEXT),
        ({"contrast_targets": "the dog hears", "contrast_targets_alignments": "auto"}, TEXT),
        ({"contrast_targets": "the dog hears", "attr_pos_start": 5}, TEXT),
        ({"contrast_targets": OTHER, "attr_pos_start": 1}, TEXT),
    ],
)
def test_of_tokens_of_the_prompt_nothing_is_said_where_they_are_meant(lm, recwarn, arguments, texts):
    """Contrasts of one length, other alignments, later steps, and steps that are in the prompt themselves."""
    scores(lm, *texts, **arguments)

    assert not [w for w in recwarn if issubclass(w.category, errors.MeaningWarning)]


def test_a_contrast_too_short_for_the_steps_says_how_to_align_it(lm):
    """A step compared with nothing would be a number about nothing."""
    with pytest.raises(errors.PositionError, match=r"the first 2 of 3 steps.*\n.*auto") as error:
        scores(lm, "she likes the dog", "she likes the dog is red .", contrast_targets="dog")

    assert isinstance(error.value, errors.InvalidArgumentError)


def test_sources_that_an_explained_contrast_would_not_use_are_refused(translator):
    """The peer ignores them, and explains a difference that is always zero."""
    with pytest.raises(errors.InvalidArgumentError, match="contrast_force_inputs=True"):
        translator.attribute("the dog", "cat is", attributed_fn="pcxmi", contrast_sources="a man")
    assert translator.attribute(
        "the dog", "cat is", attributed_fn="pcxmi", contrast_sources="a man", contrast_force_inputs=True
    )


def test_a_divergence_from_itself_is_refused(lm):
    """On the same input there is nothing but zeros to explain."""
    with pytest.raises(errors.InvalidArgumentError, match=r"always 0.*\n.*contrast_force_inputs=True"):
        lm.attribute(*TEXT, attributed_fn="kl_divergence", contrast_targets=OTHER)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"top_k": -1}, "top_k = -1"),
        ({"top_k": 1.5}, "top_k = 1.5"),
        ({"top_p": 0}, "top_p = 0"),
        ({"top_p": 1.1}, "top_p = 1.1"),
        ({"min_tokens_to_keep": 0}, "min_tokens_to_keep = 0"),
    ],
)
def test_what_is_no_number_of_tokens_or_mass_is_refused(lm, arguments, said):
    """Before the model works."""
    with pytest.raises(errors.InvalidArgumentError, match=said):
        scores(lm, *TEXT, functions=["kl_divergence"], contrast_targets=OTHER, **arguments)


def test_contrasts_beyond_the_model_s_length_say_how_long_they_are():
    """The number of tokens and the limit."""
    model = AttributionModel(BagModel(max_target=6), "leave_out")

    with pytest.raises(
        errors.TextTooLongError, match=r"contrast of the text has 9 target tokens.*6 positions"
    ):
        model.attribute(
            *TEXT, attributed_fn="contrast_prob_diff", contrast_targets="the dog sees a cat because it is"
        )


def test_a_contrast_in_ids_is_used_as_it_is(lm, translator):
    """The same as its text, where the text has these ids; nothing is added to it or cut off."""
    for model, own, other in ((lm, TEXT, OTHER), (translator, ("red", "the dog"), "a cat")):
        given = model.adapter.encode_input(own[0])
        text = (
            model.adapter.encode_output(other, given).tolist()
            if model is translator
            else ids_of(model, other)
        )
        by_text = scores(model, *own, contrast_targets=other)
        by_ids = scores(model, *own, contrast_targets=[list(text)])
        for name in CONTRASTIVE:
            np.testing.assert_array_equal(by_text[name], by_ids[name])
    ended = [*ids_of(lm, "the dog"), 2]  # the end token is what is compared with
    found = scores(lm, "the", "the dog", contrast_targets=[ended], contrast_targets_alignments=[[(2, 3)]])
    assert found["contrast_logits"][0] == pytest.approx(logits_of(lm, ended, 3)[2], rel=1e-6)


@pytest.mark.parametrize("ids", [[1], [], [1, 2.5], [1, True], [1, 10_000], [1, -1]])
def test_what_is_no_row_of_ids_is_refused(lm, ids):
    """At least two, of the vocabulary."""
    with pytest.raises(errors.InvalidArgumentError, match="contrast_targets"):
        scores(lm, *TEXT, contrast_targets=[ids])
