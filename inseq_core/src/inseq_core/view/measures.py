"""Step scores as colours: how sure a model was, beside what explains the step.

They are often close together (probabilities of 0.92 to 0.96), so their colours run from the least to the
largest of a text and not from zero; every view says where they begin and end.
"""

from __future__ import annotations

import numpy as np

from inseq_core.data.scores import ScoreArray
from inseq_core.view.colors import ColorScale
from inseq_core.view.table import ScoreTable


def measure_scales(table: ScoreTable) -> dict[str, ColorScale]:
    """The scale of each step score over the steps of one text."""
    return {name: spread_scale(scores) for name, scores in table.step_scores.items()}


def spread_scale(scores: ScoreArray) -> ColorScale:
    """A scale from the least to the largest score, without signs; from 0 to 0 where there is none."""
    finite = np.asarray(scores, dtype=np.float64)[np.isfinite(scores)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return ColorScale(low=low, high=high, signed=False)
