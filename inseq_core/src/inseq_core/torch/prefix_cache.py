"""The unchanged prefix of versions of a text, run once.

Versions that differ from the text only from some target position on share the keys and values of what stands
before it. They are run in bands: a band starts at one position, behind the cached prefix of the unchanged
text. Nothing is taken on trust: cached scores must equal uncached ones on the text itself, again for every
text twice as long as the last one proved; where they do not, or the framework cannot cut its cache, versions
are run whole. Axes: n versions, L target positions, V vocabulary.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from inseq_core.data.batch import EncodedText, IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import ApproximationWarning
from inseq_core.torch.selfcheck import close

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter

SHORTEST_PROOF = 32
"""Target positions of the text that a cache is proved on, where the model has so many; shorter texts are
repeated.
"""

ROWS_PROVED = 64
"""Positions whose logits are compared in one proof."""


@attrs.frozen(kw_only=True, eq=False)
class Band:
    """Versions that are run together.

    Attributes:
        offset: target position that the run starts at; what stands before it is cached.
        members: (n,) which of the versions.
    """

    offset: int
    members: IntArray


def pass_cost(adapter: TorchAdapter) -> int:
    """What one more pass costs, in tokens: short products are slow, and every layer has its overhead."""
    return 2048 if adapter.device.type == "cuda" else 32


def bands(change: IntArray, length: int, cost: int) -> list[Band]:
    """Versions grouped so that tokens run and passes made are least, by dynamic programming over the starting
    positions.

    Args:
        change: (n,) first target position that has to be run anew for each version.
        length: L, where all of them end.
        cost: of one pass, in tokens.

    Returns:
        bands in the order of their offsets; the first starts at 0, whether or not it has members.
    """
    starts, members = np.unique(np.minimum(change, length), return_inverse=True)
    if not len(starts) or starts[0] > 0:
        starts, members = np.concatenate([[0], starts]), members + 1
    counts = np.bincount(members, minlength=len(starts))
    behind = np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])  # versions from the k-th start on
    best = np.zeros(len(starts) + 1)
    end_of = np.zeros(len(starts), dtype=np.int64)
    for k in range(len(starts) - 1, -1, -1):
        ends = np.arange(k + 1, len(starts) + 1)
        costs = (behind[k] - behind[ends]) * (length - starts[k]) + cost + best[ends]
        end_of[k] = ends[costs.argmin()]
        best[k] = costs.min()
    found, k = [], 0
    while k < len(starts):
        chosen = np.flatnonzero((members >= k) & (members < end_of[k]))
        found.append(Band(offset=int(starts[k]), members=chosen))
        k = int(end_of[k])
    return found


def shares_prefix(adapter: TorchAdapter, batch: TokenBatch) -> bool:
    """Whether versions of a text may share its prefix: proved on this text, or on one at least half as
    long.
    """
    traits = adapter.traits
    length = len(batch.texts[0].target_ids)
    if traits.shares_prefix is False or length < 3:
        return False
    if traits.shares_prefix and length <= 2 * traits.proved_prefix:
        return True
    probe = _probe(adapter, batch)
    with adapter.uncounted():
        try:
            found = _proved(adapter, probe)
        except Exception as error:
            if not adapter.is_out_of_memory(error):
                traits.shares_prefix = False
                traits.note(f"no prefix is shared: {(str(error) or type(error).__name__).splitlines()[0]}")
            return False
    if found is None:
        return False
    traits.shares_prefix = found
    if found:
        traits.proved_prefix = len(probe.texts[0].target_ids)
    else:
        finding = "a cached prefix does not give the uncached scores; versions of a text are run whole"
        traits.note(finding)
        warnings.warn(
            f"{adapter.profile.name}: {finding}. Results are right, but slower.",
            ApproximationWarning,
            stacklevel=2,
        )
    return found


def _probe(adapter: TorchAdapter, batch: TokenBatch) -> TokenBatch:
    """The unchanged text alone, long enough to tell."""
    text = batch.texts[0]
    wanted = min(SHORTEST_PROOF, adapter.profile.max_target or SHORTEST_PROOF)
    ids = text.target_ids if len(text.target_ids) >= wanted else np.resize(text.target_ids, wanted)
    probe = EncodedText(target_ids=ids, source_ids=text.source_ids, prompt_length=1)
    return TokenBatch(texts=(probe,), origin=(0,), pad_id=batch.pad_id)


def _proved(adapter: TorchAdapter, probe: TokenBatch) -> bool | None:
    """Whether two versions behind a cached prefix have the logits that they have without it, at two cuts of
    one cache.

    None: the framework cannot cut the cache of this text.
    """
    text = probe.texts[0]
    length = len(text.target_ids)
    with torch.inference_mode(False), torch.no_grad(), adapter.quiet():
        memory = adapter.encode_memory(probe) if probe.has_source else None
        last = _grid([length - 1])
        cache = adapter.decode_rows(probe, last, memory=memory, use_cache=True).raw
        cache = getattr(cache, "past_key_values", None)
        for cut in (length - max(length // 8, 1), max(length // 3, 1)):  # a late one, then an early one
            prefix = adapter.repeat_prefix(cache, cut, 2)
            if prefix is None:
                return None
            if not _agrees(adapter, _changed_from(probe, cut), cut, prefix, memory):
                return False
    return True


def _agrees(
    adapter: TorchAdapter, pair: TokenBatch, cut: int, prefix: Any, memory: torch.Tensor | None
) -> bool:
    length = pair.target_ids.shape[1]
    size = min(length - cut, ROWS_PROVED // 2)
    grid = _grid(np.unique(np.linspace(cut, length - 1, size).astype(np.int64)).tolist(), copies=2)
    both = None if memory is None else memory.expand(2, -1, -1)
    whole = adapter.decode_rows(pair, grid, memory=both).logits
    cached = adapter.decode_rows(pair, grid, memory=both, offset=cut, cache=prefix, use_cache=True).logits
    return close(cached[:, 0], whole[:, 0], adapter.dtype)


def _changed_from(probe: TokenBatch, cut: int) -> TokenBatch:
    """Two versions of a text that are new from ``cut`` on: one turned round, one with every other token of
    the other.
    """
    text = probe.texts[0]
    ids = text.target_ids.copy()
    ids[cut:] = ids[: len(ids) - cut][::-1]
    mixed = np.where(np.arange(len(ids)) % 2 == cut % 2, ids, text.target_ids)
    versions = [attrs.evolve(text, target_ids=changed) for changed in (ids, mixed)]
    return attrs.evolve(probe, texts=versions, origin=(0, 0))


def _grid(read_at: list[int], copies: int = 1) -> StepGrid:
    """Rows read at the given target positions of each copy."""
    n = len(read_at)
    return StepGrid(
        sequence=np.repeat(np.arange(copies), n),
        position=np.tile(np.asarray(read_at) + 1, copies),
        target_ids=np.zeros(n * copies),
        step=np.tile(np.arange(n), copies),
    )
