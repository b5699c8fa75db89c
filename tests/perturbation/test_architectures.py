"""Every architecture: versions that share passes, prefixes and encoders score as runs of their own.

Versions are made here by hand and run one by one, step by step, by the framework's own model.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.plain_removal import blanked
from support.tiny_models import ARCHITECTURES, ENCODER_DECODER, tiny_model

from inseq_core.model import AttributionModel
from inseq_hf.loading import load

SOURCE = "the dog sees a cat"
PROMPT, OUTPUT = "the dog sees", "the dog sees a red cat"


def loaded(name, monkeypatch=None):
    """A tiny model in float64; passes cost nothing, so that prefixes are shared wherever they can be."""
    model, tokenizer = tiny_model(name, dtype=torch.float64)
    if monkeypatch is not None:
        monkeypatch.setattr("inseq_core.torch.removal.pass_cost", lambda adapter: 0)
    return AttributionModel(load(model, tokenizer=tokenizer))


def attributed(model, **options):
    """The scores of one forced text, source and target prefix."""
    texts = (SOURCE, OUTPUT) if model.is_encoder_decoder else (PROMPT, OUTPUT)
    options = {"attribute_target": model.is_encoder_decoder, "attributed_fn": "logit", **options}
    return model.attribute(*texts, **options)[0]


def logit(model, source, target, token, **masks):
    """One step, by the framework's own forward pass."""
    framework = model.adapter.model
    ids = {"input_ids": torch.tensor([target])}
    if source is not None:
        ids = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([target])}
    with torch.no_grad():
        return framework(**ids, **masks).logits[0, -1, token].item()


def ids_of(model, result):
    """Source and target ids, and which positions are never removed."""
    target = [t.id for t in result.target]
    source = [t.id for t in result.source] if model.is_encoder_decoder else None
    kept = {"target": model.adapter.kept_in_baseline(np.array(target), "target", False)}
    if source is not None:
        kept["source"] = model.adapter.kept_in_baseline(np.array(source), "source", False)
    return source, target, kept


def expected_scores(model, result, change):
    """(S, T), (L, T) of score minus score of the changed version; ``change(ids, j, side)`` changes."""
    source, target, kept = ids_of(model, result)
    of_target = np.full(result.target_attributions.shape, np.nan)
    of_source = None if source is None else np.zeros(result.source_attributions.shape)
    for k, s in enumerate(range(result.attr_pos_start, result.attr_pos_end)):
        full = logit(model, source, target[:s], target[s])
        for j in range(s):
            changed = change(target[:s], j, "target")
            of_target[j, k] = 0.0 if kept["target"][j] else full - logit(model, source, changed, target[s])
        for j in range(len(source or ())):
            changed = change(source, j, "source")
            of_source[j, k] = (
                0.0 if kept["source"][j] else full - logit(model, changed, target[:s], target[s])
            )
    return of_source, of_target


def assert_close(result, expected):
    """Results are float32, computed in float64."""
    source, target = expected
    np.testing.assert_allclose(result.target_attributions, target, rtol=1e-5, atol=2e-6)
    if source is not None:
        np.testing.assert_allclose(result.source_attributions, source, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_occlusion_equals_a_forward_pass_of_its_own_for_every_step_and_token(name, monkeypatch):
    """Also after the first step, also for the source, with every prefix shared that can be."""
    model = loaded(name, monkeypatch)
    result = attributed(model, method="occlusion")

    def replaced(ids, j, side):
        return [*ids[:j], model.adapter.baseline_ids("unk", side), *ids[j + 1 :]]

    assert_close(result, expected_scores(model, result, replaced))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "opt", "mamba", "t5", "marian", "mbart"])
def test_deleted_tokens_close_the_positions_up(name, monkeypatch):
    """A shorter text, run as such."""
    model = loaded(name, monkeypatch)
    result = attributed(model, method="leave_one_out", removal="delete")
    assert_close(result, expected_scores(model, result, lambda ids, j, side: [*ids[:j], *ids[j + 1 :]]))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "mpt", "gemma3", "t5", "marian"])
def test_a_masked_token_is_seen_by_no_position_and_says_nothing_at_its_own(name, monkeypatch):
    """The framework's own attention mask, with the baseline token where the step itself is read."""
    model = loaded(name, monkeypatch)
    result = attributed(model, method="leave_one_out", removal="mask")
    source, target, kept = ids_of(model, result)
    for k, s in enumerate(range(result.attr_pos_start, result.attr_pos_end)):
        full = logit(model, source, target[:s], target[s])
        for j in range(1, s):
            if kept["target"][j]:
                continue
            changed = [*target[:j], model.adapter.baseline_ids("unk"), *target[j + 1 : s]]
            mask = torch.ones(1, s, dtype=torch.long)
            mask[0, j] = 0
            masks = {"decoder_attention_mask" if source else "attention_mask": mask}
            if not source and "position_ids" in model.adapter._takes:
                masks["position_ids"] = torch.arange(s)[None]
            without = logit(model, source, changed, target[s], **masks)
            assert result.target_attributions[j, k] == pytest.approx(full - without, rel=1e-5, abs=2e-6)
        for j in np.flatnonzero(~kept.get("source", np.ones(1, dtype=bool))):
            mask = torch.ones(1, len(source), dtype=torch.long)
            mask[0, j] = 0
            without = logit(model, source, target[:s], target[s], attention_mask=mask)
            assert result.source_attributions[j, k] == pytest.approx(full - without, rel=1e-5, abs=2e-6)


@pytest.mark.parametrize("removal", ["zero", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma", "t5", "marian"])
def test_an_embedding_in_a_token_s_place_is_what_the_model_sees(name, removal, monkeypatch):
    """The module's own output replaced at one position by a hook, one step and one token at a time."""
    model = loaded(name, monkeypatch)
    result = attributed(model, method="leave_one_out", removal=removal)

    source, target, kept = ids_of(model, result)
    for k, s in enumerate(range(result.attr_pos_start, result.attr_pos_end)):
        full = logit(model, source, target[:s], target[s])
        for side, ids in (("source", source), ("target", target[:s])):
            for j in range(len(ids or ())):
                if kept[side][j]:
                    continue
                with blanked(model.adapter.embedding_module(side), [j], removal):
                    without = logit(model, source, target[:s], target[s])
                found = (result.source_attributions if side == "source" else result.target_attributions)[j, k]
                assert found == pytest.approx(full - without, rel=1e-5, abs=2e-6)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_texts_in_a_batch_are_as_alone_also_where_versions_differ_in_length(name):
    """Ragged texts, versions of different lengths."""
    model = loaded(name)
    texts = [SOURCE, "a cat"]
    for removal in ("delete", "mask"):
        options = {"method": "leave_one_out", "removal": removal, "generation_args": {"max_new_tokens": 3}}
        alone = [model.attribute(text, **options)[0] for text in texts]
        together = model.attribute(texts, **options)
        for one, other in zip(alone, together, strict=True):
            for side in ("source_attributions", "target_attributions"):
                if getattr(one, side) is not None:
                    np.testing.assert_allclose(getattr(one, side), getattr(other, side), atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", *ENCODER_DECODER[:1]])
def test_shapley_values_of_a_real_model_add_up(name):
    """Efficiency through the cached and batched engine."""
    model = loaded(name)
    result = attributed(model, method="kernel_shap", n_samples=40)
    source, target, kept = ids_of(model, result)
    unk = {side: model.adapter.baseline_ids("unk", side) for side in kept}
    nothing = [i if k else unk["target"] for i, k in zip(target, kept["target"], strict=True)]
    no_source = (
        None
        if source is None
        else [i if k else unk["source"] for i, k in zip(source, kept["source"], strict=True)]
    )
    for k, s in enumerate(range(result.attr_pos_start, result.attr_pos_end)):
        change = logit(model, source, target[:s], target[s])
        change -= logit(model, no_source, nothing[:s], target[s])
        total = np.nansum(result.target_attributions[:, k])
        total += 0.0 if source is None else result.source_attributions[:, k].sum()
        assert total == pytest.approx(change, rel=1e-4, abs=1e-5)  # float32 sums
