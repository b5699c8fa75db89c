"""Step attributions that a file says follow from its texts: not stored, made again, within the budget.

The target prefix of every step is a sequence of its own, and texts of different lengths are padded to one: a
few bytes of a file can ask for any amount of memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.errors import FileFormatError, InvalidArgumentError
from inseq_core.store.arrays import Budget

_POINTER = 8
_RECORD = 1024
"""Bytes of a step's record and its empty fields."""


def derived_steps(
    sequences: Sequence[FeatureAttributionSequenceOutput], budget: Budget
) -> tuple[FeatureAttributionStepOutput, ...]:
    """The columns of the texts.

    Raises:
        FileFormatError: they would take more than the budget, or the texts have no steps in common.
    """
    for step in range(max((s.n_steps for s in sequences), default=0)):
        budget.take(_cost([s for s in sequences if step < s.n_steps], step), f"Step {step} of the texts")
    try:
        return FeatureAttributionStepOutput.batched(sequences)
    except InvalidArgumentError as error:
        raise FileFormatError(f"steps are said to follow from the texts. {error}") from error


def _cost(sequences: Sequence[FeatureAttributionSequenceOutput], step: int) -> int:
    """Bytes of one step of these texts, which all have it; one text alone shares its scores."""
    prefixes = sum(_RECORD + _POINTER * (s.attr_pos_start + step) for s in sequences)
    padded = len(sequences) * max(map(_column, sequences)) if len(sequences) > 1 else 0
    return prefixes + padded


def _column(sequence: FeatureAttributionSequenceOutput) -> int:
    """Bytes of the scores of one step of a text."""
    sides = (sequence.source_attributions, sequence.target_attributions)
    scores = [side for side in (*sides, *sequence.sequence_scores.values()) if side is not None]
    return sum(array.nbytes for array in scores) // sequence.n_steps
