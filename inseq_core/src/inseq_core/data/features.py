"""What a removal method removes: features, each a set of input positions.

Tokens by default; words, spans, sentences or segments where asked for. A feature is removed as a whole.
Axes: F features, S source positions, L target positions.
"""

from __future__ import annotations

import attrs
import numpy as np

from inseq_core.data.batch import BoolArray, IntArray


@attrs.frozen(kw_only=True)
class Feature:
    """One feature: positions of one side.

    Attributes:
        label: what to call it.
        side: "source" or "target".
        positions: input positions, ascending.
    """

    label: str
    side: str
    positions: tuple[int, ...] = attrs.field(converter=tuple[int, ...])


@attrs.frozen(kw_only=True, eq=False)
class FeatureSet:
    """The F features of one text. Positions in no feature are never removed (start tokens, special tokens
    kept).

    Attributes:
        kind: "token", "word", "sentence", "segment", "turn" or a caller's own.
        n_source, n_target: S and L of the text.
    """

    features: tuple[Feature, ...] = attrs.field(converter=tuple[Feature, ...])
    kind: str = "token"
    n_source: int = 0
    n_target: int = 0

    def __len__(self) -> int:
        return len(self.features)

    def members(self, side: str) -> BoolArray:
        """(F, S) or (F, L): which positions each feature covers on that side."""
        width = self.n_source if side == "source" else self.n_target
        members = np.zeros((len(self), width), dtype=np.bool_)
        for f, feature in enumerate(self.features):
            if feature.side == side:
                members[f, list(feature.positions)] = True
        return members

    def kept_positions(self, kept: BoolArray, side: str) -> BoolArray:
        """(P, F) features kept -> (P, S or L) positions kept."""
        removed = (~kept).astype(np.int64) @ self.members(side).astype(np.int64)
        return removed == 0

    def first_position(self) -> np.ndarray:
        """(F,) first target position of each feature; 0 for source features, which every step sees."""
        firsts = [f.positions[0] if f.side == "target" and f.positions else 0 for f in self.features]
        return np.array(firsts, dtype=np.int64)

    def seen_from(self, positions: IntArray) -> BoolArray:
        """(R,) target positions of steps -> (R, F): which features a step sees at least a part of."""
        is_source = np.array([f.side == "source" for f in self.features], dtype=np.bool_)
        return is_source[None, :] | (self.first_position()[None, :] < np.asarray(positions)[:, None])

    def reading_order(self) -> IntArray:
        """(F,) the features, those of the source first, then by where they begin.

        Draws made in this order do not depend on what follows in the text.
        """
        begins = [f.positions[0] if f.positions else 0 for f in self.features]
        sides = [f.side != "source" for f in self.features]
        return np.lexsort((begins, sides)).astype(np.int64)
