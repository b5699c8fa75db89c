"""The torch context: what a method sees on a torch model.

Adds embeddings, baselines, draws and every step's gradients to the base context. Methods that need internals
find ``attentions``, ``hidden_states`` and ``intervene`` here too.
Axes: B sequences, T steps, R rows, S source positions, L target positions, D hidden, K copies of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_core.contracts.context import AttributionContext, ContextRequest
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import TokenBatch
from inseq_core.data.result import MethodOutput
from inseq_core.data.steps import StepGrid
from inseq_core.torch import internals
from inseq_core.torch.adapter import TorchAdapter
from inseq_core.torch.attention_seam import AttentionProduct
from inseq_core.torch.baselines import baseline_embeddings
from inseq_core.torch.copies import gradients_of_copies, of_copies
from inseq_core.torch.gradients import StepGradients, step_gradients
from inseq_core.torch.inputs import InputTensors

if TYPE_CHECKING:
    from inseq_core.torch.attention_branch import AttentionBranch
    from inseq_core.torch.blocks import BlockCall

MOVED_KEY = 11
"""Tells draws on a noisy copy apart from those on the text itself."""


class TorchContext(AttributionContext):
    """Operations for all steps at once, on a torch model."""

    adapter: TorchAdapter

    def __init__(self, adapter: TorchAdapter, request: ContextRequest) -> None:
        super().__init__(adapter, request)
        self._inputs: InputTensors | None = None
        self._moved = False
        self._copy: tuple[int, ...] = ()

    @property
    def is_moved(self) -> bool:
        """Whether other embeddings than the texts' own are explained (see ``at``)."""
        return self._moved

    @property
    def rows(self) -> Tensor:
        """(R,) sequence of each row."""
        return self.adapter.as_array(self.grid.sequence)

    @property
    def row_queries(self) -> Tensor:
        """(R,) target position that each row is predicted from: the last of its prefix."""
        return self.adapter.as_array(self.grid.position - 1)

    @property
    def inputs(self) -> InputTensors:
        """Token embeddings of the attributed sides: source (B, S, D), target (B, L, D)."""
        if self._inputs is None:
            self._inputs = InputTensors(
                source=self.adapter.batch_embeddings(self.batch, "source")
                if self.attributes_source
                else None,
                target=self.adapter.batch_embeddings(self.batch, "target")
                if self.attributes_target
                else None,
                rows=self.rows,
            )
        return self._inputs

    def at(self, inputs: InputTensors, copy: int | None = None) -> TorchContext:
        """The same texts and rows with other embeddings as *the* inputs: what a method explains around a
        noisy input.

        Args:
            copy: which of several it is; what is drawn on it is independent of the draws on the others.
        """
        moved = type(self)(self.adapter, self.request)
        moved._inputs, moved._moved = attrs.evolve(inputs, rows=self.rows), True
        moved._copy = self._copy if copy is None else (*self._copy, copy + 1)
        return moved

    def text_key(self, sequence: int = 0) -> tuple[int, ...]:
        """As in the base context, and which noisy copies of the text this one is within."""
        key = super().text_key(sequence)
        return (*key, MOVED_KEY, *self._copy) if self._copy else key

    def take(self, rows: np.ndarray) -> TorchContext:
        """The chosen rows alone, on the prefix that they need."""
        grid = self.grid.take(rows)
        batch = self.batch.truncated(grid.prefix_length)
        part = type(self)(self.adapter, attrs.evolve(self.request, grid=grid, batch=batch))
        if self._moved:
            width = batch.target_ids.shape[1]
            inputs = self.inputs
            cut = inputs.target[:, :width] if inputs.target is not None else None
            moved = part.at(attrs.evolve(inputs, target=cut))
            moved._copy = self._copy
            return moved
        return part

    def baseline(self, baseline: str | float | Any = "unk") -> InputTensors:
        """Embeddings of the absent input: a token id in every position, with start tokens (and EOS) kept.

        Args:
            baseline: "unk", "pad", "mask", "eos", "zero", "mean", a token, or a text of as many tokens as the
                input.

        Raises:
            InvalidArgumentError: none of these, or a text of another length.
        """
        return baseline_embeddings(self, baseline)

    def zeros(self) -> InputTensors:
        """Zeros of the shape of an attribution: (R, S, D), (R, L, D), in float32 or better."""
        return self.inputs.map(
            lambda x: torch.zeros(self.n_rows, *x.shape[1:], device=x.device, dtype=_wide(x))
        ).of(by_row=True)

    def draw(self, n: int, kind: str = "normal") -> Iterator[InputTensors]:
        """``n`` draws (B, S, D), (B, L, D) from the texts' own generators.

        Args:
            kind: "normal" (standard normal) or "uniform" ([0, 1)).

        Draws are made position by position, so that a chunk of steps on a shorter prefix sees the same
        numbers.
        """
        sides = {}
        for side in ("source", "target"):
            tensor = getattr(self.inputs, side)
            if tensor is None:
                continue
            drawn = np.empty((n, *tensor.shape), dtype=np.float32)
            for b in range(tensor.shape[0]):
                generator = np.random.default_rng([*self.text_key(b), side == "target"])
                shape = (
                    tensor.shape[1],
                    n,
                    tensor.shape[2],
                )  # position first: a prefix of the text draws a prefix
                values = generator.standard_normal(shape) if kind == "normal" else generator.random(shape)
                drawn[:, b] = values.transpose(1, 0, 2)
            sides[side] = torch.as_tensor(drawn, device=tensor.device, dtype=tensor.dtype)
        for i in range(n):
            drawn_sides: dict[str, Any] = {side: values[i] for side, values in sides.items()}
            yield attrs.evolve(self.inputs, **drawn_sides)

    def embedding_spread(self) -> InputTensors:
        """Standard deviation of the vocabulary's embeddings, one number a side: the unit of noise."""

        def spread(side: str) -> Tensor:
            key = ("embedding spread", side)
            if key not in self.request.cache:
                self.request.cache[key] = self.adapter.embedding_matrix(side).float().std()
            return self.request.cache[key].to(self.adapter.dtype)

        return InputTensors(
            source=spread("source") if self.attributes_source else None,
            target=spread("target") if self.attributes_target else None,
        )

    def draw_references(self, n: int, baseline: str | Any = "unk") -> Iterator[tuple[float, InputTensors]]:
        """``n`` pairs (alpha, reference): alpha uniform on [0, 1), reference a standard-normal draw around
        the baseline.

        One alpha for all positions of a draw, from the call's seed.
        """
        center = self.baseline(baseline)
        spread = self.embedding_spread()
        alphas = np.random.default_rng(self.request.seed).random(n)
        for alpha, noise in zip(alphas, self.draw(n), strict=True):
            yield float(alpha), center + noise * spread

    # -- scores and gradients
    # -----------------------------------------------------------------------------------------

    def _copies(self, inputs: InputTensors | None) -> tuple[TokenBatch, StepGrid]:
        """The batch and rows for inputs that hold K copies of the batch, one after the other."""
        sides = inputs.sides() if inputs is not None else ()
        copies = sides[0].shape[0] // len(self.batch) if sides else 1
        if copies == 1:
            return self.batch, self.grid
        batch = self.batch.take(list(range(len(self.batch))) * copies)
        return batch, self.grid.repeated(copies, len(self.batch))

    def row_sums(self, values: Any, grid: StepGrid) -> Any:
        """(K,) values of the scored tokens -> (R,) their sums over each row, on the same graph."""
        owner = self.adapter.as_array(grid.owner)
        return (
            values.new_zeros(len(grid)).index_add(0, owner, values) if isinstance(values, Tensor) else values
        )

    def scores(self, inputs: InputTensors | None = None) -> Tensor:
        """(R,) attributed function of every row from one forward pass, (K·R,) for K copies of the batch."""
        inputs = self.inputs if inputs is None and self._moved else inputs
        batch, grid = self._copies(inputs)
        with torch.inference_mode(False), torch.no_grad(), self.adapter.quiet():
            if inputs is None:
                return self.score_of(batch, grid, self.adapter.forward_rows(batch, grid.scored))
            memory = self.adapter.encode_memory(batch, inputs.source) if batch.has_source else None
            rowpass = self.adapter.decode_rows(batch, grid.scored, target=inputs.target, memory=memory)
            return self.score_of(batch, grid, ForwardOutput(logits=rowpass.logits, raw=rowpass.raw))

    def scores_with_graph(self, sequence: int, embeddings: tuple[Tensor, ...]) -> Tensor:
        """(K,) attributed function of the only row of ``sequence`` for K versions of its embeddings, one
        graph throughout.

        For libraries that differentiate or perturb a function themselves; slower than ``step_gradients``.

        Args:
            embeddings: (K, S, D) and (K, L, D) of the attributed sides.
        """
        copies = embeddings[0].shape[0]
        row = self.grid.take(self.grid.rows_of(sequence)[-1:])
        batch = self.batch.take([sequence] * copies)
        grid = attrs.evolve(row, sequence=[0]).repeated(copies, 1)
        at = self.inputs.with_sides(embeddings)
        memory = self.adapter.encode_memory(batch, at.source) if batch.has_source else None
        logits = self.adapter.decode_logits(batch, grid.scored, target=at.target, memory=memory)
        return self.score_of(batch, grid, ForwardOutput(logits=logits))

    def dense_gradients(self, inputs: InputTensors | None = None) -> StepGradients:
        """Gradients dense in (sequence, step): source (K·B, T, S, D), target (K·B, T, L, D), scores
        (K·R,).
        """
        inputs = self.inputs if inputs is None and self._moved else inputs
        texts = len(self.batch)
        copies = inputs.sides()[0].shape[0] // texts if inputs is not None and inputs.sides() else 1

        def work(part: range) -> StepGradients:
            at = None if inputs is None else inputs.map(lambda x: of_copies(x, texts, part))
            batch, grid = self._copies(at)
            return step_gradients(
                self.adapter,
                batch,
                grid,
                lambda output: self.score_of(batch, grid, output),
                source=None if at is None else at.source,
                target=None if at is None else at.target,
                want_source=self.attributes_source,
                want_target=self.attributes_target,
                name=f"attributed function {self.request.attributed.name!r}",
            )

        return gradients_of_copies(self, copies, work)

    def step_gradients(self, inputs: InputTensors | None = None) -> InputTensors:
        """Every row's gradient, source (R, S, D) and target (R, L, D): one forward pass, batched backward
        passes.
        """
        dense = self.dense_gradients(inputs)
        _, grid = self._copies(inputs)
        return InputTensors(
            source=None if dense.source is None else self.rows_of_dense(dense.source, grid),
            target=None if dense.target is None else self.rows_of_dense(dense.target, grid),
            rows=self.adapter.as_array(grid.sequence),
            by_row=True,
        )

    def rows_of_dense(self, dense: Tensor, grid: StepGrid | None = None) -> Tensor:
        """(B, T, …) -> (R, …): the entries that are rows."""
        grid = self.grid if grid is None else grid
        step = self.adapter.as_array(grid.step - int(grid.step.min()))
        return dense[self.adapter.as_array(grid.sequence), step]

    def dense_of_rows(self, values: Tensor) -> Tensor:
        """(K·R,) -> (K·B, T): the inverse of ``rows_of_dense`` for one number a row, 0 where there is no
        row.
        """
        copies = values.shape[0] // max(self.n_rows, 1)
        grid = self.grid.repeated(copies, len(self.batch))
        step = self.adapter.as_array(grid.step - int(grid.step.min()))
        dense = values.new_zeros(copies * len(self.batch), int(step.max()) + 1)
        dense[self.adapter.as_array(grid.sequence), step] = values
        return dense

    def attentions(self, visit: Callable[[AttentionProduct], Any] | None = None) -> list[Any]:
        """Attention of every layer, from one pass.

        Args:
            visit: called with every ``AttentionProduct`` while the pass runs (encoder, then decoder, each
                layer's self- before its cross-attention); what it returns is kept, None is not. Without it,
                each decoder and cross-attention layer is kept as ``LayerWeights``: (R, H, K) weights of the
                query that a row is predicted from.

        Raises:
            CapabilityError: the model has no attention. SelfCheckError: some of it cannot be seen.
        """
        return internals.row_attention(self) if visit is None else internals.visit_attention(self, visit)

    def attention_gradients(self) -> list[internals.LayerWeights]:
        """As ``attentions``, with the derivative of each row's score with respect to its own weights."""
        return internals.attention_gradients(self)

    def hidden_states(self, visit: Callable[[internals.LayerStates], Any] | None = None) -> list[Any]:
        """What every block gives, from one pass.

        Args:
            visit: called with ``LayerStates`` (B, L, D) while the pass runs; what it returns is kept, None is
                not. Without it, the states of the decoder's rows are kept: one (R, D) for each block.
        """
        if visit is not None:
            return internals.visit_blocks(self, visit)
        rows, queries = self.rows, self.row_queries
        return internals.visit_blocks(
            self, lambda s: s.states[rows, queries] if s.kind == "decoder" else None
        )

    def blocks(self, visit: Callable[[BlockCall], Any], kinds: Sequence[str] = ("decoder",)) -> list[Any]:
        """What ``visit`` makes of every block of one pass, in which it can be run again with other attention.

        Args:
            visit: called with a ``BlockCall`` as each block ends; what it returns is kept, None is not.
            kinds: "encoder", "decoder".
        """
        from inseq_core.torch.blocks import visit_calls

        return visit_calls(self, visit, kinds=kinds)

    def branches(self, visit: Callable[[AttentionBranch], Any]) -> list[Any]:
        """What ``visit`` makes of every attention product's way to the residual stream, from one pass.

        Args:
            visit: called with an ``AttentionBranch`` as each block ends (encoder, then decoder, each layer's
                self- before its cross-attention); what it returns is kept, None is not.

        Raises:
            CapabilityError: some way is no linear map once norms are taken at their values.
        """
        from inseq_core.torch.branches import visit_branches

        return visit_branches(self, visit)

    def intervene(
        self,
        attention: Callable[[AttentionProduct], Tensor | None] | None = None,
        hidden: Callable[[internals.LayerStates], Tensor | None] | None = None,
    ) -> AbstractContextManager[None]:
        """A ``with`` block in which every pass of this context's model shows its internals, to be replaced.

        Args:
            attention: called with every ``AttentionProduct``; may return another output (B, H, L, v).
            hidden: called with every block's ``LayerStates``; may return other states (B, L, D).

        The model is as it was when the block is left, also by an exception.
        """
        return internals.intervening(self, attention, hidden)

    def output(self, source: Any = None, target: Any = None, **more: Any) -> MethodOutput:
        """A ``MethodOutput`` from tensors, or from ``InputTensors`` with one entry a row."""
        if isinstance(source, InputTensors):
            source, target = source.of_rows().source, source.of_rows().target
        return super().output(source, target, **more)


def _wide(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype == torch.float64 else torch.float32
