"""The adapter: exported graphs behind the interface of every framework, in numpy.

It offers scores and generation: what every removal method, step function on logits, aggregator, view and
command needs. Passes are cut by sequences to a memory budget, and only the logits of rows are kept.
Axes: B sequences, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelProfile
from inseq_core.contracts.memory import local_grid
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import EncodedText, IntArray, TokenBatch, as_ids
from inseq_core.data.steps import StepGrid
from inseq_core.errors import InseqError
from inseq_core.hooks.specs import Capability, MethodSpec
from inseq_core.text.reading import CodecAdapter
from inseq_onnx import generation, graph, selfcheck
from inseq_onnx.network import Network
from inseq_onnx.tokenizer import FileCodec

MEMORY_BUDGET = 1 << 30
"""Bytes of intermediate results that are planned to be held at once."""


class OnnxAdapter(CodecAdapter):
    """Exported graphs and a tokenizer.

    Args:
        network: the graphs.
        codec: text to ids and back.
        profile: plain facts.
        pad_id: what fills batches.
        settings: how the model generates by default.
        reopen: device -> the graphs on it.
        width: D, or a guess; what passes hold is estimated from it.

    Attributes:
        traits: what the self-check found.
    """

    capabilities = frozenset({Capability.SCORES, Capability.GENERATE})

    def __init__(
        self,
        network: Network,
        codec: FileCodec,
        *,
        profile: ModelProfile,
        pad_id: int,
        settings: generation.Settings,
        reopen: Callable[[Any], Network],
        width: int = 1024,
    ) -> None:
        self.network = network
        self.codec = codec
        self.profile = profile
        self.pad_id = pad_id
        self.settings = settings
        self.is_encoder_decoder = network.is_encoder_decoder
        self.special_tokens = codec.special_tokens
        self.counts = network.counts
        self.traits = selfcheck.Traits()
        self.memory_budget = MEMORY_BUDGET
        masks = network.masks_source if self.is_encoder_decoder else network.masks_target
        self.removals = frozenset({"token", "delete", "sample", *(["mask"] if masks else [])})
        self._width = width
        self._reopen = reopen

    # -- arrays and devices ------------------------------------------------------------------------

    def as_array(self, values: np.ndarray) -> np.ndarray:
        """Graphs read and give numpy."""
        return np.asarray(values)

    def to_numpy(self, values: Any) -> np.ndarray:
        """float32 or float64, int64."""
        array = np.asarray(values)
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def to_device(self, device: str) -> None:
        """Load the graphs again, on another device.

        Raises:
            InvalidArgumentError: a device that this onnxruntime cannot use.
        """
        network = self._reopen(device)
        network.counts.update(self.network.counts)
        network.hides_padding, network.takes_one = self.network.hides_padding, self.network.takes_one
        self.network, self.counts = network, network.counts
        self.profile = attrs.evolve(self.profile, device=network.graph.device)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """By what onnxruntime says."""
        return not isinstance(error, InseqError) and graph.is_out_of_memory(error)

    # -- passes ------------------------------------------------------------------------------------

    @property
    def notes(self) -> tuple[str, ...]:
        """What the self-check found, in words."""
        return tuple(self.traits.findings)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What is run inside the block proves something about the graphs; it is no part of the work in
        ``counts``."""
        before = dict(self.counts)
        try:
            yield
        finally:
            self.network.counts.clear()
            self.network.counts.update(before)

    def self_check(self, batch: TokenBatch) -> None:
        """Causality, padding, company; once."""
        if not self.traits.checked:
            selfcheck.run_self_check(self, batch)

    def forward_rows(self, batch: TokenBatch, grid: StepGrid) -> ForwardOutput:
        """Logits (R, 1, V) of every row; one pass for a batch that fits."""
        parts: list[tuple[IntArray, np.ndarray]] = []
        for rows, sequences in self._passes(batch, grid):
            local = local_grid(grid, rows, sequences)
            part = batch.take(sequences).truncated(local.prefix_length)
            parts.append((rows, self.network.rows(part, local)))
        if not parts:
            return ForwardOutput(logits=np.zeros((0, 1, self.profile.vocabulary_size), dtype=np.float32))
        if len(parts) == 1:
            return ForwardOutput(logits=parts[0][1][:, None, :])
        order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
        return ForwardOutput(logits=np.concatenate([logits for _, logits in parts])[order][:, None, :])

    def forward_versions(self, batch: TokenBatch, grid: StepGrid) -> Iterator[tuple[IntArray, ForwardOutput]]:
        """Logits of the rows of many versions of one text, some rows at a time.

        Raises:
            CapabilityError: versions are masked, and the graphs look at what is masked.
        """
        selfcheck.check_masks(self, batch)
        return super().forward_versions(batch, grid)

    def plan(self, batch: TokenBatch, grid: StepGrid, method: MethodSpec) -> list[IntArray]:
        """Everything at once; step by step where what follows a step changes it."""
        rows = np.arange(len(grid), dtype=np.int64)
        return [rows] if self.traits.is_causal else [rows[i : i + 1] for i in range(len(rows))]

    def _passes(self, batch: TokenBatch, grid: StepGrid) -> Iterator[tuple[IntArray, IntArray]]:
        """(rows, sequences) of each pass."""
        groups = [np.arange(len(grid), dtype=np.int64)]
        if not self.traits.is_causal:
            groups = [np.flatnonzero(grid.position == s) for s in np.unique(grid.position)]
        for group in groups:
            if not len(group):
                continue
            longest = int(grid.position[group].max())
            for sequences in self._chunks(batch, grid, group, longest):
                yield group[np.isin(grid.sequence[group], sequences)], sequences

    def _chunks(self, batch: TokenBatch, grid: StepGrid, rows: IntArray, longest: int) -> Iterator[IntArray]:
        """Sequences of each pass (ascending): as many as memory allows, of one shape where padding is not
        safe."""
        used, n_rows = np.unique(grid.sequence[rows], return_counts=True)
        lengths = np.minimum(batch.target_lengths[used], longest)
        shapes = list(zip(lengths.tolist(), batch.source_lengths[used].tolist(), strict=True))
        together: dict[tuple[int, int], list[int]] = {}
        for i, shape in enumerate(shapes):
            together.setdefault((0, 0) if self.traits.pads_safely else shape, []).append(i)
        for members in together.values():
            width = max(max(shapes[i]) for i in members)
            chunk: list[int] = []
            spent = 0
            for i in members:
                held = int(n_rows[i]) if self.network.heads_rows else width
                cost = width * self._width * 64 * 4 + held * max(self.profile.vocabulary_size, 1) * 8
                if chunk and (self.network.takes_one or spent + cost > self.memory_budget):
                    yield used[chunk]
                    chunk, spent = [], 0
                chunk.append(i)
                spent += cost
            yield used[chunk]

    # -- generation --------------------------------------------------------------------------------

    def generate(self, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]) -> list[IntArray]:
        """Greedy, beam search or sampling: see ``inseq_onnx.generation``."""
        self.network.counts["generate"] += 1
        return [as_ids(ids) for ids in generation.generate(self, texts, generation_args)]

    def next_logits(self, texts: Sequence[EncodedText]) -> np.ndarray:
        """(B, V) float32 logits of the token that follows each text."""
        batch = TokenBatch.of(texts, self.pad_id)
        self.self_check(batch)
        lengths = batch.target_lengths
        zeros = np.zeros(len(texts))
        grid = StepGrid(sequence=np.arange(len(texts)), position=lengths, target_ids=zeros, step=zeros)
        return self.to_numpy(self.forward_rows(batch, grid).logits)[:, 0]

    def close(self) -> None:
        """Let go of the sessions; the adapter cannot be used any more."""
        del self.network
