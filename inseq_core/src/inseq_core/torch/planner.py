"""How much is done at once.

Rows are attributed in chunks of consecutive steps, each on the prefix that its last step needs; a chunk is as
large as a memory budget allows. Plain forward passes are cut by sequences.
Axes: B sequences, L positions, R rows, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from inseq_core.data.batch import IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.hooks.specs import Capability, MethodSpec
from inseq_core.torch import lengths

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter

MOST_STEPS = 64
"""Steps that share a prefix pass at most: beyond it the backward work on positions that a step cannot see grows."""

FORWARD_SHARE = 1.5
"""Cost of recording a forward pass, in backward passes of the same tokens."""

PASS_OVERHEAD = 64
"""Cost of a chunk whatever its size (kernel launches, Python), in tokens of a backward pass."""

FEWEST_COPIES = 5
"""Copies in one graph that memory allows, however long the texts are."""

LOOKS_INSIDE = frozenset({Capability.ATTENTIONS, Capability.HIDDEN_STATES, Capability.INTERVENTIONS})
"""What methods need that visit attention or blocks in one pass."""

TALL_ENOUGH = {"cpu": 2048, "cuda": 16384}
"""Rows of one batch of cotangents by kind of device (that of a GPU elsewhere); taller products are no faster."""

TALL_PASS = 256
"""Tokens of one plain forward pass over versions of a text; larger passes are no faster."""

MANY_COPIES = {"cpu": 512, "cuda": 8192}
"""Tokens of as many copies of a batch in one graph as make its products tall, by kind of device; more cost memory alone."""


def default_budget(device: torch.device) -> int:
    """Bytes of intermediate results that the engine plans to hold at once: 1 GB on a CPU, a quarter of a
    GPU's free memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(int(free) // 4, 1 << 28)
    return 1 << 30


def activation_bytes(adapter: TorchAdapter) -> int:
    """Rough bytes of saved activations of one token through the model, from its number of parameters.

    A dense layer of D × D' weights saves about D + D' numbers a token; 34 D a layer is the usual estimate for
    a transformer, and its parameters are about 12 D² a layer.
    """
    return int(34 * adapter.hidden_size * layers_of(adapter) * 4)


def layers_of(adapter: TorchAdapter) -> float:
    """About how many dense layers a model has the parameters of; looked up once."""
    if not adapter.traits.layers:
        dim = adapter.hidden_size
        embeddings = sum(p.numel() for p in adapter.embedding_module("target").parameters())
        body = sum(p.numel() for p in adapter.model.parameters()) - embeddings
        adapter.traits.layers = max(body / (12 * dim * dim), 1.0)
    return adapter.traits.layers


def row_chunks(
    adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid, method: MethodSpec
) -> list[IntArray]:
    """Rows of each context.

    Gradient methods: chunks of consecutive steps, so that each works on the prefix it needs, and no more
    rows × positions × hidden are held than the budget allows. Other methods see all steps at once: their
    passes serve every step. A model that is not causal is attributed one step at a time, on that step's own
    prefix.
    """
    everything = np.arange(len(grid), dtype=np.int64)
    groups = [everything]
    if not lengths.pads_safely(adapter, batch):
        groups = [grid.rows_of(int(b)) for b in np.unique(grid.sequence)]
    if not lengths.serves_prefixes(adapter, batch):
        return [group[i : i + 1] for group in groups for i in range(len(group))]
    if Capability.GRADIENTS not in method.needs or method.all_steps:
        if method.needs & LOOKS_INSIDE:
            return [rows for group in groups for rows in text_chunks(adapter, batch, grid, group)]
        return groups
    dim = adapter.hidden_size
    width = batch.target_ids.shape[1] + (batch.source_ids.shape[1] if batch.has_source else 0)
    per_step = max(len(batch) * width * dim * 4, 1)
    most = max(int(adapter.memory_budget // (4 * per_step)), 1)
    chunks: list[IntArray] = []
    source = batch.source_ids.shape[1] if batch.has_source else 0
    for group in groups:
        part = grid.take(group)
        size = steps_a_chunk(part, source, most, is_ragged=adapter.traits.uses_tape and not source)
        chunks.extend(group[rows] for rows in part.chunks(size))
    return chunks


def steps_a_chunk(grid: StepGrid, source: int, most: int, *, is_ragged: bool = False) -> int:
    """Steps of a chunk, all chunks alike, such that the whole work is least.

    A chunk of C steps on a prefix of L tokens costs C · L tokens of backward passes and about 1.5 · L of
    recording the forward pass; with an encoder of S tokens the same for S. Many short chunks do less backward
    work, and more of everything else. Along a tape each step goes back through its own prefix alone, whatever the chunk:
    fewer chunks are less work. (Behind an encoder, where every step goes through all of it, they are as much, and more memory.)

    Args:
        grid: the rows, steps counted from 0.
        source: S, 0 without an encoder.
        most: what memory allows.
        is_ragged: the backward work is the same for all chunks.
    """
    steps = int(grid.step.max(initial=0)) + 1
    reach = np.zeros(steps, dtype=np.int64)
    np.maximum.at(reach, grid.step, grid.position)
    reach = np.maximum.accumulate(reach)
    best, least = 1, np.inf
    for chunks in range(1, steps + 1):
        size = -(-steps // chunks)
        if size > min(most, MOST_STEPS):
            continue
        ends = np.minimum(np.arange(size, steps + size, size), steps)
        sizes = np.diff(np.concatenate([[0], ends]))
        shares = FORWARD_SHARE + (0 if is_ragged else sizes)
        cost = float((shares * (reach[ends - 1] + source) + PASS_OVERHEAD).sum())
        if cost < least:
            best, least = size, cost
    return min(best, most)


def text_chunks(
    adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid, rows: IntArray
) -> Iterator[IntArray]:
    """Rows of as many whole texts as fit, for methods that look inside the model in one pass.

    Held are a pass's activations, attention of all queries in one layer, and attention of the rows in all.
    """
    layers = max((adapter.attention_layers() or {}).get("decoder", 1), 1)
    heads = max((adapter.attention_heads() or {}).get("decoder", 1), 1)
    width = batch.target_ids.shape[1] + (batch.source_ids.shape[1] if batch.has_source else 0)
    pass_cost = width * adapter.hidden_size * 64 * 4 + width * width * 4 * 4
    group: list[IntArray] = []
    spent = 0
    for b in np.unique(grid.sequence[rows]):
        of_text = rows[grid.sequence[rows] == b]
        cost = pass_cost + len(of_text) * width * layers * heads * 4 * 2
        if group and spent + cost > adapter.memory_budget:
            yield np.concatenate(group)
            group, spent = [], 0
        group.append(of_text)
        spent += cost
    if group:
        yield np.concatenate(group)


def sequence_chunks(
    adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid, rows: IntArray, sequences: IntArray, length: int
) -> Iterator[Sequence[int]]:
    """Sequences of each plain forward pass: as many as their activations and logits leave within the
    budget.
    """
    vocabulary = max(adapter.profile.vocabulary_size, 1)
    width = max(length, batch.source_ids.shape[1] if batch.has_source else 0)
    rows_each = np.bincount(np.searchsorted(sequences, grid.sequence[rows]), minlength=len(sequences))
    dim = adapter.hidden_size
    # without a graph a pass holds a few layers' worth of activations; 64 D a token is generous
    cost = width * dim * 64 * 4 + rows_each * vocabulary * 8
    together = lengths.pads_safely(adapter, batch)
    target_lengths = np.minimum(batch.target_lengths, length)
    start = 0
    while start < len(sequences):
        stop, spent = start, 0
        while stop < len(sequences) and (stop == start or spent + cost[stop] <= adapter.memory_budget):
            if stop > start and not adapter.traits.batches_texts:
                break
            if not together and not _same_shape(batch, target_lengths, sequences[start], sequences[stop]):
                break
            spent += int(cost[stop])
            stop += 1
        yield [int(s) for s in sequences[start:stop]]
        start = stop


def _same_shape(batch: TokenBatch, lengths: IntArray, a: int, b: int) -> bool:
    return bool(lengths[a] == lengths[b] and batch.source_lengths[a] == batch.source_lengths[b])


def cotangent_batches(adapter: TorchAdapter, tokens: int, steps: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the steps whose cotangents go through one backward pass, all passes alike.

    What a batch of them holds on its way stays below what the pass itself keeps.

    Args:
        tokens: positions of all sequences.
    """
    tall = TALL_ENOUGH.get(adapter.device.type, TALL_ENOUGH["cuda"])
    rows = min(tall, 4 * layers_of(adapter) * tokens)
    most = int(np.clip(round(rows / max(tokens, 1)), 1, max(steps, 1)))
    size = -(-steps // -(-steps // most))
    for start in range(0, steps, size):
        yield start, min(start + size, steps)


def copies_at_once(adapter: TorchAdapter, batch: TokenBatch, grid: StepGrid, copies: int) -> int:
    """Copies of the batch (path nodes, noisy samples) whose gradients are taken in one graph.

    Held are each copy's saved activations, and its gradients for every step: T × positions × hidden numbers,
    twice.
    """
    dim = adapter.hidden_size
    width = batch.target_ids.shape[1] + (batch.source_ids.shape[1] if batch.has_source else 0)
    activations = len(batch) * width * activation_bytes(adapter)
    gradients = len(batch) * grid.n_steps * width * dim * 4 * 2
    logits = len(grid.scored) * max(adapter.profile.vocabulary_size, 1) * 4 * 3
    size = adapter.memory_budget // 2 // max(activations + gradients + logits, 1)
    tokens = MANY_COPIES.get(adapter.device.type, MANY_COPIES["cuda"])
    size = int(np.clip(size, 1, max(tokens // max(len(batch) * width, 1), FEWEST_COPIES, 1)))
    return -(-copies // -(-copies // size)) if copies else 1
