"""Results small enough to be computed by hand, as encoder–decoder and decoder-only models give them."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.info import AttributionInfo
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreMeaning


def encoder_decoder(**changes: Any) -> FeatureAttributionSequenceOutput:
    """Four source tokens, three steps after a start token; scores of the source and of the target prefix.

    Source columns are (1 2 3 4), (-1 2 -3 4), (0 0 0 0); the target prefix gives 10, then 20 and -20, then 0.
    """
    nan = np.nan
    values: dict[str, Any] = {
        "source": ["▁the", "▁wo", "rld", "</s>"],
        "target": ["<s>", "▁le", "▁mon", "de"],
        "source_attributions": np.array([[1, -1, 0], [2, 2, 0], [3, -3, 0], [4, 4, 0]], dtype=np.float32),
        "target_attributions": np.array(
            [[10, 20, 0], [nan, -20, 0], [nan, nan, 0], [nan, nan, nan]], dtype=np.float32
        ),
        "attr_pos_start": 1,
        "step_scores": {
            "probability": [0.5, 0.5, 0.25],
            "entropy": [1.0, 2.0, 3.0],
            "mine": [1.0, -5.0, 2.0],
        },
        "step_aggregation": {"probability": {"spans": "prod"}, "entropy": {"spans": "sum"}},
        "meaning": ScoreMeaning(signed=True, additive=True),
    }
    return FeatureAttributionSequenceOutput(**{**values, **changes})


def decoder_only(hidden: int = 0, seed: int = 0, **changes: Any) -> FeatureAttributionSequenceOutput:
    """Prompt ``Ġa b Ġc`` and three steps ``Ġd e f``; random scores, NaN at and after each step."""
    shape = (6, 3, hidden) if hidden else (6, 3)
    scores = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    for k in range(3):
        scores[3 + k :, k] = np.nan
    values: dict[str, Any] = {
        "source": ["Ġa", "b", "Ġc"],
        "target": ["Ġa", "b", "Ġc", "Ġd", "e", "f"],
        "target_attributions": scores,
        "attr_pos_start": 3,
        "axes": ("hidden",) if hidden else (),
        "default_aggregation": ("vnorm",) if hidden else (),
        "normalize": bool(hidden),
        "step_scores": {"probability": [0.5, 0.5, 0.25]},
        "step_aggregation": {"probability": {"spans": "prod"}},
        "meaning": ScoreMeaning(signed=True, additive=True),
    }
    return FeatureAttributionSequenceOutput(**{**values, **changes})


def output_of(*sequences: FeatureAttributionSequenceOutput, **info: Any) -> FeatureAttributionOutput:
    """An output with an info to it."""
    values: dict[str, Any] = {
        "model_name": "toy",
        "attribution_method": "made_up",
        "step_scores": ["probability"],
        "input_texts": [f"input {i}" for i in range(len(sequences))],
        "generated_texts": [f"output {i}" for i in range(len(sequences))],
        "exec_time": 1.5,
    }
    return FeatureAttributionOutput(list(sequences), info=AttributionInfo(**{**values, **info}))


def with_scores(
    sequence: FeatureAttributionSequenceOutput, **arrays: Any
) -> FeatureAttributionSequenceOutput:
    """The same with other arrays."""
    return attrs.evolve(sequence, **arrays)
