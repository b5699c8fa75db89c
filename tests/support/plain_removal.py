"""Scores of texts without some of their parts, by plain calls of the model: one call a step and way to change it.

Every call is on one step's own prefix, unpadded; versions of equal length go into one call.
Axes: P versions, F features, S source positions, L target positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import torch
from support.contexts import tiny_context
from torch import Tensor, nn

from inseq_core.contracts.removal import RemovalWay
from inseq_core.data.features import Feature, FeatureSet
from inseq_core.torch import TorchAdapter, TorchContext


def removal_context(
    name: str, pair: tuple[str, str], removal: RemovalWay | None = None, group: int = 1, **options: Any
) -> TorchContext:
    """One text on a float64 tiny model, with features of ``group`` tokens each; its last steps are the rows."""
    ctx = tiny_context(name, (pair,), **options)
    return featured(ctx, removal or RemovalWay(), group)


def featured(ctx: TorchContext, removal: RemovalWay, group: int = 1) -> TorchContext:
    """The same context with features that can be removed."""
    text = ctx.batch.texts[0]
    sides = {"target": text.target_ids}
    sides = sides if text.source_ids is None else {"source": text.source_ids, **sides}
    features = []
    for side, ids in sides.items():
        free = np.flatnonzero(~ctx.adapter.kept_in_baseline(ids, side, False))
        parts = [free[i : i + group] for i in range(0, len(free), group)]
        features += [Feature(label=f"{side} {part[0]}", side=side, positions=part.tolist()) for part in parts]
    n_source = 0 if text.source_ids is None else len(text.source_ids)
    found = FeatureSet(features=features, n_source=n_source, n_target=len(text.target_ids))
    return type(ctx)(ctx.adapter, attrs.evolve(ctx.request, features=(found,), removal=removal))


@attrs.frozen(kw_only=True, eq=False)
class Step:
    """One row's own text and prefix, to be changed and scored.

    Attributes:
        source: (S,) ids, None for decoder-only models.
        prefix: (L,) ids before the token.
        features: side and positions of each feature that stands before the token, as far as they do.
        index: which of the context's features each is.
    """

    adapter: TorchAdapter
    source: np.ndarray | None
    prefix: np.ndarray
    token: int
    features: tuple[tuple[str, tuple[int, ...]], ...]
    index: tuple[int, ...]

    @classmethod
    def of(cls, ctx: TorchContext, row: int) -> Step:
        text, end = ctx.batch.texts[0], int(ctx.grid.position[row])
        seen = []
        for f, feature in enumerate(ctx.features.features):
            is_source = feature.side == "source"
            positions = tuple(p for p in feature.positions if is_source or p < end)
            if positions:
                seen.append((f, (feature.side, positions)))
        return cls(
            adapter=ctx.adapter,
            source=None if text.source_ids is None else np.array(text.source_ids),
            prefix=np.array(text.target_ids[:end]),
            token=int(ctx.grid.target_ids[row]),
            features=[places for _, places in seen],
            index=[f for f, _ in seen],
        )

    def without(self, kept: np.ndarray) -> np.ndarray:
        """(P, F) of the step's features kept -> (P,) scores with the baseline token in place of the others."""
        source, prefix = self.replaced(kept)
        return self.score(prefix, source)

    def replaced(self, kept: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """(P, S) and (P, L) ids with the baseline token in place of features."""
        source = None if self.source is None else np.tile(self.source, (len(kept), 1))
        prefix = np.tile(self.prefix, (len(kept), 1))
        for f, (side, positions) in enumerate(self.features):
            ids = prefix if side == "target" else source
            ids[np.ix_(~kept[:, f], positions)] = self.adapter.baseline_ids("unk", side)
        return source, prefix

    def score(self, prefix: Any, source: Any = None, **masks: Tensor) -> np.ndarray:
        """(P,) probability of the token behind each of some prefixes (P, L), for sources (P, S)."""
        return self.logits(prefix, source, **masks).softmax(-1)[:, self.token].numpy()

    def rank(self, prefix: Any, source: Any = None) -> int:
        """How many tokens are likelier than the step's, behind one prefix (L,) and source (S,)."""
        logits = self.logits(prefix[None], None if source is None else source[None])[0]
        return int((logits > logits[self.token]).sum())

    def logits(self, prefix: Any, source: Any = None, **masks: Tensor) -> Tensor:
        """(P, V) what the model says behind prefixes (P, L), for sources (P, S)."""
        ids = {"input_ids": torch.tensor(prefix)}
        if source is not None:
            ids = {"input_ids": torch.tensor(source), "decoder_input_ids": torch.tensor(prefix)}
        with torch.no_grad():
            return self.adapter.model(**ids, **masks).logits[:, -1].double()

    def deleted(self, side: str, positions: Sequence[int]) -> float:
        """The score with some positions gone and the others closed up; a text begins as the model's texts do."""
        source, prefix = self.source, self.prefix
        if side == "source":
            source = np.delete(source, positions)
            source = source if len(source) else np.asarray(self.adapter.encode_input("").ids)
        else:
            prefix = np.delete(prefix, positions)
            if not len(prefix):
                prefix = np.asarray(self.adapter.start_ids(self.adapter.encode_input("")))
        return float(self.score(prefix[None], None if source is None else source[None])[0])

    def masked(self, side: str, positions: Sequence[int]) -> float:
        """The score with some positions out of attention's sight, and the baseline token where they stood."""
        kept = np.array([[(side, tuple(positions)) != feature for feature in self.features]])
        source, prefix = self.replaced(kept)
        mask = torch.ones(1, len(self.prefix if side == "target" else self.source), dtype=torch.long)
        mask[0, list(positions)] = 0
        if self.source is not None:
            name = "attention_mask" if side == "source" else "decoder_attention_mask"
            return float(self.score(prefix, source, **{name: mask})[0])
        masks = {"attention_mask": mask}
        if "position_ids" in self.adapter._takes:
            masks["position_ids"] = torch.arange(len(self.prefix))[None]
        return float(self.score(prefix, None, **masks)[0])

    def blank(self, side: str, positions: Sequence[int]) -> float:
        """The score with the mean of all embeddings where some positions' were, and no trace of their ids."""
        kept = np.array([[(side, tuple(positions)) != feature for feature in self.features]])
        source, prefix = self.replaced(kept)
        with blanked(self.adapter.embedding_module(side), positions):
            return float(self.score(prefix, source)[0])


@contextmanager
def blanked(module: nn.Module, positions: Sequence[int], value: str = "mean") -> Iterator[None]:
    """The embedding module gives the mean of its vocabulary, or "zero", at some positions."""

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        every = module.forward(torch.arange(module.weight.shape[0]))
        output[:, list(positions)] = every.mean(0) if value == "mean" else 0.0
        return output

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
