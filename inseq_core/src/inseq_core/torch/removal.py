"""Many versions of one text on a torch model, what they share run once.

Versions with the source of the unchanged text share its encoding and, behind the first target position that
differs, the cached keys and values of its prefix. Every other source is encoded once. Passes are as large as
memory allows. Axes: n versions of a pass, S source positions, L target positions, R rows, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.memory import in_parts, local_grid, rows_of
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.contracts.versions import first_change
from inseq_core.data.batch import EncodedText, IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.torch import lengths, planner
from inseq_core.torch.baselines import blanked
from inseq_core.torch.prefix_cache import Band, bands, pass_cost, shares_prefix
from inseq_core.torch.selfcheck import check_masking, masking_refused

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter


LOGITS_A_PASS = 32 * 2**20
"""Bytes of logits of one pass on a CPU, where larger passes are no faster."""


def forward_versions(
    adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid
) -> Iterator[tuple[IntArray, ForwardOutput]]:
    """See ``ModelAdapter.forward_versions``.

    Raises:
        CapabilityError: versions are masked, and the model looks at what is masked.
    """
    if any(text.target_kept is not None or text.source_kept is not None for text in batch.texts):
        check_masking(adapter, batch)
        batch = attrs.evolve(batch, texts=[_closed(text, batch.pad_id) for text in batch.texts])
    if not lengths.serves_prefixes(adapter, batch):
        yield from ModelAdapter.forward_versions(adapter, batch, grid)
        return
    passes = VersionPasses(adapter, batch, grid)
    for band in passes.plan():
        yield from in_parts(adapter, passes.chunks(band), partial(passes.run, offset=band.offset))


class VersionPasses:
    """The forward passes over versions of one text.

    Args:
        batch: the versions, the unchanged text first.
        grid: the rows wanted.
    """

    def __init__(self, adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid) -> None:
        self.adapter, self.batch, self.grid = adapter, batch, grid
        self._used = np.unique(grid.sequence)
        self._is_masked = any(text.target_kept is not None for text in batch.texts)
        self._prefix: Any = None
        self._prefix_length = 0
        self._memories: dict[tuple[bytes, ...], Tensor] = {}

    def plan(self) -> list[Band]:
        """Versions run together: the unchanged text's first, bands behind its cached prefix, other sources.

        Raises:
            CapabilityError: nothing is left to look at for some positions, which this model cannot bear.
        """
        change, blind = self._first_run(), self._blind()
        is_blind = (blind > 0) & (self.adapter.traits.masks_first is False)
        is_plain = (change >= 0) & ~is_blind
        related, others = self._used[is_plain], self._used[change < 0]
        plan = [Band(offset=0, members=related)]
        found = bands(change[is_plain], self.grid.prefix_length, pass_cost(self.adapter))
        # a text that nobody asked for is not run for the sake of its prefix: few random versions share much
        has_prefix = len(found) > 1 and 0 in related
        if (has_prefix or is_blind.any()) and shares_prefix(self.adapter, self.batch):
            plan = [Band(offset=band.offset, members=related[band.members]) for band in found]
            for offset in np.unique(blind[is_blind]):  # run from the first position that sees something
                plan.append(Band(offset=int(offset), members=self._used[is_blind & (blind == offset)]))
            self._prefix_length = max(band.offset for band in plan)
            # the unchanged text comes first, with or without rows, for its cache
            plan = [Band(offset=band.offset, members=np.setdiff1d(band.members, [0])) for band in plan]
            plan[0] = Band(offset=0, members=np.concatenate([[0], plan[0].members]))
        elif is_blind.any():
            raise masking_refused(self.adapter, "it cannot go on where its attention mask leaves nothing")
        return [band for band in (*plan, Band(offset=0, members=others)) if len(band.members)]

    def _blind(self) -> IntArray:
        """(n,) target positions at the beginning of each version that attention must not look at."""
        lengths = np.zeros(len(self._used), dtype=np.int64)
        for i, sequence in enumerate(self._used):
            kept = self.batch.texts[sequence].target_kept
            lengths[i] = 0 if kept is None else int(np.argmax(kept)) if kept.any() else len(kept)
        return lengths

    def _first_run(self) -> IntArray:
        """(n,) first target position that each version needs run anew; -1 where its source is another."""
        original = self.batch.texts[0]
        change = np.array([first_change(original, self.batch.texts[s]) for s in self._used], dtype=np.int64)
        first_read = np.full(len(self.batch), np.iinfo(np.int64).max)
        np.minimum.at(first_read, self.grid.sequence, self.grid.position - 1)
        return np.minimum(change, first_read[self._used])

    def chunks(self, band: Band) -> Iterator[IntArray]:
        """Versions of each pass: as many as memory allows, and on a CPU no more than make it faster."""
        rows = rows_of(self.grid, band.members)
        length = int(self.grid.position[rows].max()) if len(rows) else self._prefix_length
        size = len(band.members)
        if self.adapter.device.type == "cpu":
            logits = 4 * max(self.adapter.profile.vocabulary_size, 1) * max(len(rows), 1) // size
            by_logits = LOGITS_A_PASS // max(logits, 1)
            size = max(min(size, planner.TALL_PASS // max(length - band.offset, 1), by_logits), 1)
        chunks = planner.sequence_chunks(self.adapter, self.batch, self.grid, rows, band.members, length)
        for chunk in map(np.asarray, chunks):
            yield from (chunk[i : i + size] for i in range(0, len(chunk), size))

    def run(self, chunk: IntArray, offset: int) -> tuple[IntArray, ForwardOutput]:
        """One pass over some versions from ``offset`` on; the pass over the unchanged text keeps its
        prefix.
        """
        adapter = self.adapter
        rows = rows_of(self.grid, chunk)
        local = local_grid(self.grid, rows, chunk)
        keeps = bool(self._prefix_length) and chunk[0] == 0 and offset == 0
        length = max(local.prefix_length, self._prefix_length if keeps else 0)
        part = self.batch.take(chunk).truncated(length + (1 if self._is_masked else 0))
        with torch.inference_mode(False), torch.no_grad(), adapter.quiet():
            memory = self._encoded(part) if part.has_source else None
            prefix = adapter.repeat_prefix(self._prefix, offset, len(chunk)) if offset else None
            offset = 0 if prefix is None else offset
            rowpass = adapter.decode_rows(
                part,
                local,
                target=blanked(adapter, part, "target", offset),
                memory=memory,
                offset=offset,
                cache=prefix,
                use_cache=keeps or offset > 0,
            )
            if keeps:
                cache = getattr(rowpass.raw, "past_key_values", None)
                self._prefix = adapter.repeat_prefix(cache, self._prefix_length, 1)
        return rows, ForwardOutput(logits=rowpass.logits)

    def _encoded(self, part: TokenBatch) -> Tensor:
        """(n, S, D) encoder states; sources that the last pass had are not encoded again."""
        keys = [_source(text) for text in part.texts]
        new = {key: i for i, key in enumerate(keys) if key not in self._memories}
        known = {key: memory for key, memory in self._memories.items() if key in set(keys)}
        if new:
            apart = part.take(list(new.values()))
            states = self.adapter.encode_memory(apart, blanked(self.adapter, apart, "source"))
            known.update({key: states[i, : apart.source_lengths[i]] for i, key in enumerate(new)})
        self._memories = known
        if len(known) == 1:
            return known[keys[0]].expand(len(keys), -1, -1)
        place = {key: i for i, key in enumerate(known)}
        padded = torch.nn.utils.rnn.pad_sequence(list(known.values()), batch_first=True)
        return padded[self.adapter.as_array(np.array([place[key] for key in keys]))]


def _closed(text: EncodedText, pad_id: int) -> EncodedText:
    """The text with a token behind it that is not masked, so that no masked end is taken for padding."""
    if text.target_kept is None:
        return text
    return attrs.evolve(
        text,
        target_ids=np.append(text.target_ids, pad_id),
        target_kept=np.append(text.target_kept, True),
        target_blank=None if text.target_blank is None else np.append(text.target_blank, False),
    )


def _source(text: EncodedText) -> tuple[bytes, ...]:
    """What tells sources apart."""
    return tuple(
        b"" if a is None else a.tobytes() for a in (text.source_ids, text.source_kept, text.source_blank)
    )
