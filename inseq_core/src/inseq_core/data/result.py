"""What a method hands back: scores of inputs for rows, as arrays of its framework or numpy.

Axes: R rows, S source positions, L target positions, then the method's trailing axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True, eq=False)
class MethodOutput:
    """Scores of every input position for every row of a context.

    Attributes:
        source: (R, S, *trailing), or None where the source is not attributed (decoder-only).
        target: (R, L, *trailing), or None where the target prefix is not attributed. What stands at or after
            a row's own position is ignored (shown as NaN); a causal method leaves it 0.
        step_scores: name -> (R,): numbers about each step that the method found on its way ("deltas").
        beside: name -> (source (R, S) or None, target (R, L) or None): numbers about each score (its standard
            error, the ends of an interval), shown as sequence scores of that name.
        sequence_scores: name -> list of one value a sequence, or arrays of the framework.
        axes: names of the trailing axes where they differ from the method's spec (several layers at once),
            else None.
        notes: plain facts for the result's info (passes used, standard errors' settings …).
    """

    source: Any | None = None
    target: Any | None = None
    step_scores: Mapping[str, Any] = attrs.field(factory=dict)
    beside: Mapping[str, tuple[Any | None, Any | None]] = attrs.field(factory=dict)
    sequence_scores: Mapping[str, Any] = attrs.field(factory=dict)
    axes: tuple[str, ...] | None = None
    notes: Mapping[str, Any] = attrs.field(factory=dict)
