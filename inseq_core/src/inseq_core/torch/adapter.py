"""The torch adapter base: a model behind three seams.

A framework's adapter says where its token embeddings and its output head are and how its encoder and decoder are called
with ids; everything else (rows, gradients, internals) is built here on top of that.
Axes: B sequences, S source positions, L target positions, R rows, D hidden, V vocabulary.
"""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import SelfCheckError
from inseq_core.torch import lengths, planner, seams
from inseq_core.torch.as_found import as_found
from inseq_core.torch.baselines import blanked
from inseq_core.torch.traits import Traits

if TYPE_CHECKING:
    from inseq_core.contracts.context import ContextRequest
    from inseq_core.hooks.specs import MethodSpec
    from inseq_core.torch.context import TorchContext

Watch = Callable[[str, Tensor], AbstractContextManager[object]]
"""What surrounds one pass of the "source" or "target" side over ids (B, L)."""


@attrs.frozen(kw_only=True, eq=False)
class RowPass:
    """A forward pass, seen at the rows.

    Attributes:
        hidden: (R, D) what the head is given, on the body's graph; (R, V) logits where the model has no usable head seam.
        every: (B, L, D) or (B, L, V), what ``hidden`` was taken from.
        detached: the same, detached; the head's graph starts here.
        logits: (R, 1, V) with the model's own post-processing.
        raw: the framework's output object.
    """

    hidden: Tensor
    every: Tensor
    detached: Tensor
    logits: Tensor
    raw: Any = None


class TorchAdapter(ModelAdapter):
    """Base of adapters for torch models.

    Attributes:
        model: the framework's module; only the methods below call it.
        traits: what the self-check found.
        lasting_hooks: beginnings of the names of Python modules whose hooks on the model may come while it works, and stay.
        counts: forward passes ("forward"), sequences in them ("sequences"), tokens ("tokens"), and vector-Jacobian
            products ("backward"); tests and ``info`` read it.
    """

    model: nn.Module
    lasting_hooks: tuple[str, ...] = ()
    removals = frozenset({"token", "mask", "delete", "zero", "mean", "sample"})

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.traits = Traits()
        self.counts: collections.Counter[str] = collections.Counter()
        self.memory_budget = planner.default_budget(seams.device_of(model))
        self._dropout_active = False
        self._is_compiled = seams.is_compiled(model.modules())
        self._watches: list[Watch] = []
        self._parts: tuple[tuple[nn.Module, ...], tuple[nn.Parameter, ...]] | None = None

    # -- what a framework says ----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def embedding_module(self, side: str) -> nn.Module:
        """The module whose output is the token embeddings of ``"source"`` or ``"target"`` (B, L, D)."""

    @abc.abstractmethod
    def head_module(self) -> nn.Module | None:
        """The module that maps hidden states to logits, None where there is none."""

    @abc.abstractmethod
    def run_encoder(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D) encoder states, from one call of the encoder on ids. Encoder–decoder models only."""

    @abc.abstractmethod
    def run_decoder(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: Any = None,
        use_cache: bool = False,
    ) -> Any:
        """One call of the model on target ids (and encoder states), returning an object with ``logits`` (B, L, V).

        Args:
            cache: keys and values of a prefix, in the framework's own form; ``ids`` then hold what follows it and
                ``mask`` covers prefix and ids.
            use_cache: return keys and values as ``past_key_values`` of the output.
        """

    def attention_layers(self) -> Mapping[str, int] | None:
        """Layers with attention of each kind ("encoder", "decoder", "cross"), where the framework knows without running it.

        None: not known; the self-check then expects attention in every layer.
        """
        return None

    def attention_heads(self) -> Mapping[str, int] | None:
        """Heads of each kind of attention, where the framework knows without running the model."""
        return None

    def visible_attention(self) -> AbstractContextManager[None]:
        """A ``with`` block in which attention is computed by functions that the attention seam sees."""
        return nullcontext()

    # -- devices and arrays -------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        return self._parts[1][0].device if self._parts else seams.device_of(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the embeddings."""
        return next(self.embedding_module("target").parameters()).dtype

    @property
    def hidden_size(self) -> int:
        """D: the width of the token embeddings."""
        weight: Any = self.embedding_module("target").weight
        return int(weight.shape[-1])

    @property
    def notes(self) -> tuple[str, ...]:
        """What the self-check found, in words."""
        return tuple(self.traits.notes)

    def as_array(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self.device)

    def to_numpy(self, values: Any) -> np.ndarray:
        if not isinstance(values, Tensor):
            return np.asarray(values)
        values = values.detach()
        if values.is_floating_point() and values.dtype not in (torch.float32, torch.float64):
            values = values.float()
        return values.cpu().numpy()

    @contextmanager
    def attributing(self) -> Iterator[None]:
        """Tensors made inside can be differentiated at, also when the caller is in inference mode; a mode that a
        plugin leaves the model in is taken back.
        """
        modules = tuple(self.model.modules())
        parameters = seams.parameters_of(modules)
        self._is_compiled = seams.is_compiled(modules)
        modes = [(module, module.training) for module in modules]
        watches, dropout_active, parts = list(self._watches), self._dropout_active, self._parts
        try:
            with torch.inference_mode(False), as_found(modules, parameters, self.lasting_hooks):
                self._parts = (modules, parameters)
                with self.quiet():  # once for the whole call; what is asked inside finds little to do
                    yield
        finally:
            self._parts = parts
            self._watches[:], self._dropout_active = watches, dropout_active
            for module, mode in modes:
                if module.training is not mode:
                    module.training = mode

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Eval mode (unless dropout was asked for), parameters without gradients, and compiled modules run as they were
        written, so that they see the seams; all restored afterwards.
        """
        modules, parameters = self._parts or (self.model.modules(), self.model.parameters())
        mode = nullcontext() if self._dropout_active else seams.evaluating(modules)
        way = seams.uncompiled() if self._is_compiled else nullcontext()
        with mode, way, seams.frozen(parameters):
            yield

    @property
    def can_be_tried(self) -> bool:
        """Whether a pass would tell something about the model: it was checked, and nothing is dropped at random."""
        return self.traits.checked and not self._dropout_active

    @contextmanager
    def dropout(self, seed: int | None = None) -> Iterator[int]:
        with seams.dropping(self.model) as places, seams.seeded(seed, self.device):
            self._dropout_active = True
            try:
                yield places
            finally:
                self._dropout_active = False

    def dropout_places(self) -> int:
        return seams.dropout_places(self.model.modules())

    def is_out_of_memory(self, error: BaseException) -> bool:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        return isinstance(error, RuntimeError) and "not enough memory" in str(error)

    def free_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # -- passes at the seams ------------------------------------------------------------------------------------------

    def embed(self, ids: Tensor, side: str = "target") -> Tensor:
        """(…, D) what the token-embedding module gives for ids, without gradients.

        The module's own scale is in it (Gemma, T5, BART); a scale that the model applies later (Marian) is not.
        """
        with torch.no_grad(), self.quiet():
            return self.embedding_module(side)(ids)

    def embedding_matrix(self, side: str = "target") -> Tensor:
        """(V, D) embeddings of the whole vocabulary, as the seam sees them."""
        module = self.embedding_module(side)
        weight: Any = module.weight
        if isinstance(weight, Tensor) and type(module) is nn.Embedding:
            return weight.detach()
        return self.embed(torch.arange(weight.shape[0], device=weight.device), side)

    def batch_embeddings(self, batch: TokenBatch, side: str) -> Tensor:
        """(B, S, D) or (B, L, D) token embeddings of a batch."""
        ids = batch.source_ids if side == "source" else batch.target_ids
        return self.embed(self.as_array(ids), side)

    def encode_memory(
        self, batch: TokenBatch, source: Tensor | None = None, at: nn.Module | None = None
    ) -> Tensor:
        """(B, S, D) encoder states, with ``source`` (B, S, D) in place of the token embeddings if given.

        Args:
            at: another module of the encoder whose output ``source`` replaces.
        """
        ids, mask = self.as_array(batch.source_ids), self.as_array(batch.source_mask)
        self._count(ids)
        with seams.output_seam(at or self.embedding_module("source"), source) as tap:
            with self.watched("source", ids):
                memory = self.run_encoder(ids, mask)
        self._ran_once(tap, source, at)
        return memory

    def decode_rows(
        self,
        batch: TokenBatch,
        grid: StepGrid,
        *,
        target: Tensor | None = None,
        memory: Tensor | None = None,
        at: nn.Module | None = None,
        graph: bool = False,
        offset: int = 0,
        cache: Any = None,
        use_cache: bool = False,
    ) -> RowPass:
        """One forward pass of the decoder over the batch, head on the rows only.

        Args:
            target: (B, L, D) in place of the token embeddings, (B, L - offset, D) behind a cached prefix.
            memory: (B, S, D) encoder states (encoder–decoder).
            at: another module of the decoder whose output ``target`` replaces.
            graph: keep the graph of body and head for vector-Jacobian products.
            offset, cache: keys and values of the first ``offset`` positions, which are not run again; no row may be read
                from one of them.
            use_cache: keys and values of this pass are kept in ``raw.past_key_values``.
        """
        ids, mask = self.as_array(batch.target_ids[:, offset:]), self.as_array(batch.target_mask)
        memory_mask = self.as_array(batch.source_mask) if memory is not None else None
        sequence, position = self.as_array(grid.sequence), self.as_array(grid.position - 1 - offset)
        self._count(ids)
        head = self.head_module() if self.traits.splits_at_head else None
        head_block = seams.head_seam(head, sequence, position, graph) if head is not None else nullcontext()
        with seams.output_seam(at or self.embedding_module("target"), target) as point, head_block as tap:
            with self.watched("target", ids):
                output = self.run_decoder(
                    ids, mask, memory=memory, memory_mask=memory_mask, cache=cache, use_cache=use_cache
                )
        self._ran_once(point, target, at)
        if tap is None:
            rows = output.logits[sequence, position]  # (R, V)
            detached = rows.detach().requires_grad_(graph)
            return RowPass(
                hidden=rows, every=output.logits, detached=detached, logits=detached[:, None, :], raw=output
            )
        if (
            tap.calls != 1
            or tap.hidden is None
            or tap.every is None
            or tap.detached is None
            or output.logits.shape[0] != len(grid)
        ):
            raise SelfCheckError(f"The output head ran {tap.calls} times in one forward pass, expected once.")
        return RowPass(
            hidden=tap.hidden, every=tap.every, detached=tap.detached, logits=output.logits, raw=output
        )

    def decode_logits(
        self, batch: TokenBatch, grid: StepGrid, *, target: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor:
        """(R, 1, V) logits of the rows on one unbroken graph, from the framework's whole forward pass."""
        ids, mask = self.as_array(batch.target_ids), self.as_array(batch.target_mask)
        memory_mask = self.as_array(batch.source_mask) if memory is not None else None
        self._count(ids)
        with seams.output_seam(self.embedding_module("target"), target):
            with self.watched("target", ids):
                output = self.run_decoder(ids, mask, memory=memory, memory_mask=memory_mask)
        logits: Tensor = output.logits[self.as_array(grid.sequence), self.as_array(grid.position - 1)]
        return logits[:, None, :]

    def _ran_once(self, tap: seams.OutputTap, replacement: Tensor | None, at: nn.Module | None) -> None:
        """A replacement must have been met exactly once: a module that runs twice would see it twice."""
        if replacement is None or tap.calls == 1:
            return
        name = (
            next((n for n, m in self.model.named_modules() if m is at), type(at).__name__)
            if at
            else "the embedding"
        )
        raise SelfCheckError(
            f"{name} ran {tap.calls} times in one forward pass, expected once. "
            + (
                "It is not on the way to the output."
                if tap.calls == 0
                else "Choose a module inside it that runs once."
            )
        )

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[None]:
        """Every pass of the encoder or decoder inside the block runs inside ``watch(side, ids)``."""
        self._watches.append(watch)
        try:
            yield
        finally:
            self._watches.remove(watch)

    @contextmanager
    def watched(self, side: str, ids: Tensor) -> Iterator[None]:
        """What surrounds one pass; adapters' passes run inside it."""
        with ExitStack() as stack:
            for watch in self._watches:
                stack.enter_context(watch(side, ids))
            yield

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What is run inside the block proves something about the model: it is no part of the work in ``counts``, and nothing for
        those who watch the work.
        """
        before, watches = dict(self.counts), self._watches
        self._watches = []
        try:
            yield
        finally:
            self._watches = watches
            self.counts.clear()
            self.counts.update(before)

    def _count(self, ids: Tensor) -> None:
        self.counts["forward"] += 1
        self.counts["sequences"] += ids.shape[0]
        self.counts["tokens"] += ids.numel()

    # -- rows ---------------------------------------------------------------------------------------------------------

    def forward_rows(self, batch: TokenBatch, grid: StepGrid) -> ForwardOutput:
        """Logits (R, 1, V) of every row; one pass for a batch that fits, without gradients."""
        if len(grid) == 0:
            return ForwardOutput(logits=torch.zeros(0, 1, self.profile.vocabulary_size, device=self.device))
        parts: list[tuple[IntArray, Tensor]] = []
        raw = None
        with torch.inference_mode(False), torch.no_grad(), self.quiet():
            for rows, sequences, length in self._passes(batch, grid):
                part = batch.take(sequences).truncated(length)
                local = grid.take(rows)
                where = {int(s): i for i, s in enumerate(sequences)}
                local = attrs.evolve(local, sequence=[where[int(s)] for s in local.sequence])
                memory = self.encode_memory(part, blanked(self, part, "source")) if part.has_source else None
                rowpass = self.decode_rows(part, local, target=blanked(self, part, "target"), memory=memory)
                parts.append((rows, rowpass.logits))
                raw = rowpass.raw
        if len(parts) == 1:
            return ForwardOutput(logits=parts[0][1], raw=raw)
        order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
        return ForwardOutput(logits=torch.cat([logits for _, logits in parts])[self.as_array(order)])

    def forward_versions(self, batch: TokenBatch, grid: StepGrid) -> Iterator[tuple[IntArray, ForwardOutput]]:
        """Logits of the rows of many versions of one text; what they share is run once (``torch.removal``)."""
        from inseq_core.torch.removal import forward_versions

        return forward_versions(self, batch, grid)

    def repeat_prefix(self, cache: Any, length: int, copies: int) -> Any | None:
        """Keys and values of the first ``length`` positions of a cache's first sequence, ``copies`` times.

        The cache itself stays as it is. None where the framework cannot say what they are.
        """
        return None

    def _passes(self, batch: TokenBatch, grid: StepGrid) -> Iterator[tuple[IntArray, Sequence[int], int]]:
        """(rows, sequences, prefix length) of each forward pass that ``forward_rows`` makes."""
        everything = np.arange(len(grid), dtype=np.int64)
        if not lengths.serves_prefixes(self, batch):
            groups = [everything[grid.position == s] for s in np.unique(grid.position)]
        else:
            groups = [everything]
        for group in groups:
            length = int(grid.position[group].max())
            sequences = np.unique(grid.sequence[group])
            for part in planner.sequence_chunks(self, batch, grid, group, sequences, length):
                rows = group[np.isin(grid.sequence[group], part)]
                yield rows, part, int(grid.position[rows].max())

    def plan(self, batch: TokenBatch, grid: StepGrid, method: MethodSpec) -> list[IntArray]:
        return planner.row_chunks(self, batch, grid, method)

    def context(self, request: ContextRequest) -> TorchContext:
        from inseq_core.torch.context import TorchContext

        return TorchContext(self, request)

    def self_check(self, batch: TokenBatch) -> None:
        from inseq_core.torch.selfcheck import run_self_check

        if not self.traits.checked:
            run_self_check(self, batch)
        lengths.pads_safely(self, batch)
