"""The glossary of axes: one letter or word for one thing, everywhere.

B sequences of a batch, S source positions, L target positions, T steps of one sequence, R rows (valid
(sequence, step) pairs of a batch), D hidden size, N layers, H heads, V vocabulary, F features, P perturbed
versions of an input.
"""

from __future__ import annotations

HIDDEN = "hidden"
LAYER = "layer"
HEAD = "head"

TRAILING_AXES = (LAYER, HEAD, HIDDEN)
"""Names a method may give to the axes of its result after (position, step)."""
