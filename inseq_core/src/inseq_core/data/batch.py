"""Texts as token ids: what a model is run on.

The boundary between what was given and what was generated is kept in ids (``prompt_length``), never found
again by comparing strings. Batches are right-padded: in a causal decoder, padding after a text changes
nothing before it. Axes: B sequences, S source positions, L target positions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.data.token import Segment

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def as_ids(values: Sequence[int] | NDArray[Any]) -> IntArray:
    """A one-dimensional, read-only int64 copy."""
    ids = np.array(values, dtype=np.int64).reshape(-1)
    ids.setflags(write=False)
    return ids


@attrs.frozen(kw_only=True, eq=False)
class EncodedText:
    """One text in ids.

    Attributes:
        target_ids: (L,) decoder side: prompt and generation (decoder-only), or start token and output.
        source_ids: (S,) encoder input; None for decoder-only models.
        prompt_length: target positions that were given: the prompt (decoder-only), the start token and a
            forced prefix (encoder–decoder). ``target_ids[prompt_length:]`` was generated (or forced as the
            output).
        source_kept, target_kept: (S,), (L,) False where attention must not look (removal by masking); None =
            all True.
        source_blank, target_blank: (S,), (L,) True where another embedding stands in for the token's (removal
            by an embedding); None = nowhere.
        blank_with: that embedding: "zero", or "mean" of the vocabulary's.
        segments: labelled spans of source or target positions.
        input_text, generated_text: what it was made from, for the record.
        extras: framework-neutral additional facts (e.g. contrast labels), never tensors.
    """

    target_ids: IntArray = attrs.field(converter=as_ids)
    source_ids: IntArray | None = attrs.field(default=None, converter=attrs.converters.optional(as_ids))
    prompt_length: int = 0
    source_kept: BoolArray | None = None
    target_kept: BoolArray | None = None
    source_blank: BoolArray | None = None
    target_blank: BoolArray | None = None
    blank_with: str = "zero"
    segments: tuple[Segment, ...] = ()
    input_text: str = ""
    generated_text: str = ""

    def truncated(self, length: int) -> EncodedText:
        """The same text cut to its first ``length`` target positions."""
        if length >= len(self.target_ids):
            return self
        kept = None if self.target_kept is None else self.target_kept[:length]
        blank = None if self.target_blank is None else self.target_blank[:length]
        return attrs.evolve(self, target_ids=self.target_ids[:length], target_kept=kept, target_blank=blank)


@attrs.frozen(kw_only=True, eq=False)
class TokenBatch:
    """Several texts to be run together, right-padded.

    Attributes:
        texts: the B texts.
        origin: (B,) which text of the whole call each sequence is, or is a version of.
        pad_id: id used in the padding; never looked at by the model.
    """

    texts: tuple[EncodedText, ...] = attrs.field(converter=tuple[EncodedText, ...])
    origin: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    pad_id: int = 0

    @classmethod
    def of(cls, texts: Iterable[EncodedText], pad_id: int, origin: Iterable[int] | None = None) -> TokenBatch:
        texts = tuple(texts)
        return cls(texts=texts, origin=tuple(range(len(texts)) if origin is None else origin), pad_id=pad_id)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def has_source(self) -> bool:
        return self.texts[0].source_ids is not None

    @functools.cached_property
    def source_ids(self) -> IntArray:
        """(B, S) right-padded encoder ids."""
        return _padded([t.source_ids for t in self.texts if t.source_ids is not None], self.pad_id)

    @functools.cached_property
    def target_ids(self) -> IntArray:
        """(B, L) right-padded decoder ids."""
        return _padded([t.target_ids for t in self.texts], self.pad_id)

    @functools.cached_property
    def source_mask(self) -> BoolArray:
        """(B, S) True where attention may look."""
        return _mask([(len(t.source_ids), t.source_kept) for t in self.texts if t.source_ids is not None])

    @functools.cached_property
    def target_mask(self) -> BoolArray:
        """(B, L) True where attention may look."""
        return _mask([(len(t.target_ids), t.target_kept) for t in self.texts])

    def blanks(self, side: str) -> BoolArray | None:
        """(B, S) or (B, L) True where another embedding stands in for the token's; None where there is none
        at all.
        """
        rows = [(t.source_blank if side == "source" else t.target_blank) for t in self.texts]
        if all(row is None for row in rows):
            return None
        ids = self.source_ids if side == "source" else self.target_ids
        blanks = np.zeros(ids.shape, dtype=np.bool_)
        for b, row in enumerate(rows):
            if row is not None:
                blanks[b, : len(row)] = row
        return blanks

    @property
    def source_lengths(self) -> IntArray:
        return np.array(
            [0 if t.source_ids is None else len(t.source_ids) for t in self.texts], dtype=np.int64
        )

    @property
    def target_lengths(self) -> IntArray:
        return np.array([len(t.target_ids) for t in self.texts], dtype=np.int64)

    def truncated(self, length: int) -> TokenBatch:
        """Every text cut to its first ``length`` target positions."""
        return attrs.evolve(self, texts=tuple(t.truncated(length) for t in self.texts))

    def take(self, sequences: Sequence[int] | IntArray) -> TokenBatch:
        """The chosen sequences, in that order (repeats allowed)."""
        return attrs.evolve(
            self,
            texts=tuple(self.texts[i] for i in sequences),
            origin=tuple(self.origin[i] for i in sequences),
        )


def _padded(rows: Sequence[IntArray], pad_id: int) -> IntArray:
    width = max((len(r) for r in rows), default=0)
    padded = np.full((len(rows), width), pad_id, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    padded.setflags(write=False)  # step scores and other chunks read the same ids
    return padded


def _mask(rows: Sequence[tuple[int, BoolArray | None]]) -> BoolArray:
    width = max((length for length, _ in rows), default=0)
    mask = np.zeros((len(rows), width), dtype=np.bool_)
    for i, (length, kept) in enumerate(rows):
        mask[i, :length] = True if kept is None else kept
    mask.setflags(write=False)
    return mask
