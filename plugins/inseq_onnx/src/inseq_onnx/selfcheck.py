"""The self-check: prove on a few tokens of the real graphs what one pass for all steps relies on.

1. *Causality*: logits of a prefix equal those of the full text.
2. *Padding and company*: a text in a batch with a longer one has the logits that it has alone.
3. *Masks*, once they are used: tokens that attention must not see change nothing.

Exports break these more often than models do: a mask or a length that was frozen while the model was traced.
A failed check selects a slower way that is right (each step on its own prefix, texts of one length together),
with a warning; where there is none it raises.
Axes: L target positions, V vocabulary.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import ApproximationWarning, CapabilityError, ModelRunError, SelfCheckError

if TYPE_CHECKING:
    from inseq_onnx.adapter import OnnxAdapter

MAX_SOURCE, MAX_TARGET = 8, 8
"""Tokens of the real text that are tried."""

TOLERANCE = 2e-4
"""How far logits may be apart for reasons of rounding alone, relative to their range; 50 times that in half
precision."""


@attrs.define(kw_only=True)
class Traits:
    """What the self-check found out; the adapter follows it.

    Attributes:
        is_causal: one pass serves every step.
        pads_safely: texts of different lengths may be run together.
        masks_hide: attention does not see what is masked, on a side; absent where that was not tried.
        findings: in words.
    """

    checked: bool = False
    is_causal: bool = True
    pads_safely: bool = True
    masks_hide: dict[str, bool] = attrs.field(factory=dict)
    findings: list[str] = attrs.field(factory=list)


def run_self_check(adapter: OnnxAdapter, batch: TokenBatch) -> None:
    """Find out the traits of the adapter's graphs.

    Raises:
        SelfCheckError: a text does not have the same logits twice, or no way of running them together would
            be right.
    """
    traits = adapter.traits
    text = _probe(adapter, batch.texts[0])
    plain = _logits(adapter, [text])
    traits.checked = True
    if not np.isfinite(plain).all():
        return  # a NaN proves nothing; it is reported with its step
    if not close(_logits(adapter, [text]), plain, adapter.profile.dtype):
        raise SelfCheckError(
            f"{adapter.profile.name} gives other logits for the same text when it is run again: something "
            "random is left in the graph.\n  Export the model in evaluation mode: inseq export-onnx does."
        )
    for cut in sorted({1, len(plain) // 2, len(plain) - 1} - {0}):
        if not _same(adapter, [text.truncated(cut)], plain[:cut]):
            traits.is_causal = False
            adapter.network.hides_padding = True
            _slower(
                adapter,
                "logits of a prefix depend on what follows it (or lengths were frozen when the graph was "
                "exported); every step is run on its own prefix",
            )
            break
    _check_company(adapter, text, plain)


def _check_company(adapter: OnnxAdapter, text: EncodedText, plain: np.ndarray) -> None:
    """Whether the text has its logits beside others, and of which lengths they may be."""
    network = adapter.network
    if not network.takes_one and not _same(adapter, [text, _other(text)], plain):
        network.takes_one = True
        _slower(adapter, "a text has other logits beside another one; every text is run alone")
    if not network.takes_one and not _same(adapter, [text, _longer(text)], plain):
        adapter.traits.pads_safely = False
        _slower(
            adapter, "a text has other logits beside a longer one; texts of different lengths are run apart"
        )


def check_masks(adapter: OnnxAdapter, batch: TokenBatch) -> None:
    """Removal by masking: two different tokens where attention must not look have to give the same logits
    elsewhere.

    Raises:
        CapabilityError: the graphs take no mask for a side, or look at what is masked.
    """
    network = adapter.network
    for side in ("source", "target"):
        if not any(getattr(text, f"{side}_kept") is not None for text in batch.texts):
            continue
        takes_mask = network.masks_source if side == "source" else network.masks_target
        if takes_mask and side not in adapter.traits.masks_hide:
            adapter.traits.masks_hide[side] = _hides(adapter, _probe(adapter, batch.texts[0]), side)
        if not takes_mask or not adapter.traits.masks_hide[side]:
            why = "looks at tokens that its mask hides" if takes_mask else "takes no mask"
            raise CapabilityError(
                f"removal 'mask' is not possible on the {side} side of {adapter.profile.name}: "
                f"its graph {why}.\n  Use removal='token:unk', 'delete' or 'sample'."
            )


def _probe(adapter: OnnxAdapter, text: EncodedText) -> EncodedText:
    """The beginning of a text, long enough to tell; a text of one token is said twice."""
    limit = adapter.profile.max_target or MAX_TARGET
    target = text.target_ids[: max(min(MAX_TARGET, limit - 2), 3)]  # two more are put behind it
    source = None if text.source_ids is None else text.source_ids[:MAX_SOURCE]
    return EncodedText(target_ids=target if len(target) > 2 else np.resize(target, 3), source_ids=source)


def _longer(text: EncodedText) -> EncodedText:
    source = text.source_ids
    return attrs.evolve(
        text,
        target_ids=np.concatenate([text.target_ids, text.target_ids[:2]]),
        source_ids=None if source is None else np.concatenate([source, source[:2]]),
    )


def _other(text: EncodedText) -> EncodedText:
    """Another text of the same lengths."""
    source = None if text.source_ids is None else text.source_ids[::-1]
    return attrs.evolve(text, target_ids=text.target_ids[::-1], source_ids=source)


def _logits(adapter: OnnxAdapter, texts: list[EncodedText]) -> np.ndarray:
    """(L, V) logits of the first text, in one pass with the others."""
    batch = TokenBatch.of(texts, adapter.pad_id)
    positions = np.arange(1, len(texts[0].target_ids) + 1)
    zeros = np.zeros(len(positions))
    grid = StepGrid(sequence=zeros, position=positions, target_ids=zeros, step=positions)
    with adapter.uncounted():
        return adapter.to_numpy(adapter.network.rows(batch, grid))


def _same(adapter: OnnxAdapter, texts: list[EncodedText], expected: np.ndarray) -> bool:
    """Whether the first text has the expected logits.

    Raises:
        SelfCheckError: the graph runs on some shapes only.
    """
    try:
        found = _logits(adapter, texts)
    except ModelRunError as error:
        raise SelfCheckError(
            f"{adapter.profile.name} ran on one text and fails on {len(texts)} of another length: {error}\n"
            "  Its shapes were frozen when it was exported; inseq export-onnx leaves them free."
        ) from error
    return close(found[: len(expected)], expected, adapter.profile.dtype)


def close(a: np.ndarray, b: np.ndarray, dtype: str = "float32") -> bool:
    """Whether two sets of logits of a model of that precision differ by rounding only."""
    unit = TOLERANCE * (50 if dtype in ("float16", "bfloat16") else 1)
    span = float(b.max() - b.min()) if b.size else 0.0
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= unit * max(span, 1e-3))


def _hides(adapter: OnnxAdapter, probe: EncodedText, side: str) -> bool:
    ids = probe.source_ids if side == "source" and probe.source_ids is not None else probe.target_ids
    if len(ids) < 2:
        return True
    hidden, kept = np.array(ids), np.ones(len(ids), dtype=np.bool_)
    kept[1] = False
    hidden[1] = ids[0] if ids[0] != ids[1] else (ids[1] + 1) % max(adapter.profile.vocabulary_size, 2)
    found = []
    for version in (ids, hidden):
        changes: dict[str, Any] = {f"{side}_ids": version, f"{side}_kept": kept}
        logits = _logits(adapter, [attrs.evolve(probe, **changes)])
        found.append(logits[2:] if side == "target" else logits)
    return close(found[0], found[1], adapter.profile.dtype)


def _slower(adapter: OnnxAdapter, finding: str) -> None:
    adapter.traits.findings.append(finding)
    warnings.warn(
        f"{adapter.profile.name}: {finding}. Results are right, but slower.",
        ApproximationWarning,
        stacklevel=6,
    )
