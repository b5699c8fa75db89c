"""Logits of rows: equal to what one adds up by hand, whatever the graph asks for and however rows are cut."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid

TEXTS = ([1, 4, 6, 8], [1, 5, 7, 8, 4, 9, 13], [1, 6])
SOURCES = ([4, 6, 2], [5, 7, 12, 8, 2], [9, 2])
PRECISION = 1e-5  # float32 sums of a dozen numbers of size 1


def batch_of(adapter, **changes) -> TokenBatch:
    """The texts above."""
    texts = []
    for ids, source in zip(TEXTS, SOURCES, strict=True):
        texts.append(EncodedText(target_ids=ids, source_ids=source if adapter.is_encoder_decoder else None))
    texts[1] = attrs.evolve(texts[1], **changes)
    return TokenBatch.of(texts, adapter.pad_id)


def all_rows(batch: TokenBatch) -> StepGrid:
    """Every position that predicts a token."""
    return StepGrid.of(batch, [(1, len(text.target_ids)) for text in batch.texts])


def by_hand(sums, batch: TokenBatch, grid: StepGrid) -> np.ndarray:
    """(R, V) logits, one text after the other."""
    found = []
    for b, text in enumerate(batch.texts):
        source = () if text.source_ids is None else text.source_ids
        logits = sums.logits(text.target_ids, source, text.target_kept, text.source_kept)
        found.append(logits[grid.position[grid.sequence == b] - 1])
    return np.concatenate(found)


def rows_of(adapter, batch: TokenBatch, grid: StepGrid) -> np.ndarray:
    """(R, V) the adapter's logits."""
    return adapter.to_numpy(adapter.forward_rows(batch, grid).logits)[:, 0]


def test_rows_of_a_decoder_only_graph(workshop, loaded, sums):
    """Three texts of different lengths in one pass."""
    adapter = loaded(workshop.decoder_only())
    batch = batch_of(adapter)
    grid = all_rows(batch)

    np.testing.assert_allclose(rows_of(adapter, batch, grid), by_hand(sums, batch, grid), atol=PRECISION)
    assert adapter.counts["forward"] == 1
    assert adapter.counts["sequences"] == 3


@pytest.mark.parametrize("encoder", ["apart", "inside"])
def test_rows_of_an_encoder_decoder_model(workshop, loaded, sums, encoder):
    """In one graph, and in two."""
    adapter = loaded(workshop.translator(encoder=encoder))
    batch = batch_of(adapter)
    grid = all_rows(batch)

    np.testing.assert_allclose(rows_of(adapter, batch, grid), by_hand(sums, batch, grid), atol=PRECISION)


@pytest.mark.parametrize("rows", [True, False])
def test_masked_tokens_add_nothing(workshop, loaded, sums, rows):
    """Gaps of a mask arrive in both graphs, on both sides."""
    adapter = loaded(workshop.translator(rows=rows))
    kept = {
        "target_kept": np.array([1, 0, 1, 1, 0, 1, 1], dtype=bool),
        "source_kept": np.array([1, 1, 0, 1, 1], dtype=bool),
    }
    batch = batch_of(adapter, **kept)
    grid = all_rows(batch)

    np.testing.assert_allclose(rows_of(adapter, batch, grid), by_hand(sums, batch, grid), atol=PRECISION)


def test_a_graph_that_takes_rows_gives_the_rows_that_were_asked_for(workshop, loaded, sums):
    """In their order, and not those of the padding."""
    adapter = loaded(workshop.decoder_only(rows=True))
    batch = batch_of(adapter)
    grid = all_rows(batch).take([6, 2, 7, 0])

    expected = by_hand(sums, batch, all_rows(batch))[[6, 2, 7, 0]]
    np.testing.assert_allclose(rows_of(adapter, batch, grid), expected, atol=PRECISION)


def test_inputs_that_follow_from_the_ids_are_given(workshop, loaded, sums):
    """Positions, token types and an empty cache: what optimum's exports ask for."""
    from onnx import TensorProto

    cache = (TensorProto.FLOAT, ["batch", 2, "past", 4])
    extra = {
        "position_ids": (TensorProto.INT64, ["batch", "length"]),
        "token_type_ids": (TensorProto.INT64, ["batch", "length"]),
        "use_cache_branch": (TensorProto.BOOL, [1]),
        "past_key_values.0.key": cache,
        "past_key_values.0.value": cache,
    }
    adapter = loaded(workshop.decoder_only(extra=extra))
    batch = batch_of(adapter)
    grid = all_rows(batch)

    np.testing.assert_allclose(rows_of(adapter, batch, grid), by_hand(sums, batch, grid), atol=PRECISION)


def test_ids_are_cast_to_the_type_that_a_graph_declares(workshop, loaded, sums):
    """Some exporters use int32."""
    from onnx import TensorProto

    adapter = loaded(workshop.decoder_only(kind=TensorProto.INT32))
    batch = batch_of(adapter)
    grid = all_rows(batch)

    np.testing.assert_allclose(rows_of(adapter, batch, grid), by_hand(sums, batch, grid), atol=PRECISION)


@pytest.mark.parametrize("budget", [1, 3_000_000, 10_000_000])
def test_passes_are_cut_to_the_memory_budget(workshop, loaded, sums, budget):
    """Less at once gives the same numbers in the same order."""
    adapter = loaded(workshop.translator())
    adapter.memory_budget = budget
    batch = batch_of(adapter)
    grid = all_rows(batch).take([8, 0, 5, 3, 1, 9])

    expected = by_hand(sums, batch, all_rows(batch))[[8, 0, 5, 3, 1, 9]]
    np.testing.assert_allclose(rows_of(adapter, batch, grid), expected, atol=PRECISION)
    assert budget > 1 or adapter.counts["forward"] == 6  # an encoder and a decoder pass a text


def test_a_source_is_encoded_once_for_all_its_targets(workshop, loaded):
    """Versions of a target share their source; so do the steps of generation."""
    adapter = loaded(workshop.translator())
    texts = [EncodedText(target_ids=ids, source_ids=SOURCES[1]) for ids in TEXTS]
    batch = TokenBatch.of(texts, adapter.pad_id)
    grid = all_rows(batch)

    rows_of(adapter, batch, grid)
    assert adapter.counts["sequences"] == 1 + 3
    rows_of(adapter, batch, grid)
    assert adapter.counts["sequences"] == 1 + 3 + 3


def test_no_rows_are_no_pass(workshop, loaded):
    """A method may have nothing to ask."""
    adapter = loaded(workshop.decoder_only())
    batch = batch_of(adapter)

    assert rows_of(adapter, batch, all_rows(batch).take([])).shape == (0, 14)
    assert not adapter.counts.get("forward")


def test_running_out_of_memory_is_told_from_other_failures(workshop, loaded):
    """The engine halves what did not fit, and nothing else."""
    adapter = loaded(workshop.decoder_only())

    assert adapter.is_out_of_memory(RuntimeError("Failed to allocate memory for requested buffer of size 8"))
    assert adapter.is_out_of_memory(MemoryError())
    assert not adapter.is_out_of_memory(RuntimeError("Non-zero status code returned while running Gather"))
