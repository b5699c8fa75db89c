"""Comparing numbers: how far two arrays are apart, in words.

Results are float32, whatever the model's precision: what differs by rounding alone differs by about 1e-7 of its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.testing.checks import refuse

ROUNDING = 1e-5
"""Differences of float32 results that are due to rounding, relative to the largest number: 100 times its precision,
for sums taken in another order."""


def same(found: Any, expected: Any, what: str, tolerance: float = ROUNDING) -> None:
    """Refuse two arrays that differ by more than rounding; NaN must stand at the same places.

    Args:
        what: what they are, for the message.
        tolerance: relative to the largest expected number.
    """
    if (found is None) != (expected is None):
        refuse(f"{what}: {'there is none' if found is None else 'there should be none'}")
    if found is None:
        return
    a, b = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if a.shape != b.shape:
        refuse(f"{what}: shape {a.shape}, expected {b.shape}")
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        refuse(f"{what}: NaN at {int((np.isnan(a) != np.isnan(b)).sum())} places where the other has numbers")
    if not a.size:
        return
    apart = np.nan_to_num(np.abs(a - b))
    scale = max(float(np.nan_to_num(np.abs(b)).max()), 1e-12)
    if apart.max() > tolerance * scale:
        where = np.unravel_index(int(apart.argmax()), apart.shape)
        refuse(
            f"{what}: {a[where]:.6g} where {b[where]:.6g} was expected, at {tuple(int(i) for i in where)} "
            f"(of shape {a.shape}; {apart.max() / scale:.2g} of the largest number)"
        )


def same_attribution(
    found: FeatureAttributionSequenceOutput, expected: FeatureAttributionSequenceOutput, what: str
) -> None:
    """Refuse two attributions of one text whose numbers differ."""
    same(found.source_attributions, expected.source_attributions, f"{what}, source scores")
    same(found.target_attributions, expected.target_attributions, f"{what}, target scores")
    if found.step_scores.keys() != expected.step_scores.keys():
        refuse(f"{what}: step scores {sorted(found.step_scores)}, expected {sorted(expected.step_scores)}")
    for name, values in expected.step_scores.items():
        same(found.step_scores[name], values, f"{what}, step score {name!r}")


def snapshot(value: Any) -> Any:
    """A deep copy of a record of arrays that can be compared by ``changed`` later."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: snapshot(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [snapshot(v) for v in value]
    if attrs.has(type(value)):
        return {field.name: snapshot(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return value


def changed(before: Any, after: Any, where: str = "it") -> Iterable[str]:
    """Places where two snapshots differ."""
    if isinstance(before, np.ndarray) or isinstance(after, np.ndarray):
        a, b = np.asarray(before), np.asarray(after)
        is_same = a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        if not is_same:
            yield where
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}, key=str):
            if key not in before or key not in after:
                yield f"{where}.{key}"
            else:
                yield from changed(before[key], after[key], f"{where}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield where
        for i, (a, b) in enumerate(zip(before, after, strict=False)):
            yield from changed(a, b, f"{where}[{i}]")
    elif before != after:
        yield where
