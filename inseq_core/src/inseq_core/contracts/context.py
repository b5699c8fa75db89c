"""The attribution context: all that a method sees.

It holds some texts in ids, the rows (steps) to attribute, and the attributed function, and offers operations
that answer for **every row at once**. This base serves every adapter, torch or not; adapters with gradients
and internals return a subclass.
Axes: B sequences, S source positions, L target positions, R rows, F features, P perturbed versions.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.contracts.removal import RemovalWay, removal_scores
from inseq_core.contracts.step_function import BoundStepFunction, ForwardOutput, StepCall, StepFunctionArgs
from inseq_core.contracts.versions import RowFunction, aligned_table, score_table
from inseq_core.data.batch import BoolArray, EncodedText, IntArray, TokenBatch
from inseq_core.data.features import FeatureSet
from inseq_core.data.result import MethodOutput
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError

if TYPE_CHECKING:
    from inseq_core.contracts.adapter import ModelAdapter


@attrs.frozen(kw_only=True, eq=False)
class ContextRequest:
    """What a context is made of.

    Attributes:
        batch: the texts, cut to the prefix that the rows need.
        grid: the rows.
        attributed: the attributed function.
        attribute_target: whether the target prefix is attributed (always, for decoder-only models).
        include_eos_baseline: baselines replace EOS too.
        features: one set of features a sequence; None for methods that do not remove.
        removal: how features are removed.
        full_texts: the uncut texts, sequence by sequence; draws are keyed on them so that chunking changes
            nothing.
        call: what the whole call of ``attribute`` shares: seed, cache, the user's model.
    """

    batch: TokenBatch
    grid: StepGrid
    attributed: BoundStepFunction
    attribute_target: bool = True
    include_eos_baseline: bool = False
    features: tuple[FeatureSet, ...] | None = None
    removal: RemovalWay = attrs.field(factory=RemovalWay)
    full_texts: tuple[EncodedText, ...] = ()
    call: StepCall

    @property
    def seed(self) -> int:
        """What every draw of the call derives from."""
        return self.call.seed

    @property
    def cache(self) -> MutableMapping[Any, Any]:
        """Shared within one call of ``attribute``."""
        return self.call.cache


class AttributionContext:
    """Operations for all steps at once, on any adapter that gives scores."""

    def __init__(self, adapter: ModelAdapter, request: ContextRequest) -> None:
        self.adapter = adapter
        self.request = request

    # -- what is attributed
    # -------------------------------------------------------------------------------------------

    @property
    def batch(self) -> TokenBatch:
        """The texts in ids."""
        return self.request.batch

    @property
    def grid(self) -> StepGrid:
        """The rows."""
        return self.request.grid

    @property
    def n_rows(self) -> int:
        """R."""
        return len(self.request.grid)

    @property
    def attributes_source(self) -> bool:
        """Whether source positions get scores (encoder–decoder models)."""
        return self.batch.has_source

    @property
    def attributes_target(self) -> bool:
        """Whether target positions get scores."""
        return self.request.attribute_target or not self.batch.has_source

    @property
    def source_shape(self) -> tuple[int, int] | None:
        """(R, S) of the result, None where the source is not attributed."""
        return (self.n_rows, self.batch.source_ids.shape[1]) if self.attributes_source else None

    @property
    def target_shape(self) -> tuple[int, int] | None:
        """(R, L) of the result, None where the target is not attributed."""
        return (self.n_rows, self.batch.target_ids.shape[1]) if self.attributes_target else None

    @property
    def features(self) -> FeatureSet:
        """The features of the text, for methods that work on one text at a time."""
        sets = self.request.features
        if sets is None or len(sets) != 1:
            raise CapabilityError(
                "ctx.features is for methods that declare per_text=True in their spec: one text a context, "
                f"here are {0 if sets is None else len(sets)}."
            )
        return sets[0]

    @property
    def seen_features(self) -> BoolArray:
        """(R, F) True where a row sees the feature, or the beginning of it; the others can have no part in
        its score.
        """
        return self.features.seen_from(self.grid.position)

    def visible(self, side: str) -> np.ndarray:
        """(R, S) or (R, L): True where a row can see the position (inside its text, before its own
        position).
        """
        if side == "source":
            lengths = self.batch.source_lengths[self.grid.sequence]
            return np.arange(self.batch.source_ids.shape[1])[None, :] < lengths[:, None]
        return np.arange(self.batch.target_ids.shape[1])[None, :] < self.grid.position[:, None]

    def text_key(self, sequence: int = 0) -> tuple[int, ...]:
        """What draws for a text are seeded with: the call's seed, and a number made of the whole text's
        ids.
        """
        text = (self.request.full_texts or self.batch.texts)[sequence]
        key = zlib.crc32(text.target_ids.tobytes())
        if text.source_ids is not None:
            key = zlib.crc32(text.source_ids.tobytes(), key)
        return self.request.seed, key

    def generator(self, sequence: int = 0) -> np.random.Generator:
        """A generator that depends on the call's seed and this text's ids alone: alone or in a batch, whole
        or in chunks, on any device, a text gets the same draws. Draw position by position, first position
        first.
        """
        return np.random.default_rng(list(self.text_key(sequence)))

    def args(self, output: Any, batch: TokenBatch, grid: StepGrid) -> StepFunctionArgs:
        """Step function arguments for rows of ``batch`` that the model has answered with ``output``."""
        return StepFunctionArgs(
            call=self.request.call, forward_output=output, batch=batch, grid=grid, is_attributed_fn=True
        )

    def score_of(self, batch: TokenBatch, grid: StepGrid, output: ForwardOutput) -> Any:
        """(R,) attributed function of the rows of ``grid``, from the model's output at ``grid.scored``."""
        values = self.request.attributed(self.args(output, batch, grid.scored))
        return values if grid.span_ids is None else self.row_sums(values, grid)

    def row_sums(self, values: Any, grid: StepGrid) -> Any:
        """(K,) values of the scored tokens -> (R,) their sums over each row."""
        numbers = self.adapter.to_numpy(values).astype(np.float64)
        return self.adapter.as_array(np.bincount(grid.owner, weights=numbers, minlength=len(grid)))

    def scores(self) -> Any:
        """(R,) attributed function of every row, from one forward pass; the framework's array."""
        return self.score_of(self.batch, self.grid, self.adapter.forward_rows(self.batch, self.grid.scored))

    def _by_token(self) -> AttributionContext:
        """The same texts with every scored token as a row of its own."""
        return type(self)(self.adapter, attrs.evolve(self.request, grid=self.grid.scored))

    def _summed(self, scores: np.ndarray) -> np.ndarray:
        """(P, K) -> (P, R)."""
        sums = [np.bincount(self.grid.owner, weights=row, minlength=self.n_rows) for row in scores]
        return np.array(sums, dtype=np.float64).reshape(len(scores), self.n_rows)

    def removal_scores(self, kept: np.ndarray) -> np.ndarray:
        """Attributed function of every row for P versions of the text with features removed.

        Args:
            kept: bool (P, F); False removes the feature. Equal versions are run once.

        Returns:
            (P, R) float64. A row sees only what stands before it: features at or after it change nothing.
        """
        kept = np.asarray(kept, dtype=np.bool_)
        if self.grid.span_ids is not None:
            return self._summed(removal_scores(self._by_token(), kept))
        return removal_scores(self, kept)

    def version_scores(
        self, texts: Sequence[EncodedText], of: IntArray | None = None, function: RowFunction | None = None
    ) -> np.ndarray:
        """Attributed function of every row for versions of the text that the method has made itself.

        Args:
            texts: versions of ``batch.texts[0]`` in which every token stands where it stood. Equal ones are
                run once.
            of: (P, R) which of the texts answers for a version and row; each for all rows by default.
            function: another function of the model's output than the attributed one.

        Returns:
            (P, R) float64.
        """
        if self.grid.span_ids is not None:
            by_token = self._by_token()
            of = None if of is None else of[:, self.grid.owner]
            return self._summed(score_table(by_token, aligned_table(by_token, texts, of), function))
        return score_table(self, aligned_table(self, texts, of), function)

    def output(
        self,
        source: Any = None,
        target: Any = None,
        *,
        step_scores: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> MethodOutput:
        """A ``MethodOutput``; scores of sides that are not attributed are dropped."""
        return MethodOutput(
            source=source if self.attributes_source else None,
            target=target if self.attributes_target else None,
            step_scores=step_scores or {},
            notes=notes or {},
        )

    def feature_output(
        self,
        scores: np.ndarray,
        *,
        step_scores: Mapping[str, Any] | None = None,
        beside: Mapping[str, np.ndarray] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> MethodOutput:
        """Scores (R, F) of features as scores of positions: each position gets the score of its feature.

        ``beside`` are other numbers (R, F) about the features, placed in the same way.

        Positions in no feature get 0. How a feature's score is shown on its tokens (repeated, or spread
        evenly so that the sum is kept) is the request's business: ``removal.spread``.
        """
        notes = {"features": self.features, "feature_scores": scores, **(notes or {})}
        source, target = self._on_positions(scores)
        return attrs.evolve(
            self.output(source, target, step_scores=step_scores, notes=notes),
            beside={name: self._on_positions(values) for name, values in (beside or {}).items()},
        )

    def _on_positions(self, values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(R, F) numbers of features -> (R, S) and (R, L) numbers of their positions."""
        sides: dict[str, np.ndarray | None] = {"source": None, "target": None}
        for side, shape in (("source", self.source_shape), ("target", self.target_shape)):
            if shape is None:
                continue
            width = shape[1]
            members = self.features.members(side)[:, :width].astype(np.float64)  # (F, positions)
            shares = values
            if self.request.removal.spread:  # among the tokens that the row sees, so that the sum is kept
                seen = self.visible(side)[:, : members.shape[1]].astype(np.float64)
                shares = values / np.maximum(seen @ members.T, 1.0)
            placed = np.zeros(shape, dtype=np.float64)
            placed[:, : members.shape[1]] = shares @ members
            sides[side] = placed
        return sides["source"], sides["target"]
