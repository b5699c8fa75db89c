"""The model on ids, as the adapter calls it, against the model called plainly on one unpadded text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.hf_adapters import PROMPTS, forced, plain_logits, tiny_adapter
from support.tiny_models import ARCHITECTURES, DECODER_ONLY, ENCODER_DECODER

from inseq_core.data.batch import TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError

TOLERANCE = {torch.float32: 2e-4, torch.float64: 5e-6}
"""Of logits of a few units. In float64 too some models take their softmax or positions in float32."""
BOTH_TYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def batch_of(adapter, outputs=(" she said.", " is late", " sleeping in the small red house.")):
    """Three texts of different lengths."""
    texts = [forced(adapter, prompt, output) for prompt, output in zip(PROMPTS, outputs, strict=True)]
    return TokenBatch.of(texts, adapter.pad_id)


@BOTH_TYPES
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_of_a_padded_batch_are_the_models_own_logits(name, dtype):
    """Padding, masks and positions are where batched scoring goes wrong, differently on each architecture."""
    adapter = tiny_adapter(name, dtype=dtype)
    batch = batch_of(adapter)
    assert len(set(batch.target_lengths)) > 1
    grid = StepGrid.of(batch, [(1, len(text.target_ids)) for text in batch.texts])

    rows = adapter.forward_rows(batch, grid).logits[:, 0]

    expected = torch.cat([plain_logits(adapter, text)[:-1] for text in batch.texts])
    torch.testing.assert_close(rows, expected, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_embedding_modules_are_the_ones_the_model_uses(name):
    """Models have several embedding modules; one that is never called would make every gradient zero."""
    adapter = tiny_adapter(name)
    batch = batch_of(adapter)
    calls = []
    sides = ("source", "target") if adapter.is_encoder_decoder else ("target",)
    handles = [
        adapter.embedding_module(side).register_forward_hook(
            lambda m, a, output, side=side: calls.append((side, output))
        )
        for side in sides
    ]
    try:
        adapter.forward_rows(batch, StepGrid.of(batch, [(1, 3), (1, 3), (1, 3)]))
    finally:
        for handle in handles:
            handle.remove()

    if len(calls) > len(sides):  # encoder and decoder share one module: each hook saw both calls
        calls = [calls[0], calls[-1]]
    assert [side for side, _ in calls] == list(sides)
    for side, output in calls:
        width = output.shape[1]
        ids = (batch.source_ids if side == "source" else batch.target_ids)[:, :width]
        torch.testing.assert_close(output, adapter.embed(adapter.as_array(ids), side))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_cached_prefix_gives_the_uncached_logits(name):
    """Positions behind a cached prefix must go on where it ends."""
    adapter = tiny_adapter(name)
    text = forced(adapter, PROMPTS[0], " she said.")
    ids = adapter.as_array(text.target_ids)[None].repeat(2, 1)
    mask = torch.ones_like(ids, dtype=torch.bool)
    memory = memory_mask = None
    if adapter.is_encoder_decoder:
        source = adapter.as_array(text.source_ids)[None].repeat(2, 1)
        memory_mask = torch.ones_like(source, dtype=torch.bool)
    with torch.no_grad():
        if adapter.is_encoder_decoder:
            memory = adapter.run_encoder(source, memory_mask)
        context = {"memory": memory, "memory_mask": memory_mask}
        try:
            prefix = adapter.run_decoder(ids[:, :3], mask[:, :3], use_cache=True, **context)
        except CapabilityError:
            assert not adapter.attention_layers()["decoder"]
            return
        rest = adapter.run_decoder(ids[:, 3:], mask, cache=prefix.past_key_values, **context).logits

    expected = plain_logits(adapter, text)
    for row in rest:
        torch.testing.assert_close(row, expected[3:], atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_masked_is_not_seen_by_later_positions(name):
    """Removal by masking: later logits must not hang on the masked token, and must differ from seeing it."""
    adapter = tiny_adapter(name)
    text = forced(adapter, PROMPTS[1], " is late")
    ids = adapter.as_array(text.target_ids)[None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 2] = False
    other = ids.clone()
    other[:, 2] = (other[:, 2] + 7) % 50 + 10
    memory = memory_mask = None
    with torch.no_grad():
        if adapter.is_encoder_decoder:
            source = adapter.as_array(text.source_ids)[None]
            memory_mask = torch.ones_like(source, dtype=torch.bool)
            memory = adapter.run_encoder(source, memory_mask)
        context = {"memory": memory, "memory_mask": memory_mask}
        masked, changed = (adapter.run_decoder(x, mask, **context).logits[0, 3:] for x in (ids, other))
        seen = adapter.run_decoder(ids, torch.ones_like(mask), **context).logits[0, 3:]

    torch.testing.assert_close(masked, changed, atol=1e-4, rtol=0)
    assert (masked - seen).abs().max() > 1e-3


@pytest.mark.parametrize("name", ENCODER_DECODER)
def test_a_masked_source_token_is_not_seen(name):
    """The encoder's mask reaches encoder and cross-attention."""
    adapter = tiny_adapter(name)
    text = forced(adapter, PROMPTS[0], " she said.")
    source, target = adapter.as_array(text.source_ids)[None], adapter.as_array(text.target_ids)[None]
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[:, 1] = False
    other = source.clone()
    other[:, 1] = (other[:, 1] + 7) % 50 + 10
    with torch.no_grad():
        a, b = (
            adapter.run_decoder(
                target,
                torch.ones_like(target, dtype=torch.bool),
                memory=adapter.run_encoder(x, mask),
                memory_mask=mask,
            ).logits
            for x in (source, other)
        )

    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_the_model_is_left_as_it_was(name):
    """A user's model object is theirs: mode, gradients and parameters stay."""
    adapter = tiny_adapter(name)
    model = adapter.model.train()
    before = {key: (p.requires_grad, p.clone()) for key, p in model.named_parameters()}
    try:
        batch = batch_of(adapter)
        adapter.forward_rows(batch, StepGrid.of(batch, [(1, 3), (1, 3), (1, 3)]))
        adapter.generate(batch.texts[:1], {"max_new_tokens": 2})
        assert all(module.training for module in model.modules())
    finally:
        model.eval()

    for key, parameter in model.named_parameters():
        flag, value = before[key]
        assert parameter.requires_grad == flag and torch.equal(parameter, value)


def test_training_mode_of_the_users_model_changes_no_scores():
    """Dropout of a model that a user left in training mode would make every number random."""
    adapter = tiny_adapter("gpt2", seed=3)
    batch = batch_of(adapter)
    grid = StepGrid.of(batch, [(1, 3)] * 3)
    expected = adapter.forward_rows(batch, grid).logits
    adapter.model.train()
    try:
        scores = adapter.forward_rows(batch, grid).logits
    finally:
        adapter.model.eval()

    assert torch.equal(scores, expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_capabilities_are_those_of_the_architecture(name):
    """State-space models have no attention; everything else has all that methods may need."""
    adapter = tiny_adapter(name)

    missing = {str(c) for c in type(next(iter(adapter.capabilities)))} - {
        str(c) for c in adapter.capabilities
    }

    assert missing == (set() if name in (*DECODER_ONLY, *ENCODER_DECODER) else {"attentions"})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_profile_states_the_facts(name):
    """They are kept with every result; limits decide what is refused."""
    adapter = tiny_adapter(name, dtype=torch.float64)
    profile = adapter.profile

    assert profile.framework == "hf_transformers"
    assert profile.model_class == type(adapter.model).__name__
    assert profile.dtype == "float64" and profile.device == "cpu"
    assert profile.vocabulary_size == adapter.model.get_output_embeddings().weight.shape[0]
    unlimited = name in ("bloom", "mpt", "mamba", "t5", "mt5")
    assert profile.max_target == (None if unlimited else 128)
    assert profile.max_source == (128 if adapter.is_encoder_decoder and not unlimited else None)
    assert profile.versions["torch"] == torch.__version__


def test_float64_arrays_come_back_as_they_are():
    """Results are numpy; half precision is widened, nothing else is changed."""
    adapter = tiny_adapter("gpt2")

    assert adapter.to_numpy(torch.ones(2, dtype=torch.float64)).dtype == np.float64
    assert adapter.to_numpy(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
