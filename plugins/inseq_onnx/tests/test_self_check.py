"""Graphs that break what one pass for all steps relies on: right all the same, or refused."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import ApproximationWarning, CapabilityError, ModelLoadError, SelfCheckError

IDS = [1, 4, 6, 8, 4, 9, 13]
SHORT = [1, 5, 7]


def batch_of(adapter, *rows) -> TokenBatch:
    """Texts of decoder-only models."""
    return TokenBatch.of([EncodedText(target_ids=ids) for ids in rows], adapter.pad_id)


def logits_of(adapter, batch: TokenBatch, spans) -> np.ndarray:
    """(R, V) after the self-check."""
    adapter.self_check(batch)
    return adapter.forward_rows(batch, StepGrid.of(batch, spans)).logits[:, 0]


def test_a_good_graph_passes_without_a_word(workshop, loaded, recwarn):
    """And is not tried again, nor are the trials counted as work."""
    adapter = loaded(workshop.decoder_only())
    batch = batch_of(adapter, IDS, SHORT)

    adapter.self_check(batch)

    assert adapter.traits.checked and adapter.traits.is_causal and adapter.traits.pads_safely
    assert not adapter.notes and not adapter.counts and not list(recwarn)


def test_a_graph_that_sees_what_follows_is_run_on_each_prefix(workshop, loaded, sums):
    """The logits of a step are those of its own prefix; the sum over a prefix is what a causal model has
    there."""
    adapter = loaded(workshop.decoder_only(causal=False))
    batch = batch_of(adapter, IDS, SHORT)

    with pytest.warns(ApproximationWarning, match="every step is run on its own prefix"):
        found = logits_of(adapter, batch, [(1, 7), (1, 3)])

    expected = np.concatenate([sums.logits(IDS)[:6], sums.logits(SHORT)[:2]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "prefix" in adapter.notes[0]


def test_attribution_of_a_graph_that_sees_what_follows_is_planned_step_by_step(workshop, loaded):
    """Versions of a text with later tokens removed are other prefixes then."""
    from inseq_core.hooks.specs import MethodSpec

    adapter = loaded(workshop.decoder_only(causal=False))
    batch = batch_of(adapter, IDS)
    with pytest.warns(ApproximationWarning):
        adapter.self_check(batch)

    spec = MethodSpec(name="any", factory="a.b:c", summary="Any.")
    assert [len(rows) for rows in adapter.plan(batch, StepGrid.of(batch, [(1, 7)]), spec)] == [1] * 6


def test_a_graph_without_a_mask_that_sees_padding_runs_lengths_apart(workshop, loaded, sums):
    """Nothing tells it what is padding, so there must be none."""
    adapter = loaded(workshop.translator(encoder="inside", mask=False, causal=False))
    texts = [EncodedText(target_ids=ids, source_ids=[4, 6, 2]) for ids in (IDS, SHORT)]
    batch = TokenBatch.of(texts, adapter.pad_id)

    with pytest.warns(ApproximationWarning):
        found = logits_of(adapter, batch, [(2, 3), (2, 3)])

    assert not adapter.traits.pads_safely
    # of the prefix of two tokens alone: a graph that sums over everything gives its sum at every position
    expected = np.stack([sums.logits(ids, [4, 6, 2])[1] for ids in (IDS, SHORT)])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sources_of_different_lengths_are_run_apart_without_a_mask(workshop, loaded, sums):
    """An encoder whose mask was left out when it was exported."""
    folder = workshop.translator(encoder="inside", source_mask=False)
    adapter = loaded(folder)
    texts = [EncodedText(target_ids=IDS, source_ids=source) for source in ([4, 6, 2], [4, 6, 8, 2])]
    batch = TokenBatch.of(texts, adapter.pad_id)

    with pytest.warns(ApproximationWarning, match="different lengths are run apart"):
        found = logits_of(adapter, batch, [(6, 7), (6, 7)])

    expected = np.stack([sums.logits(IDS, text.source_ids)[5] for text in texts])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert adapter.traits.is_causal and "mask" not in adapter.removals


def test_texts_that_add_to_each_other_are_run_alone(workshop, loaded, sums):
    """A frozen batch axis, or a bug of an exporter."""
    adapter = loaded(workshop.decoder_only(mixes=True))
    batch = batch_of(adapter, IDS, SHORT, SHORT)

    with pytest.warns(ApproximationWarning, match="every text is run alone"):
        found = logits_of(adapter, batch, [(1, 7), (1, 3), (1, 3)])

    # alone, a text is "all the others" itself: everything but the bias counts twice
    single = [2 * sums.logits(ids) - sums.bias for ids in (IDS, SHORT, SHORT)]
    expected = np.concatenate([single[0][:6], single[1][:2], single[2][:2]])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_graph_for_one_text_is_run_on_one_text_at_a_time(workshop, loaded, sums, recwarn):
    """Exports with a batch axis of 1 are usual, and right."""
    adapter = loaded(workshop.decoder_only(batch=1))
    batch = batch_of(adapter, IDS, SHORT)

    found = logits_of(adapter, batch, [(1, 7), (1, 3)])

    expected = np.concatenate([sums.logits(IDS)[:6], sums.logits(SHORT)[:2]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert adapter.counts["forward"] == 2 and not list(recwarn)


def test_a_graph_with_something_random_in_it_is_refused(workshop, loaded):
    """Dropout that was traced: no two passes agree."""
    adapter = loaded(workshop.decoder_only(noise=1.0))

    with pytest.raises(SelfCheckError, match="something random"):
        adapter.self_check(batch_of(adapter, IDS))


@pytest.mark.parametrize("sizes", [{"length": 8}, {"batch": 4}, {"batch": 2, "length": 8}])
def test_a_graph_of_fixed_sizes_is_refused_when_it_is_loaded(workshop, loaded, sizes):
    """Texts have any length, and there are never exactly four of them."""
    with pytest.raises(ModelLoadError, match=r"(?s)fixed shape .*dynamic shapes"):
        loaded(workshop.decoder_only(**sizes))


def test_masks_that_hide_may_be_used_to_remove(workshop, loaded):
    """Tried once a side, when they are used."""
    adapter = loaded(workshop.translator())
    kept = np.array([True, False, True])
    text = EncodedText(target_ids=SHORT, source_ids=[4, 6, 2], target_kept=kept, source_kept=kept)
    batch = TokenBatch.of([text], adapter.pad_id)

    list(adapter.forward_versions(batch, StepGrid.of(batch, [(1, 3)])))

    assert adapter.traits.masks_hide == {"source": True, "target": True}


def test_a_graph_without_a_mask_does_not_offer_removal_by_mask(workshop, loaded):
    """Nor does it pretend to, if a version is masked all the same."""
    adapter = loaded(workshop.decoder_only(mask=False))
    text = EncodedText(target_ids=SHORT, target_kept=np.array([True, False, True]))
    batch = TokenBatch.of([text], adapter.pad_id)

    assert "mask" not in adapter.removals
    with pytest.raises(CapabilityError, match="takes no mask"):
        list(adapter.forward_versions(batch, StepGrid.of(batch, [(1, 3)])))


def test_a_mask_that_hides_nothing_is_found_out(workshop, loaded, monkeypatch):
    """An input that the graph declares and does not use would leave scores as they are."""
    from onnx import TensorProto

    extra = {"attention_mask": (TensorProto.INT64, ["batch", "length"])}
    adapter = loaded(workshop.decoder_only(mask=False, extra=extra))
    text = EncodedText(target_ids=IDS, target_kept=np.arange(7) != 2)
    batch = TokenBatch.of([text], adapter.pad_id)

    with pytest.raises(CapabilityError, match="looks at tokens that its mask hides"):
        list(adapter.forward_versions(batch, StepGrid.of(batch, [(1, 7)])))


def test_numbers_that_are_no_numbers_prove_nothing(workshop, loaded, sums):
    """They are reported with the step that has them, not as a broken graph."""
    infinite = attrs.evolve(sums, bias=np.full_like(sums.bias, np.nan))
    adapter = loaded(type(workshop)(workshop.place / "nan", infinite).decoder_only())

    adapter.self_check(batch_of(adapter, IDS))

    assert adapter.traits.is_causal and not adapter.notes
