"""Attention methods as users call them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import attrs
import numpy as np
import pytest
from support.hf_adapters import tiny_adapter
from support.tiny_models import tiny_model

import inseq
from inseq_core.errors import CapabilityError, InvalidArgumentError, MeaningWarning
from inseq_core.view.heading import heading

METHODS = (
    "attention",
    "attention_rollout",
    "attention_flow",
    "grad_x_attention",
    "attention_norms",
    "value_zeroing",
    "alti",
)
TEXTS = ["The developer argued", "A dog and a cat were"]


def loaded(name: str, method: str | None = None) -> Any:
    """A tiny model as a user has it."""
    model, tokenizer = tiny_model(name)
    return inseq.load_model(model, method, tokenizer=tokenizer)


def call(model: Any, **options: Any) -> Any:
    """Two texts of different lengths, four new tokens each."""
    return model.attribute(
        TEXTS, generation_args={"max_new_tokens": 4, "min_new_tokens": 4}, show_progress=False, **options
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "marian"])
def test_every_method_works_with_step_scores_and_aggregates(name: str, method: str) -> None:
    """Scores of every step, step scores beside them, and one number a token in the default view."""
    is_encoder_decoder = name == "marian"
    output = call(
        loaded(name, method), step_scores=["probability", "entropy"], attribute_target=is_encoder_decoder
    )

    for result in output:
        flat = result.aggregate()
        target = np.asarray(flat.target_attributions)
        assert target.ndim == 2
        assert np.isfinite(target[0]).all()
        assert set(result.step_scores) == {"probability", "entropy"}
        total = np.nansum(np.abs(target), axis=0)
        if is_encoder_decoder:
            total = total + np.abs(np.asarray(flat.source_attributions)).sum(axis=0)
        np.testing.assert_allclose(total, 1, atol=1e-5)


def test_granular_scores_keep_layers_and_heads() -> None:
    """Two layers, four heads, browsed by name."""
    result = call(loaded("llama", "attention"))[0]

    assert result.axes == ("layer", "head")
    assert np.asarray(result.target_attributions).shape[2:] == (2, 4)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "attention_flow"])
def test_a_batch_gives_what_single_calls_give(method: str) -> None:
    """Padding, and steps of other texts, change nothing."""
    model = loaded("marian", method)
    together = call(model, attribute_target=True)
    alone = call(model, attribute_target=True, batch_size=1)

    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.source_attributions, b.source_attributions, atol=2e-5)
        np.testing.assert_allclose(a.target_attributions, b.target_attributions, atol=2e-5)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("attention", {"layers": 2}, "indices go from 0 to 1"),
        ("attention", {"heads": (2, 5)}, "indices go from 0 to 3"),
        ("grad_x_attention", {"heads": [-5]}, "indices go from 0 to 3"),
        ("attention_rollout", {"heads": 4}, "indices go from 0 to 3"),
        ("attention_flow", {"heads": 4}, "indices go from 0 to 3"),
        ("value_zeroing", {"decoder_zeroed_units_indices": {7: 0}}, "indices go from 0 to 1"),
        ("value_zeroing", {"similarity_metric": "dot"}, "cosine"),
        ("attention_norms", {"variant": "ln"}, "attnresln"),
    ],
)
def test_what_the_model_does_not_have_is_refused_before_it_runs(
    method: str, options: dict[str, Any], message: str
) -> None:
    """No pass is made for a call that cannot succeed."""
    model = loaded("llama")
    before = model.adapter.counts.copy()
    with pytest.raises(InvalidArgumentError, match=message):
        call(model, method=method, **options)

    assert model.adapter.counts == before


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_attention_is_refused_with_what_would_fit(method: str) -> None:
    """A state-space model has gradients, but no attention."""
    with pytest.raises(CapabilityError, match="saliency"):
        call(loaded("mamba"), method=method)


def test_many_texts_are_taken_in_groups_that_fit_in_memory() -> None:
    """The adapter plans whole texts; a small budget means one text a pass and the same numbers."""
    model = loaded("llama", "attention")
    whole = call(model)
    budget = model.adapter.memory_budget
    model.adapter.memory_budget = 1
    try:
        parts = call(model)
    finally:
        model.adapter.memory_budget = budget

    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.target_attributions, b.target_attributions, atol=1e-6)


def test_attention_in_half_precision_is_that_of_the_model() -> None:
    """bfloat16 weights: finite, in [0, 1], and close to those in float32."""
    import torch
    from support.contexts import context_of
    from support.hf_adapters import forced

    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        adapter = tiny_adapter("llama", dtype=dtype)
        ctx = context_of(adapter, [forced(adapter, "A dog and a cat", " were")])
        rows.append(ctx.attentions()[0].weights.float())

    assert float((rows[0] - rows[1]).abs().max()) < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_what_looks_inside_alone_says_that_the_function_changes_nothing(method: str) -> None:
    """Attention is the same whatever is to be explained: nobody should read a contrast into it."""
    model = loaded("llama")
    depends = method == "grad_x_attention"
    with nullcontext() if depends else pytest.warns(MeaningWarning, match="'entropy' changes nothing"):
        other = call(model, method=method, attributed_fn="entropy")
    plain = call(model, method=method)

    same = [
        np.array_equal(a.target_attributions, b.target_attributions, equal_nan=True)
        for a, b in zip(other, plain, strict=True)
    ]
    assert same == [not depends] * 2
    assert plain.info.notes.get("uses_function", True) is depends
    words = heading(attrs.asdict(plain.info))
    assert ("Explains" in dict(words.facts)) is depends
