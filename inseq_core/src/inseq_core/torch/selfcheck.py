"""The self-check: prove on a few tokens of the real model what the engine relies on.

1. *Neutral seam*: token embeddings replaced by themselves give the logits of plain ids.
2. *Head seam*: the head on the rows alone gives the whole model's logits at those rows.
3. *Causality*: logits of a prefix equal those of the full text, so that one pass serves every step.
4. *Padding*: right padding changes nothing; where it does, neither do other texts of the same length.
5. *Gradients*, when they are first asked for: those that come back along a tape are autograd's own.

A failed check selects a slower way that is right (whole-model logits, step by step, text by text), with a
warning; where there is none it raises. It never lets a wrong number through.
Axes: B sequences, L target positions, V vocabulary.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import ApproximationWarning, CapabilityError, SelfCheckError

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter

MAX_SOURCE, MAX_TARGET = 8, 8
"""Tokens of the real text that are tried."""


def run_self_check(adapter: TorchAdapter, batch: TokenBatch) -> None:
    """Find out the model's traits. See the module's text.

    Raises:
        SelfCheckError: no way of running this model would be right.
    """
    text = _probe(batch.texts[0])
    probe = TokenBatch(texts=(text,), origin=(0,), pad_id=batch.pad_id)
    last = len(text.target_ids)
    grid = StepGrid(
        sequence=np.zeros(last),
        position=np.arange(1, last + 1),
        target_ids=np.zeros(last),
        step=np.arange(last),
    )
    with torch.no_grad(), adapter.quiet(), adapter.uncounted():
        plain = _whole_logits(adapter, probe)  # (L, V)
        if not torch.isfinite(plain).all():
            adapter.traits.checked = (
                True  # a NaN proves nothing about the engine; it is reported with its step
            )
            return
        _check_head(adapter, probe, grid, plain)
        _check_embeddings(adapter, probe, grid, plain)
        _check_causality(adapter, probe, plain)
        _check_padding(adapter, probe, plain)
    adapter.traits.checked = True


def _probe(text: EncodedText) -> EncodedText:
    """The beginning of a text, long enough to tell; a text of one token is said twice."""
    target = text.target_ids[:MAX_TARGET]
    if len(target) < 3:
        target = np.resize(target, 3)
    source = None if text.source_ids is None else text.source_ids[:MAX_SOURCE]
    return EncodedText(target_ids=target, source_ids=source, prompt_length=1)


def _whole_logits(adapter: TorchAdapter, batch: TokenBatch, target: Tensor | None = None) -> Tensor:
    """(L, V) logits of the first sequence from the framework's plain forward pass."""
    memory = adapter.encode_memory(batch) if batch.has_source else None
    mask = adapter.as_array(batch.source_mask) if batch.has_source else None
    output = adapter.run_decoder(
        adapter.as_array(batch.target_ids),
        adapter.as_array(batch.target_mask),
        memory=memory,
        memory_mask=mask,
    )
    logits: Tensor = output.logits[0]
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def tolerance(reference: Tensor, dtype: torch.dtype) -> float:
    """How far logits may be apart for reasons of rounding alone: relative to their range, by the model's
    precision.

    Models in float64 compute attention or positions in float32 in places (GPT-Neo, GPT-J, MPT).
    """
    span = float(reference.max() - reference.min())
    unit = {torch.float64: 1e-5, torch.float32: 2e-4, torch.bfloat16: 0.06, torch.float16: 0.01}.get(
        dtype, 0.06
    )
    return unit * max(span, 1e-3)


def close(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Whether two sets of logits differ by rounding only."""
    return a.shape == b.shape and float((a.to(b.dtype) - b).abs().max()) <= tolerance(b, dtype)


def _rows(adapter: TorchAdapter, probe: TokenBatch, grid: StepGrid, *, replace: bool) -> Tensor:
    source = adapter.batch_embeddings(probe, "source") if replace and probe.has_source else None
    target = adapter.batch_embeddings(probe, "target") if replace else None
    memory = adapter.encode_memory(probe, source) if probe.has_source else None
    return adapter.decode_rows(probe, grid, target=target, memory=memory).logits[:, 0]


def _check_head(adapter: TorchAdapter, probe: TokenBatch, grid: StepGrid, plain: Tensor) -> None:
    try:
        last = np.array([len(grid) - 1])
        fits = close(_rows(adapter, probe, grid, replace=False), plain, adapter.dtype) and close(
            _rows(adapter, probe, grid.take(last), replace=False), plain[last], adapter.dtype
        )
    except SelfCheckError:
        fits = False
    if not fits:
        adapter.traits.splits_at_head = False
        slower(adapter, "the output head cannot be run on single rows; whole-model logits are used")


def _check_embeddings(adapter: TorchAdapter, probe: TokenBatch, grid: StepGrid, plain: Tensor) -> None:
    fits = close(_rows(adapter, probe, grid, replace=True), plain, adapter.dtype)
    if not fits:
        raise SelfCheckError(
            f"{adapter.profile.name}: token embeddings replaced by themselves change the model's output, so no gradient or "
            "removal at the embeddings could be right. The adapter's embedding_module is not the one that the model uses; "
            "please report the model class."
        )
    _check_replacement_arrives(adapter, probe, grid, plain)


def _check_replacement_arrives(
    adapter: TorchAdapter, probe: TokenBatch, grid: StepGrid, plain: Tensor
) -> None:
    """Other embeddings must give another output: a seam that the model never passes would be neutral as
    well.
    """
    for side in ("source", "target") if probe.has_source else ("target",):
        changed = adapter.batch_embeddings(probe, side) * 0.5 + 0.1
        memory = None
        if probe.has_source:
            memory = adapter.encode_memory(probe, changed if side == "source" else None)
        logits = adapter.decode_rows(
            probe, grid, target=changed if side == "target" else None, memory=memory
        ).logits[:, 0]
        if torch.equal(logits.to(plain.dtype), plain):
            raise SelfCheckError(
                f"{adapter.profile.name}: replacing the {side} embeddings changes nothing; the model does not use the "
                "embedding module that its adapter names. Please report the model class."
            )


def _check_causality(adapter: TorchAdapter, probe: TokenBatch, plain: Tensor) -> None:
    length = plain.shape[0]
    for cut in {1, length // 2, length - 1} - {0}:
        if not close(_whole_logits(adapter, probe.truncated(cut)), plain[:cut], adapter.dtype):
            adapter.traits.is_causal = False
            slower(
                adapter, "logits of a prefix depend on what follows it; every step is run on its own prefix"
            )
            return


def _check_padding(adapter: TorchAdapter, probe: TokenBatch, plain: Tensor) -> None:
    text = probe.texts[0]
    longer = attrs.evolve(
        text,
        target_ids=np.concatenate([text.target_ids, text.target_ids[:2]]),
        source_ids=None
        if text.source_ids is None
        else np.concatenate([text.source_ids, text.source_ids[:2]]),
    )
    pair = TokenBatch(texts=(text, longer), origin=(0, 1), pad_id=probe.pad_id)
    padded = _whole_logits(adapter, pair)[: plain.shape[0]]
    if not close(padded, plain, adapter.dtype):
        adapter.traits.pads_safely = False
        slower(adapter, "right padding changes the logits; texts of different lengths are run apart")
        _check_company(adapter, probe, plain)


def _check_company(adapter: TorchAdapter, probe: TokenBatch, plain: Tensor) -> None:
    """A text beside another one of its length, which nothing has to be padded for."""
    text = probe.texts[0]
    other = attrs.evolve(
        text,
        target_ids=np.roll(text.target_ids, 1),
        source_ids=None if text.source_ids is None else np.roll(text.source_ids, 1),
    )
    pair = TokenBatch(texts=(text, other), origin=(0, 1), pad_id=probe.pad_id)
    if not close(_whole_logits(adapter, pair), plain, adapter.dtype):
        adapter.traits.batches_texts = False
        slower(adapter, "texts of one batch change each other's logits; each is run alone")


def check_tape(adapter: TorchAdapter, batch: TokenBatch) -> None:
    """The nodes of a tape must give the gradients that autograd's own nodes give.

    Tried once a model, on the first tokens of its first text, when gradients are first asked for.
    """
    from inseq_core.torch.gradients import step_gradients

    adapter.traits.proved_tape = True
    probe = TokenBatch(texts=(_probe(batch.texts[0]),), origin=(0,), pad_id=batch.pad_id)
    last = len(probe.texts[0].target_ids)
    grid = StepGrid(
        sequence=np.zeros(last),
        position=np.arange(1, last + 1),
        target_ids=np.zeros(last),
        step=np.arange(last),
    )

    def found() -> list[Tensor]:
        gradients = step_gradients(
            adapter, probe, grid, _spread, want_source=probe.has_source, name="the self-check"
        )
        return [x for x in (gradients.source, gradients.target) if x is not None]

    with adapter.uncounted():
        taped = found()
        if not adapter.traits.uses_tape:  # it failed on the way, and was done without
            slower(adapter, adapter.traits.notes[-1])
            return
        adapter.traits.uses_tape = False
        plain = found()
    adapter.traits.uses_tape = all(
        _same_gradient(a, b, adapter.dtype) for a, b in zip(taped, plain, strict=True)
    )
    if not adapter.traits.uses_tape:
        slower(adapter, "gradients along a tape differ from autograd's; autograd's graph is used")


def _spread(output: ForwardOutput) -> Tensor:
    """A number of each row that every logit has a part in."""
    found: Tensor = output.logits[:, 0].logsumexp(dim=-1)
    return found


def _same_gradient(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Whether gradients differ by rounding only, of a few layers. What is not finite tells nothing."""
    unit = {torch.float64: 1e-5, torch.float32: 1e-3, torch.float16: 0.1}.get(dtype, 0.5)
    top = float(b.abs().max())
    return not np.isfinite(top) or bool((a - b).abs().max() <= unit * max(top, 1e-30))


def check_masking(adapter: TorchAdapter, batch: TokenBatch) -> None:
    """Removal by masking: two different tokens where attention must not look have to give the same logits
    elsewhere.

    Tried once a model.

    Raises:
        CapabilityError: the model looks at what is masked.
    """
    if adapter.traits.masks_hide is None:
        probe = _probe(batch.texts[0])
        sides = ("source", "target") if batch.has_source else ("target",)
        with torch.inference_mode(False), torch.no_grad(), adapter.quiet(), adapter.uncounted():
            adapter.traits.masks_hide = all(_hides(adapter, probe, batch.pad_id, side) for side in sides)
            adapter.traits.masks_first = _goes_on_behind_nothing(adapter, probe, batch.pad_id)
    if not adapter.traits.masks_hide:
        raise masking_refused(adapter, "it looks at tokens that its attention mask hides")


def masking_refused(adapter: TorchAdapter, reason: str) -> CapabilityError:
    """Removal by masking is not possible, and what is."""
    return CapabilityError(
        f"removal 'mask' is not possible with {adapter.profile.name}: {reason}.\n"
        "  Use removal='token:unk', 'delete' or 'zero'."
    )


def _goes_on_behind_nothing(adapter: TorchAdapter, probe: EncodedText, pad_id: int) -> bool:
    """Whether logits are numbers behind a first position that sees nothing, not even itself."""
    kept = np.arange(len(probe.target_ids)) > 0
    text = attrs.evolve(probe, target_kept=kept)
    logits = _whole_logits(adapter, TokenBatch(texts=(text,), origin=(0,), pad_id=pad_id))
    return bool(torch.isfinite(logits[1:]).all())


def _hides(adapter: TorchAdapter, probe: EncodedText, pad_id: int, side: str) -> bool:
    ids = probe.source_ids if side == "source" and probe.source_ids is not None else probe.target_ids
    if len(ids) < 2:
        return True
    hidden, kept = np.array(ids), np.ones(len(ids), dtype=np.bool_)
    kept[1] = False
    hidden[1] = ids[0] if ids[0] != ids[1] else (ids[1] + 1) % adapter.embedding_matrix(side).shape[0]
    found = []
    for version in (ids, hidden):
        changes: dict[str, Any] = {f"{side}_ids": version, f"{side}_kept": kept}
        text = attrs.evolve(probe, **changes)
        logits = _whole_logits(adapter, TokenBatch(texts=(text,), origin=(0,), pad_id=pad_id))
        found.append(logits[2:] if side == "target" else logits)
    return close(found[0], found[1], adapter.dtype)


def slower(adapter: TorchAdapter, finding: str) -> None:
    """Note a finding that costs time, and say so."""
    adapter.traits.note(finding)
    warnings.warn(
        f"{adapter.profile.name}: {finding}. Results are right, but slower.",
        ApproximationWarning,
        stacklevel=6,
    )
