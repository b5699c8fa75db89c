"""Attributions to aggregate and to show, small enough to be read: what checks of aggregators and viewers use.

Axes: S source positions, L target positions, T steps, then layer and hidden.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.info import AttributionInfo
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment

HOSTILE = (
    "<script>alert('inseq')</script>",
    '"><img src=x onerror="alert(\'inseq\')">',
    "</td></table>",
    "[bold]inseq[/bold]",
    "{{ 7 * 7 }}",
    "\x1b[31mred",
    "&amp;",
    "'; alert('inseq'); '",
)
"""Tokens that a careless view would take for markup, templates, scripts or control codes."""


@attrs.frozen(kw_only=True)
class Sample:
    """An attribution, and what messages call it."""

    label: str
    attribution: FeatureAttributionSequenceOutput = attrs.field(repr=False)


def scores(rows: int, start: int, steps: int, *trailing: int, seed: int = 0) -> np.ndarray:
    """(rows, steps, *trailing) random scores, NaN where a target position is at or after its step."""
    values = np.random.default_rng(seed).normal(size=(rows, steps, *trailing)).astype(np.float32)
    for step in range(steps):
        values[start + step :, step] = np.nan
    return values


def translation(**changes: Any) -> FeatureAttributionSequenceOutput:
    """Five source tokens and four steps behind a start token, both sides attributed; one step of two pieces."""
    source = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    values: dict[str, Any] = {
        "source": ["▁the", "▁dog", "▁sle", "eps", "</s>"],
        "target": ["<s>", "▁le", "▁chi", "en", "</s>"],
        "source_attributions": source,
        "target_attributions": scores(5, 1, 4),
        "attr_pos_start": 1,
        "step_scores": {"probability": [0.5, 0.25, 0.75, 1.0], "entropy": [1.0, 2.0, 0.5, 0.0]},
        "step_aggregation": {"probability": {"spans": "prod"}, "entropy": {"spans": "sum"}},
        "source_word_starts": [True, True, True, False, True],
        "target_word_starts": [True, True, True, False, True],
        "source_special": [False, False, False, False, True],
        "target_special": [True, False, False, False, True],
        "segments": [Segment(label="subject", start=0, end=2, kind="phrase", side="source")],
        "meaning": ScoreMeaning(signed=True, additive=True, complete=True),
    }
    return FeatureAttributionSequenceOutput(**{**values, **changes})


def continuation(*trailing: int, **changes: Any) -> FeatureAttributionSequenceOutput:
    """A prompt of three tokens and three steps of a language model, with or without layers and hidden axes."""
    axes = ("layer", "hidden")[2 - len(trailing) :] if trailing else ()
    values: dict[str, Any] = {
        "source": ["The", "Ġdog", "."],
        "target": ["The", "Ġdog", ".", "ĠIt", "Ġbar", "ks"],
        "target_attributions": scores(6, 3, 3, *trailing, seed=2),
        "attr_pos_start": 3,
        "axes": axes,
        "default_aggregation": ("vnorm", "mean")[: len(axes)],
        "normalize": True,
        "step_scores": {"probability": [0.5, 0.25, 1.0]},
        "step_aggregation": {"probability": {"spans": "prod"}},
        "source_word_starts": [True, True, False],
        "target_word_starts": [True, True, False, True, True, False],
        "source_special": [False] * 3,
        "target_special": [False] * 6,
        "segments": [Segment(label="user", start=0, end=3, kind="turn")],
        "meaning": ScoreMeaning(signed=True, additive=True),
    }
    return FeatureAttributionSequenceOutput(**{**values, **changes})


def samples() -> tuple[Sample, ...]:
    """Attributions of every shape that a result can have."""
    unscored = continuation(target_attributions=None, normalize=False)
    return (
        Sample(label="a translation", attribution=translation()),
        Sample(
            label="a translation whose prefix was not attributed",
            attribution=translation(target_attributions=None),
        ),
        Sample(label="a continuation", attribution=continuation()),
        Sample(label="a continuation with a hidden axis", attribution=continuation(4)),
        Sample(label="a continuation with layers and a hidden axis", attribution=continuation(2, 4)),
        Sample(label="a continuation without scores", attribution=unscored),
    )


def hostile_sample() -> FeatureAttributionSequenceOutput:
    """A continuation whose tokens, labels and names are hostile."""
    n = len(HOSTILE)
    return continuation(
        source=HOSTILE,
        target=[*HOSTILE, *HOSTILE],
        target_attributions=scores(2 * n, n, n),
        attr_pos_start=n,
        step_scores={HOSTILE[0]: np.ones(n)},
        step_aggregation={},
        source_word_starts=None,
        target_word_starts=None,
        source_special=None,
        target_special=None,
        segments=[Segment(label=HOSTILE[1], start=0, end=2, kind="turn")],
    )


def output_of(
    *attributions: FeatureAttributionSequenceOutput, text: str = "a text"
) -> FeatureAttributionOutput:
    """An output of some attributions, with an info to it."""
    info = AttributionInfo(
        model_name="toy",
        attribution_method="made_up",
        attributed_fn="probability",
        input_texts=[text] * len(attributions),
        generated_texts=[text] * len(attributions),
        exec_time=1.0,
    )
    return FeatureAttributionOutput(list(attributions), info=info)
