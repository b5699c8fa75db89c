"""Made-up attributions to look at: a translation, a chat, pieces of Chinese, and tokens that mean harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment

INFO = {
    "model_name": "demo-en-fr",
    "attribution_method": "integrated_gradients",
    "attributed_fn": "probability",
    "attribution_args": {"n_steps": 50},
    "seed": 7,
}

HOSTILE = (
    "\x1b[31mred",
    "[bold]x[/bold]",
    "</script><script>alert(1)</script>",
    "\n",
    "שלום",
    "\u202eevil",
    "",
    "\u0301",
    "\ud800",
    "<b>&amp;",
    "{{7*7}}",
    "\r\x00\x7f\x9b",
    "x",
)


def output(*sequences: FeatureAttributionSequenceOutput) -> FeatureAttributionOutput:
    """Texts with provenance."""
    return FeatureAttributionOutput(list(sequences), info=INFO)


def before_steps(scores: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """(L, T, …) with NaN where a position is at or after its step."""
    masked = scores.copy()
    length, n_steps = scores.shape[:2]
    masked[np.arange(length)[:, None] >= first + np.arange(n_steps)] = np.nan
    return masked


def translation() -> FeatureAttributionSequenceOutput:
    """Encoder–decoder, signed, both sides attributed; "her" speaks for "La", "developer" against it."""
    source = ["▁The", "▁developer", "▁argued", "▁because", "▁her", "▁idea", "</s>"]
    target = ["<pad>", "▁La", "▁dévelop", "peuse", "▁s", "'", "est", "</s>"]
    scores = np.linspace(-0.02, 0.03, 7 * 7).reshape(7, 7)
    scores[4, 0], scores[1, 0], scores[1, 1] = 0.61, -0.25, 0.48
    return FeatureAttributionSequenceOutput(
        source=source,
        target=target,
        source_attributions=scores,
        target_attributions=before_steps(np.full((8, 7), 0.0125), 1),
        step_scores={"probability": np.linspace(0.5, 0.98, 7), "perplexity": np.geomspace(1, 52345, 7)},
        attr_pos_start=1,
        attr_pos_end=8,
        meaning=ScoreMeaning(signed=True),
    )


def chat() -> FeatureAttributionSequenceOutput:
    """Decoder-only with two turns, unsigned, normalised."""
    tokens = ["<|user|>", "What", "Ġis", "Ġit", "?", "Ċ", "<|bot|>", "ĠA", "Ġcat", ".", "<|end|>"]
    scores = before_steps(np.arange(1.0, 45.0).reshape(11, 4), 7)
    return FeatureAttributionSequenceOutput(
        target=tokens,
        target_attributions=scores / np.nansum(scores, axis=0),
        attr_pos_start=7,
        attr_pos_end=11,
        meaning=ScoreMeaning(signed=False, normalized=True),
        segments=[
            Segment(label="user", start=0, end=6, kind="turn"),
            Segment(label="bot", start=6, end=11, kind="turn"),
        ],
    )


def decoder_only(tokens: Sequence[str], first: int, **fields: Any) -> FeatureAttributionSequenceOutput:
    """Any tokens, with scores 0.1, 0.2, … down each column."""
    length, n_steps = len(tokens), len(tokens) - first
    scores = np.repeat(np.arange(1, length + 1)[:, None] / 10, n_steps, axis=1)
    return FeatureAttributionSequenceOutput(
        target=tokens,
        target_attributions=before_steps(scores, first),
        attr_pos_start=first,
        attr_pos_end=length,
        **fields,
    )


def hostile() -> FeatureAttributionSequenceOutput:
    """Tokens, a step score and a segment that try to break out of wherever they are shown."""
    n_steps = len(HOSTILE) - 5
    return decoder_only(
        HOSTILE,
        5,
        step_scores={"<img src=x onerror=alert(1)>\x1b[2J": np.ones(n_steps)},
        segments=[Segment(label="</td><script>", start=1, end=3)],
    )


def granular(n_layers: int = 3, n_heads: int = 2) -> FeatureAttributionSequenceOutput:
    """Layers and heads; the score of layer l and head h is 1 + l + 10 h for every input and step."""
    layers, heads = np.arange(n_layers), np.arange(n_heads)
    scores = np.broadcast_to(1.0 + layers[:, None] + 10.0 * heads, (3, 2, n_layers, n_heads))
    return FeatureAttributionSequenceOutput(
        target=["a", "b", "c"],
        target_attributions=before_steps(np.array(scores), 1),
        attr_pos_start=1,
        attr_pos_end=3,
        axes=("layer", "head"),
        default_aggregation=("mean", "mean"),
        meaning=ScoreMeaning(signed=False),
    )


def nothing() -> FeatureAttributionSequenceOutput:
    """No step was attributed."""
    return FeatureAttributionSequenceOutput(
        source=[], target=["<s>"], source_attributions=np.zeros((0, 0)), attr_pos_start=1, attr_pos_end=1
    )
