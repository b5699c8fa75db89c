"""A model of one graph or two: texts in ids, and the logits of the rows that are wanted.

A graph with an input ``rows`` runs its output head on those rows alone; of others the logits of all positions
are read, and the rows kept. What a graph asks for beside ids and masks is given where it has one meaning:
positions, an empty cache, token types.
Axes: B sequences, S source positions, L target positions, R rows, D hidden, V vocabulary.
"""

from __future__ import annotations

import abc
import collections
from collections.abc import Mapping, Sequence

import numpy as np

from inseq_core.data.batch import EncodedText, IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_onnx.graph import Graph, Port

LOGITS = "logits"
STATES = "last_hidden_state"
_CACHE = "past_key_values"
_FILLED = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "rows", "use_cache_branch")


def decoder_mask(batch: TokenBatch, hides_padding: bool) -> IntArray:
    """(B, L) 1 where a decoder may look: gaps are 0, and so is padding behind a text if it has to be hidden.

    A causal decoder never looks at what follows, so masking right padding would change no logits that anybody
    reads.
    """
    mask = batch.target_mask.astype(np.int64)
    if hides_padding:
        return mask
    behind = np.arange(mask.shape[1]) >= batch.target_lengths[:, None]
    return np.where(behind, 1, mask)


def _beside_ids(graph: Graph, ids: IntArray) -> dict[str, np.ndarray]:
    """Inputs that follow from the ids' shape alone."""
    size, length = ids.shape
    positions = np.broadcast_to(np.arange(length), ids.shape)
    feed: dict[str, np.ndarray] = {
        name: positions for name in ("position_ids", "decoder_position_ids") if name in graph.inputs
    }
    feed["token_type_ids"] = np.zeros_like(ids)
    feed["use_cache_branch"] = np.zeros(1, dtype=np.bool_)
    for name, port in graph.inputs.items():
        if name.startswith(_CACHE):
            feed[name] = _empty_cache(port, size)
    return feed


def _empty_cache(port: Port, size: int) -> np.ndarray:
    """Keys or values (B, H, 0, D) of no tokens; every free size but the first is that of the tokens."""
    shape = [size, *(port.fixed(axis) or 0 for axis in range(1, len(port.shape)))]
    return np.zeros(shape, dtype=np.float32)


class Network(abc.ABC):
    """Graphs that give logits of target positions.

    Attributes:
        counts: running totals of passes, sequences and tokens.
        hides_padding: the decoder looks at what follows, so that padding behind a text has to be masked.
        takes_one: it takes one sequence at a time.
        masks_source, masks_target: attention can be told not to look at a position.
        heads_rows: the output head is run on the wanted rows alone.
    """

    counts: collections.Counter[str]
    hides_padding = False
    is_encoder_decoder: bool
    takes_one: bool
    masks_source: bool
    masks_target: bool

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.counts = collections.Counter()
        self.heads_rows = "rows" in graph.inputs
        self.takes_one = graph.takes_one

    @property
    def logits_port(self) -> Port:
        """What is said about the logits."""
        return self.graph.outputs[LOGITS]

    @abc.abstractmethod
    def rows(self, batch: TokenBatch, grid: StepGrid) -> np.ndarray:
        """(R, V) logits of the rows of a batch, from one pass."""

    def _count(self, ids: IntArray) -> None:
        self.counts["forward"] += 1
        self.counts["sequences"] += ids.shape[0]
        self.counts["tokens"] += ids.size

    def _logits(self, feed: Mapping[str, np.ndarray], ids: IntArray, grid: StepGrid) -> np.ndarray:
        """(R, V) of one run of the graph that gives logits."""
        self._count(ids)
        flat = grid.sequence * ids.shape[1] + grid.position - 1
        logits = self.graph.run(LOGITS, {**_beside_ids(self.graph, ids), **feed, "rows": flat})
        if logits.ndim == 2:
            return logits
        return logits.reshape(-1, logits.shape[-1])[flat]


class OneGraph(Network):
    """A decoder-only model, or an encoder–decoder model whose encoder is in the same graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.is_encoder_decoder = "decoder_input_ids" in graph.inputs
        needs = ["input_ids", "decoder_input_ids"] if self.is_encoder_decoder else ["input_ids"]
        own = {f"decoder_{name}" for name in _FILLED} if self.is_encoder_decoder else set()
        graph.check(
            needs=needs, fills=lambda name: name in {*_FILLED, *own} or name.startswith(_CACHE), gives=LOGITS
        )
        mask = "decoder_attention_mask" if self.is_encoder_decoder else "attention_mask"
        self.masks_target = mask in graph.inputs
        self.masks_source = "attention_mask" in graph.inputs

    def rows(self, batch: TokenBatch, grid: StepGrid) -> np.ndarray:
        """One run on ids."""
        ids, mask = batch.target_ids, decoder_mask(batch, self.hides_padding)
        if not self.is_encoder_decoder:
            return self._logits({"input_ids": ids, "attention_mask": mask}, ids, grid)
        feed = {
            "input_ids": batch.source_ids,
            "attention_mask": batch.source_mask,
            "position_ids": np.broadcast_to(np.arange(batch.source_ids.shape[1]), batch.source_ids.shape),
            "decoder_input_ids": ids,
            "decoder_attention_mask": mask,
        }
        return self._logits(feed, ids, grid)


class EncoderAndDecoder(Network):
    """An encoder and a decoder of their own: sources that stay the same are encoded once."""

    is_encoder_decoder = True

    def __init__(self, encoder: Graph, decoder: Graph) -> None:
        super().__init__(decoder)
        self.encoder = encoder
        self.takes_one = encoder.takes_one or decoder.takes_one
        encoder.check(needs=["input_ids"], fills=lambda name: name in _FILLED, gives=STATES)
        own = (*_FILLED, "decoder_attention_mask", "encoder_hidden_states", "encoder_attention_mask")
        decoder.check(
            needs=["input_ids", "encoder_hidden_states"],
            fills=lambda name: name in own or name.startswith(_CACHE),
            gives=LOGITS,
        )
        self.masks_target = bool({"decoder_attention_mask", "attention_mask"} & set(decoder.inputs))
        self.masks_source = "attention_mask" in encoder.inputs and "encoder_attention_mask" in decoder.inputs
        self._states: dict[tuple[bytes, bytes], np.ndarray] = {}

    def rows(self, batch: TokenBatch, grid: StepGrid) -> np.ndarray:
        """One run of the decoder, and one of the encoder for sources that the run before did not have."""
        ids, mask = batch.target_ids, decoder_mask(batch, self.hides_padding)
        feed = {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_attention_mask": mask,
            "encoder_hidden_states": self._encoded(batch),
            "encoder_attention_mask": batch.source_mask,
        }
        return self._logits(feed, ids, grid)

    def _encoded(self, batch: TokenBatch) -> np.ndarray:
        """(B, S, D) encoder states."""
        keys = [_source(text) for text in batch.texts]
        known = {key: self._states[key] for key in keys if key in self._states}
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new:
            apart = batch.take(list(new.values()))
            states = self._encode(apart)
            for i, key in enumerate(new):
                known[key] = states[i, : apart.source_lengths[i]]
        self._states = known
        return _stacked([known[key] for key in keys])

    def _encode(self, batch: TokenBatch) -> np.ndarray:
        ids = batch.source_ids
        self._count(ids)
        feed = {"input_ids": ids, "attention_mask": batch.source_mask.astype(np.int64)}
        return self.encoder.run(STATES, {**_beside_ids(self.encoder, ids), **feed})


def _source(text: EncodedText) -> tuple[bytes, bytes]:
    """What tells sources apart."""
    ids, kept = text.source_ids, text.source_kept
    return b"" if ids is None else ids.tobytes(), b"" if kept is None else kept.tobytes()


def _stacked(states: Sequence[np.ndarray]) -> np.ndarray:
    """(B, S, D) states of different lengths, zeros behind them."""
    width = max(len(one) for one in states)
    stacked = np.zeros((len(states), width, states[0].shape[1]), dtype=states[0].dtype)
    for i, one in enumerate(states):
        stacked[i, : len(one)] = one
    return stacked
