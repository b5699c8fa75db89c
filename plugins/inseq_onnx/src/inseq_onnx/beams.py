"""Beam search over one text: the running beams, and the outputs that have ended.

As in transformers 5: of the best (2 · beams) continuations those that end are kept if they are among the best
``beams``; the others run on. It stops when no running beam can become better than the worst output kept.
Axes: K beams, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from inseq_onnx.generation import Options

Ids = tuple[int, ...]


@attrs.define(kw_only=True)
class Beams:
    """The search for the output of one text.

    Attributes:
        begun: what every output begins with.
        end: target tokens at most.
        running: what may be gone on with, best first.
        goes_on: whether it may get better.
    """

    begun: Ids
    end: int
    options: Options
    running: list[Ids] = attrs.field(default=attrs.Factory(lambda self: [self.begun], takes_self=True))
    goes_on: bool = True
    _scores: list[float] = attrs.field(factory=lambda: [0.0])
    _ended: list[tuple[float, Ids]] = attrs.field(factory=list)

    @property
    def best(self) -> Ids:
        """The output with the best score for its length; the best running one where none has ended."""
        return self._ended[0][1] if self._ended else self.running[0]

    def step(self, log_probabilities: np.ndarray) -> None:
        """Go on with (K, V) scores of the token that follows each running beam."""
        options, size = self.options, log_probabilities.shape[1]
        kept = max(2, 1 + len(options.eos_token_id)) * options.num_beams
        total = (log_probabilities + np.asarray(self._scores, dtype=np.float32)[:, None]).reshape(-1)
        order = np.argsort(-total, kind="stable")[:kept]
        continued = [(float(total[k]), (*self.running[k // size], int(k % size))) for k in order]
        ends = [ids[-1] in options.eos_token_id or len(ids) >= self.end for _, ids in continued]
        length = len(continued[0][1]) - len(self.begun)
        for (score, ids), has_ended in zip(continued[: options.num_beams], ends, strict=False):
            if has_ended and np.isfinite(score):
                self._ended.append((score / length**options.length_penalty, ids))
        self._ended = sorted(self._ended, key=lambda one: -one[0])[: options.num_beams]
        going = [one for one, has_ended in zip(continued, ends, strict=True) if not has_ended][
            : options.num_beams
        ]
        self._scores, self.running = [score for score, _ in going], [ids for _, ids in going]
        self.goes_on = bool(going) and np.isfinite(self._scores[0]) and self._may_improve(length)

    def _may_improve(self, length: int) -> bool:
        """Whether a running beam could still become one of the best."""
        options = self.options
        if len(self._ended) < options.num_beams:
            return True
        if options.early_stopping is True:
            return False
        if options.early_stopping == "never" and options.length_penalty > 0:
            length = self.end - len(self.begun)
        return self._scores[0] / length**options.length_penalty > self._ended[-1][0]
