"""Toy models in numpy that can be solved by hand.

``BagModel`` is a language model whose logits are a sum of one vector for each token before the step, weighted
by how far back it stands. So the truth is known: removing a token (by ``<unk>``, whose vector is zero) takes
away exactly its vector, and generation and likelihood have closed forms. It reads words separated by spaces,
and offers scores and generation only: what the pipeline, removal methods, aggregators, views and commands
need. Axes: B sequences, S source positions, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import invalid
from inseq_core.hooks.specs import AdapterSpec, Capability
from inseq_core.testing.words import BOS, EOS, PAD, SPECIAL, UNK, WORDS, WordReader

__all__ = ["ADAPTER", "BOS", "EOS", "PAD", "SPECIAL", "UNK", "WORDS", "BagModel", "BagWeights", "load"]


@attrs.frozen(kw_only=True, eq=False)
class BagWeights:
    """The numbers of a ``BagModel``.

    Attributes:
        bias: (V,) logits without any token.
        target, source: (V, V) row v is what a token v adds to the logits; the row of ``<unk>`` is zero.
        decay: what a target token adds is multiplied by decay ** (distance - 1); source tokens have no
            distance.
    """

    bias: np.ndarray
    target: np.ndarray
    source: np.ndarray
    decay: float = 0.8

    @classmethod
    def random(cls, size: int, seed: int = 0, scale: float = 1.0, decay: float = 0.8) -> BagWeights:
        """Normal draws; start, padding and ``<unk>`` are never likely."""
        generator = np.random.default_rng(seed)
        bias, target, source = (
            generator.normal(size=s) * scale for s in ((size,), (size, size), (size, size))
        )
        bias[[PAD, BOS, UNK]] = -30.0
        for matrix in (target, source):
            matrix[[PAD, UNK]] = 0.0
            matrix[:, [PAD, BOS, UNK]] = 0.0
        return cls(bias=bias, target=target, source=source, decay=decay)


class BagModel(WordReader):
    """Logits that are a weighted sum over the tokens seen.

    Args:
        words: vocabulary beside the special tokens.
        weights: its numbers; drawn from ``seed`` by default.
        is_encoder_decoder: reads a source, and begins its target with ``<s>``.
        adds_bos: decoder-only prompts begin with ``<s>``.
        max_target: positions it claims to have, to try out what is too long.

    Attributes:
        passes: forward passes so far, with the number of sequences of each.
    """

    capabilities = frozenset({Capability.SCORES, Capability.GENERATE})
    removals = frozenset({"token", "delete", "sample", "mask"})

    def __init__(
        self,
        words: Iterable[str] = WORDS,
        *,
        weights: BagWeights | None = None,
        is_encoder_decoder: bool = False,
        adds_bos: bool = True,
        max_target: int | None = None,
        seed: int = 0,
    ) -> None:
        self.read_words(
            words, is_encoder_decoder=is_encoder_decoder, adds_bos=adds_bos, max_target=max_target
        )
        self.weights = weights or BagWeights.random(len(self.vocabulary), seed)
        self.passes: list[int] = []

    def logits(self, text: EncodedText, position: int) -> np.ndarray:
        """(V,) logits of the token at target ``position``: the definition of the model, one row at a time."""
        ids = text.target_ids[:position]
        kept = np.ones(position) if text.target_kept is None else text.target_kept[:position].astype(float)
        distance = np.arange(position, 0, -1)
        logits = self.weights.bias + (kept * self.weights.decay ** (distance - 1)) @ self.weights.target[ids]
        if text.source_ids is not None:
            seen = (
                np.ones(len(text.source_ids)) if text.source_kept is None else text.source_kept.astype(float)
            )
            logits = logits + seen @ self.weights.source[text.source_ids]
        return logits

    def contributions(self, text: EncodedText, position: int) -> tuple[np.ndarray | None, np.ndarray]:
        """(S,) or None, and (position,): what each token adds to the logit of the token at target ``position``."""
        ids, token = text.target_ids[:position], int(text.target_ids[position])
        target = self.weights.target[ids, token] * self.weights.decay ** np.arange(position - 1, -1, -1)
        source = None if text.source_ids is None else self.weights.source[text.source_ids, token]
        return source, target

    def next_logits(self, text: EncodedText) -> np.ndarray:
        """(V,) logits of the token after the text."""
        return self.logits(text, len(text.target_ids))

    def forward_rows(self, batch: TokenBatch, grid: StepGrid) -> ForwardOutput:
        """(R, 1, V) logits; counted in ``passes``."""
        self.passes.append(len(batch))
        self.spend_pass()
        rows = [
            self.logits(batch.texts[b], s)
            for b, s in zip(grid.sequence.tolist(), grid.position.tolist(), strict=True)
        ]
        return ForwardOutput(logits=np.stack(rows)[:, None, :])

    def as_array(self, values: np.ndarray) -> np.ndarray:
        """Numpy is its framework."""
        return np.asarray(values)

    def to_numpy(self, values: Any) -> np.ndarray:
        """Numpy is its framework."""
        return np.asarray(values)


ADAPTER = AdapterSpec(
    name="toy", factory="inseq_core.testing.toys:load", summary="Toy models in numpy, solved by hand."
)
"""For ``register_adapter`` in tests and examples; no plugin provides it."""


def load(
    model: BagModel | str,
    *,
    device: str | None = None,
    tokenizer: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> BagModel:
    """A toy model as it is, or ``"toy-lm"`` or ``"toy-translator"`` made anew."""
    if isinstance(model, BagModel):
        return model
    if model not in ("toy-lm", "toy-translator"):
        raise invalid("model", model, "'toy-lm', 'toy-translator', or a BagModel")
    return BagModel(is_encoder_decoder=model == "toy-translator", seed=seed, **dict(model_kwargs or {}))
