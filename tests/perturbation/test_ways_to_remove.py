"""Ways to remove a feature, each against the toy's own definition of what is then left."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from support.removal_truth import linear_model, score, steps_of, text_of

from inseq_core.contracts.removal import RemovalWay
from inseq_core.errors import ApproximationWarning, CapabilityError, InvalidArgumentError
from inseq_core.testing.toys import BOS, BagModel

TEXT = "the dog sees a cat . the"


def left_out(model, removal, text=TEXT, method="leave_one_out", **options):
    """Scores of one text, the features removed in one way."""
    return model.attribute("the dog", text, method=method, removal=removal, attributed_fn="logit", **options)


def test_deleting_closes_the_positions_up():
    """The text without the word, scored as a text of its own; nothing stands where it stood."""
    model = linear_model()
    (result,) = left_out(model, "delete")
    text, toy = text_of(result), model.adapter

    for k, s in steps_of(result):
        target = int(text.target_ids[s])
        for j in range(1, s):
            shorter = attrs.evolve(text, target_ids=np.delete(text.target_ids[:s], j))
            expected = toy.logits(text, s)[target] - toy.logits(shorter, s - 1)[target]
            assert result.target_attributions[j, k] == pytest.approx(expected, abs=1e-6)  # float32


def test_what_the_model_begins_with_stands_where_everything_was_deleted():
    """A model without a start token in its prompts has nothing to predict from otherwise."""
    model = linear_model(adds_bos=False)
    (result,) = model.attribute(
        "dog",
        "dog sees a",
        method="leave_one_out",
        features="sentence",
        removal="delete",
        attributed_fn="logit",
    )
    toy, text = model.adapter, text_of(result)
    start = attrs.evolve(text, target_ids=[BOS])

    first = int(text.target_ids[1])
    expected = toy.logits(text, 1)[first] - toy.logits(start, 1)[first]
    assert result.target_attributions[0, 0] == pytest.approx(expected, abs=1e-6)  # float32
    # the second step still sees its own word, and is not given a start token beside it
    second, own = int(text.target_ids[2]), attrs.evolve(text, target_ids=text.target_ids[1:2])
    expected = toy.logits(text, 2)[second] - toy.logits(own, 1)[second]
    assert result.target_attributions[0, 1] == pytest.approx(expected, abs=1e-6)


def test_a_source_may_be_deleted_to_its_last_token():
    """What the tokenizer puts around an empty text is left."""
    model = linear_model(is_encoder_decoder=True)
    (result,) = model.attribute(
        "dog",
        method="leave_one_out",
        removal="delete",
        attributed_fn="logit",
        include_eos_baseline=True,
        features=lambda text, adapter: [feature("source", range(len(text.source_ids)))],
    )
    toy, text = model.adapter, text_of(result)

    for k, s in steps_of(result):
        target = int(text.target_ids[s])
        empty = attrs.evolve(text, source_ids=toy.encode_input("").ids)
        expected = toy.logits(text, s)[target] - toy.logits(empty, s)[target]
        assert result.source_attributions[0, k] == pytest.approx(expected, abs=1e-6)  # float32


def feature(side, positions):
    """One feature of a caller's own."""
    from inseq_core.data.features import Feature

    return Feature(label="all", side=side, positions=positions)


@pytest.mark.parametrize("removal", ["token:dog", "dog", RemovalWay(token="dog"), {"token": "dog"}])
def test_a_baseline_token_can_be_said_in_several_ways(removal):
    """A word, with and without its kind; a record; a dict of its fields."""
    model = linear_model()
    out = left_out(model, removal)
    weights, dog = model.adapter.weights, model.adapter.ids["dog"]

    assert out.info.notes["removal"] == "token:dog"
    result = out[0]
    for k, s in steps_of(result):
        y = result.target[s].id
        expected = [
            weights.decay ** (s - 1 - j) * (weights.target[result.target[j].id, y] - weights.target[dog, y])
            for j in range(1, s)
        ]
        np.testing.assert_allclose(result.target_attributions[1:s, k], expected, atol=1e-6)  # float32


def test_masking_leaves_positions_as_they_are():
    """The toy's own mask: the word's vector is not added, the others keep their distance."""
    model = linear_model()
    masked, unknown = left_out(model, "mask")[0], left_out(model, "token:unk")[0]

    np.testing.assert_allclose(
        masked.target_attributions, unknown.target_attributions, atol=1e-7
    )  # an unknown word adds nothing either


@pytest.mark.parametrize("draws_from", ["vocabulary", "model"])
def test_a_sampled_removal_tends_to_its_expectation(draws_from):
    """The mean over the vocabulary, or over what the model expects there, without the token itself."""
    model = linear_model(scale=0.5)
    way = RemovalWay(way="sample", n_draws=4000, draws_from=draws_from)
    (result,) = left_out(model, way, text="the dog sees a", attr_pos_start=4)
    toy, text = model.adapter, text_of(result)
    y = int(text.target_ids[4])

    for j in (1, 2, 3):
        own = int(text.target_ids[j])
        if draws_from == "model":
            logits = toy.logits(text, j)
            likely = np.exp(logits - logits.max())
        else:
            likely = np.ones(len(toy.vocabulary))
        likely[[own, 0, 1, 2, 3]] = 0.0  # special tokens are never drawn
        likely /= likely.sum()
        away = toy.weights.decay ** (3 - j) * (toy.weights.target[own, y] - toy.weights.target[:, y])
        spread = np.sqrt(likely @ (away - likely @ away) ** 2 / 4000)
        assert abs(result.target_attributions[j, 0] - likely @ away) < 4 * spread + 1e-6


def test_draws_do_not_depend_on_other_texts_or_on_what_follows():
    """Seeded by the text, drawn position by position."""
    model = linear_model()
    alone = left_out(model, "sample")[0]
    (_, together) = model.attribute(
        ["a", "the dog"],
        ["a cat", TEXT],
        method="leave_one_out",
        removal="sample",
        attributed_fn="logit",
    )
    (part,) = left_out(model, "sample", attr_pos_end=6)

    assert together == alone
    np.testing.assert_allclose(
        part.target_attributions[:5], alone.target_attributions[:5, : part.n_steps], rtol=1e-6
    )  # float32


def test_equal_versions_are_run_once():
    """Fifty samples of one feature are two texts."""
    model = linear_model()
    model.attribute(
        "the dog", "the dog sees", method="lime", features="sentence", n_samples=50, attr_pos_start=3
    )

    assert sum(model.adapter.passes) == 2


def test_a_spread_score_is_divided_among_the_tokens_that_a_step_sees():
    """The sum over a feature's tokens is its score; repeated, each token shows all of it."""
    model = linear_model()
    repeated = left_out(model, RemovalWay(), features="sentence")[0]
    spread = left_out(model, {"spread": True}, features="sentence")[0]

    for k, s in steps_of(repeated):
        np.testing.assert_allclose(
            spread.target_attributions[1:3, k] * 2, repeated.target_attributions[1:3, k]
        )
        own = repeated.target_attributions[3:s, k]
        if len(own):
            np.testing.assert_allclose(spread.target_attributions[3:s, k] * len(own), own, rtol=1e-6)


def test_features_have_their_scores_however_these_were_shown_on_tokens(recwarn):
    """Merging a feature takes its score once where it stands at each token, and adds it up where it was spread."""
    model, text = linear_model(), "the dog . sees a cat ."
    merged = [
        model.attribute(
            text, f"{text} a the", method="leave_one_out", removal={"spread": spread}, features="sentence"
        )[0].aggregate("segments")
        for spread in (False, True)
    ]

    assert [t.token for t in merged[0].target[1:3]] == ["the dog .", "sees a cat ."]
    for result in merged:
        np.testing.assert_allclose(
            result.target_attributions[:3], merged[0].target_attributions[:3], rtol=1e-6
        )
        assert (result.feature_kind, result.is_spread) == ("token", False)
    assert not recwarn.list


def test_a_way_that_the_model_cannot_do_names_those_that_it_can():
    """Embeddings are not to be had from a model that only scores."""
    model = linear_model()

    with pytest.raises(CapabilityError, match=r"'mean' is not possible.*\n.*Possible: delete, mask"):
        model.attribute("the dog", method="occlusion", removal="mean")
    assert model.adapter.passes == []


@pytest.mark.parametrize(
    ("removal", "said"),
    [
        ("deletes", r"removal = 'deletes'.* Did you mean 'delete'\?\n  Use 'mask', 'delete', 'zero'"),
        ({"ways": "mask"}, r"'ways'. Did you mean 'way'\?\n  Accepted by RemovalWay: way, token, spread"),
    ],
)
def test_a_misspelt_way_is_answered_with_the_ways_there_are(removal, said):
    """What is no way is taken for a token, so a misspelt way must not only hear that it is no token."""
    with pytest.raises(InvalidArgumentError, match=said):
        left_out(linear_model(), removal)


def test_a_model_without_a_start_token_says_so():
    """Where deletion leaves nothing at all there is nothing to score."""

    class Startless(BagModel):
        def encode_input(self, text, *, truncate=False):
            given = super().encode_input(text, truncate=truncate)
            if not text:
                raise InvalidArgumentError("no tokens")
            return given

    from inseq_core.model import AttributionModel

    model = AttributionModel(Startless(adds_bos=False))
    with pytest.raises(InvalidArgumentError, match=r"leaves nothing before a step.*\n.*token:unk"):
        model.attribute("dog", "dog a", method="leave_one_out", removal="delete")


def test_removal_scores_of_every_step_equal_runs_of_their_own():
    """The engine's own promise, for arbitrary versions: all cells against single runs of the toy."""
    model = linear_model()
    seen = {}

    @attrs.frozen
    class Peek:
        def attribute(self, ctx):
            kept = np.random.default_rng(0).random((12, len(ctx.features))) < 0.6
            seen["kept"], seen["scores"] = kept, ctx.removal_scores(kept)
            return ctx.feature_output(np.zeros((ctx.n_rows, len(ctx.features))))

    from inseq_core.hooks import MethodSpec, get_host

    get_host().methods.register(MethodSpec(name="peek", factory=Peek, summary="Looks.", per_text=True))
    try:
        (result,) = model.attribute("the dog", TEXT, method="peek")
    finally:
        get_host().methods.unregister("peek")
    text = text_of(result)

    for p, version in enumerate(seen["kept"]):
        removed = {j + 1 for j in np.flatnonzero(~version)}  # <s> at position 0 is no feature
        for k, s in steps_of(result):
            assert seen["scores"][p, k] == pytest.approx(score(model.adapter, text, s, removed), rel=1e-12)


def test_half_precision_is_warned_of():
    """Differences of near-equal probabilities were off by 9% in bfloat16; the warning goes into the result."""
    model = linear_model()
    model.adapter.profile = attrs.evolve(model.adapter.profile, dtype="bfloat16")

    with pytest.warns(ApproximationWarning, match="bfloat16: occlusion takes differences"):
        out = model.attribute("the dog", method="occlusion")
    assert "bfloat16" in out.info.warnings[0]
