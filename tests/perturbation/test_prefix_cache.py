from __future__ import annotations

import warnings

import attrs
import numpy as np
import pytest
import torch
from support.tiny_models import tiny_model

from inseq_core.errors import ApproximationWarning, CapabilityError
from inseq_core.model import AttributionModel
from inseq_core.torch.prefix_cache import bands
from inseq_hf.loading import load

PROMPT = "the dog sees a cat and the man is big"
OUTPUT = f"{PROMPT} and it likes the red car"


@pytest.fixture(autouse=True)
def sharing(monkeypatch):
    """Passes cost nothing, so that even short texts are run in bands."""
    monkeypatch.setattr("inseq_core.torch.removal.pass_cost", lambda adapter: 0)


def loaded(name="gpt2"):
    """A tiny model in float64."""
    model, tokenizer = tiny_model(name, dtype=torch.float64)
    return AttributionModel(load(model, tokenizer=tokenizer))


def occluded(model, **options):
    """One forced text, every feature left out in turn."""
    return model.attribute(PROMPT, OUTPUT, method="occlusion", **options)[0]


def without_sharing(name="gpt2", **options):
    """The same, every version run whole."""
    model = loaded(name)
    model.adapter.traits.shares_prefix = False
    return occluded(model, **options)


def spoil(adapter, how):
    """Plant an error in what a cached prefix gives."""
    repeat = adapter.repeat_prefix

    def spoiled(cache, length, copies):
        return how(repeat(cache, length, copies), repeat, cache, length, copies)

    adapter.repeat_prefix = spoiled


def louder_values(prefix, *_):
    """Values of one layer a thousandth too large."""
    prefix.layers[0].values = prefix.layers[0].values * 1.001
    return prefix


def one_position_short(prefix, repeat, cache, length, copies):
    """The last key of the prefix stands twice, the first is lost."""
    for layer in prefix.layers:
        layer.keys = torch.cat([layer.keys[..., 1:, :], layer.keys[..., -1:, :]], dim=-2)
    return prefix


def kept_from_another_call(prefix, repeat, cache, length, copies):
    """The cache grows in place, so that the second use sees what the first one added."""
    for ours, theirs in zip(prefix.layers, cache.layers, strict=True):
        theirs.keys = theirs.keys.clone()
        theirs.keys[..., : length // 2, :] += 0.01
        ours.keys = ours.keys
    return prefix


@pytest.mark.parametrize("how", [louder_values, one_position_short, kept_from_another_call])
def test_a_planted_error_in_the_cache_is_found_and_the_numbers_are_right(how):
    """A peer's cached scoring has been silently wrong for months; ours proves it on the text itself."""
    model = loaded()
    spoil(model.adapter, how)

    with pytest.warns(ApproximationWarning, match="a cached prefix does not give the uncached scores"):
        result = occluded(model)

    assert model.adapter.traits.shares_prefix is False
    assert any("cached prefix" in note for note in model.adapter.traits.notes)
    expected = without_sharing()
    np.testing.assert_allclose(result.target_attributions, expected.target_attributions, rtol=1e-6, atol=1e-9)


def test_an_error_that_only_long_texts_show_is_found_on_the_first_long_text():
    """A proof on a short text is not taken for one on a text twice as long."""
    model = loaded()
    spoil(model.adapter, lambda p, r, c, n, k: louder_values(p) if n > 60 else p)
    occluded(model)
    assert model.adapter.traits.shares_prefix

    long = " ".join([PROMPT] * 5)
    with pytest.warns(ApproximationWarning, match="cached prefix"):
        model.attribute(long, f"{long} and it", method="occlusion")
    assert model.adapter.traits.shares_prefix is False


def test_a_shared_prefix_changes_no_number():
    """Scores behind a cache equal scores of whole runs, to rounding."""
    model = loaded()
    result = occluded(model)

    assert model.adapter.traits.shares_prefix
    expected = without_sharing()
    np.testing.assert_allclose(result.target_attributions, expected.target_attributions, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "arguments"), [("lime", {"n_samples": 25}), ("shapley", {"n_samples": 2})]
)
def test_versions_that_change_in_many_places_share_what_they_can(method, arguments):
    """Whatever stands before the first change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ApproximationWarning)
        one, other = (
            model.attribute(PROMPT, OUTPUT, method=method, attributed_fn="logit", **arguments)[0]
            for model in (loaded(), sharing_off(loaded()))
        )

    np.testing.assert_allclose(one.target_attributions, other.target_attributions, rtol=1e-5, atol=1e-6)


def sharing_off(model):
    """A model whose cache is not to be trusted."""
    model.adapter.traits.shares_prefix = False
    return model


def test_fewer_tokens_are_run_behind_a_cache():
    """The unchanged prefix is the larger half of the work."""
    counts = []
    for model in (loaded(), sharing_off(loaded())):
        occluded(model)
        before = dict(model.adapter.counts)
        occluded(model)
        counts.append(model.adapter.counts["tokens"] - before["tokens"])

    assert counts[0] < 0.6 * counts[1]


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mamba"])
def test_features_times_steps_cost_one_row_a_feature_and_one_more(name):
    """However many passes they are in, shared prefix or not, and proofs are no part of the work."""
    model = loaded(name)
    (result,) = model.attribute(PROMPT, OUTPUT, method="occlusion")
    counts = model.attribute(PROMPT, OUTPUT, method="occlusion").info.notes["counts"]
    kept = model.adapter.kept_in_baseline(np.array([t.id for t in result.target]), "target", False)
    n_features = int((~kept[:-1]).sum())

    assert result.n_steps > 3
    assert counts["sequences"] <= n_features + 1
    sampled = model.attribute(PROMPT, OUTPUT, method="context_cite", n_samples=9)
    assert sampled.info.notes["counts"]["sequences"] <= 9


def test_every_source_is_encoded_once_and_the_target_s_versions_share_one():
    """S + 1 encoder rows and S + L + 1 decoder rows, in all."""
    model = loaded("t5")
    encoded, decoded = [], []
    encode, decode = model.adapter.run_encoder, model.adapter.run_decoder
    model.attribute("the dog sees a cat", "a dog", method="occlusion", attribute_target=True)
    model.adapter.run_encoder = lambda ids, mask: encoded.append(len(ids)) or encode(ids, mask)
    model.adapter.run_decoder = lambda ids, mask, **rest: (
        decoded.append(len(ids)) or decode(ids, mask, **rest)
    )
    (result,) = model.attribute("the dog sees a cat", "a dog", method="occlusion", attribute_target=True)

    adapter = model.adapter
    n_source = int(
        (~adapter.kept_in_baseline(np.array([t.id for t in result.source]), "source", False)).sum()
    )
    seen = np.array([t.id for t in result.target[:-1]])
    n_target = int((~adapter.kept_in_baseline(seen, "target", False)).sum())
    assert sum(encoded) == n_source + 1
    assert sum(decoded) <= n_source + n_target + 1


def test_bands_cost_no_more_than_one_pass_or_one_pass_each():
    """The plan is the cheapest of all: against every way to cut a few starting positions."""
    import itertools

    generator = np.random.default_rng(0)
    for _ in range(20):
        change = generator.integers(0, 12, size=9)
        cost, length = int(generator.integers(0, 20)), 12
        plan = bands(change, length, cost)
        members = np.concatenate([band.members for band in plan])

        assert plan[0].offset == 0
        assert sorted(members) == list(range(9))
        assert all(change[m] >= band.offset for band in plan for m in band.members)

        def price(offsets, change=change, cost=cost, length=length):
            starts = np.array(sorted({0, *offsets}))
            own = starts[np.searchsorted(starts, change, side="right") - 1]
            return int((length - own).sum()) + cost * len(starts)

        candidates = sorted(set(change.tolist()))
        best = min(
            price(c) for n in range(len(candidates) + 1) for c in itertools.combinations(candidates, n)
        )
        assert price([band.offset for band in plan]) == best


def test_a_model_that_looks_at_what_is_masked_is_refused():
    """Scores of a removal that removes nothing would be taken for the model's."""
    model = loaded()
    run = model.adapter.run_decoder

    def blind(ids, mask, **rest):
        return run(ids, torch.ones_like(mask), **rest)

    model.adapter.run_decoder = blind
    with pytest.raises(
        CapabilityError, match=r"removal 'mask' is not possible with .*looks at.*\n.*token:unk"
    ):
        occluded(model, removal="mask")


def test_a_step_by_step_model_is_right_too():
    """Where later tokens change earlier logits, every step is run on its own prefix, in every way to remove."""
    for removal in ("token:unk", "delete", "mask", "zero"):
        model = loaded()
        model.attribute(PROMPT, OUTPUT, method="dummy")
        model.adapter.traits.is_causal = False
        result, expected = occluded(model, removal=removal), occluded(loaded(), removal=removal)
        np.testing.assert_allclose(
            result.target_attributions, expected.target_attributions, rtol=1e-6, atol=1e-9
        )


def test_running_out_of_memory_halves_the_versions_and_keeps_the_prefix():
    """The pass that gives the cache is the first to be halved."""
    model, expected = loaded(), occluded(loaded())
    occluded(model)
    run = model.adapter.run_decoder

    def small(ids, mask, **rest):
        if len(ids) > 2:
            raise torch.OutOfMemoryError("too many at once")
        return run(ids, mask, **rest)

    model.adapter.run_decoder = small
    result = occluded(model)

    np.testing.assert_allclose(result.target_attributions, expected.target_attributions, rtol=1e-6, atol=1e-9)


def test_logits_of_all_versions_are_never_held_together():
    """A small budget makes many passes of few versions, and no other numbers."""
    model, expected = loaded(), occluded(loaded())
    model.adapter.memory_budget = 1 << 16
    occluded(model)
    rows = []
    decode = model.adapter.decode_rows

    def watched(batch, grid, **rest):
        rows.append(len(grid))
        return decode(batch, grid, **rest)

    model.adapter.decode_rows = watched
    result = occluded(model)

    assert max(rows) <= result.n_steps * 4 and len(rows) > 5
    np.testing.assert_allclose(result.target_attributions, expected.target_attributions, rtol=1e-6, atol=1e-9)


def test_features_know_which_steps_see_them():
    """A row's scores of features that it does not see are exactly 0, whatever a method makes of rounding."""
    from inseq_core.data.features import Feature, FeatureSet

    features = FeatureSet(
        features=[
            Feature(label="late", side="target", positions=(4, 5)),
            Feature(label="source", side="source", positions=(0,)),
            Feature(label="early", side="target", positions=(1,)),
        ],
        n_source=2,
        n_target=6,
    )

    np.testing.assert_array_equal(
        features.seen_from(np.array([1, 4, 5])),
        [[False, True, False], [False, True, True], [True, True, True]],
    )
    np.testing.assert_array_equal(features.reading_order(), [1, 2, 0])
    assert len(attrs.evolve(features, features=features.features[:1])) == 1
