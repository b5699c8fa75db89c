"""The model's answer to the contrasts of a call: asked for once, looked up row by row.

A row knows its text and its step, so the answer is found for any batch, chunk of steps, copy or perturbed
version of a text. Answers are numbers, not functions of the attributed input: no gradient goes through them.
Axes: N steps of all texts of the call, R rows of an evaluation, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from array_api_compat import array_namespace

from inseq_core.contracts.memory import in_parts
from inseq_core.contracts.step_function import StepCall, StepFunctionArgs
from inseq_core.data.batch import IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.step_functions.arrays import at_least_float32, log_softmax, pick
from inseq_core.step_functions.contrast_texts import Contrast, ContrastChoice, contrasts

LOGIT_BUDGET = 256 * 2**20
"""Bytes of contrast logits (N, V) that a call keeps; beyond it they are computed again where all are needed.
"""


@attrs.frozen(kw_only=True, eq=False)
class ContrastRows:
    """The contrasts of a call, one row a step.

    Attributes:
        call: whose.
        contrasts: (B,) one a text.
    """

    call: StepCall
    contrasts: tuple[Contrast, ...]

    @classmethod
    def of(cls, call: StepCall, arguments: Mapping[str, Any]) -> ContrastRows:
        """The same object for the same arguments within one call."""
        choice = ContrastChoice.of(arguments, len(call.inputs))
        rows: ContrastRows = call.once(choice.key, lambda: cls(call=call, contrasts=contrasts(choice, call)))
        return rows

    @functools.cached_property
    def grid(self) -> StepGrid:
        """(N) where in the contrasts each step's counterpart stands."""
        positions = [c.positions for c in self.contrasts]
        return StepGrid(
            sequence=np.repeat(np.arange(len(positions)), [len(p) for p in positions]),
            position=np.concatenate(positions),
            target_ids=np.concatenate([c.text.target_ids[c.positions] for c in self.contrasts]),
            step=np.concatenate([np.arange(len(p)) for p in positions]),
        )

    def find(self, args: StepFunctionArgs) -> IntArray:
        """(R,) which of the N steps each row is."""
        starts = np.cumsum([0, *(len(c.positions) for c in self.contrasts)])
        found: IntArray = starts[args.origin] + args.grid.step
        return found

    def target_ids(self, args: StepFunctionArgs) -> Any:
        """(R,) the token that each row is compared with."""
        return args.adapter.as_array(self.grid.target_ids[self.find(args)])

    def shares_prefix(self, args: StepFunctionArgs) -> np.ndarray:
        """(R,) True where a row of the text itself is predicted from what its contrast is."""
        return np.concatenate([c.shares_prefix for c in self.contrasts])[self.find(args)]

    def ask(self) -> None:
        """Run the contrasts now, rather than at the first evaluation."""
        self._answers()

    def picked(self, args: StepFunctionArgs) -> tuple[Any, Any]:
        """(R,) logit and (R,) ln probability of each row's contrast token, on its own prefix."""
        rows = args.adapter.as_array(self.find(args))
        return tuple(array_namespace(values).take(values, rows, axis=0) for values in self._answers()[:2])

    def log_probabilities(self, args: StepFunctionArgs) -> Any:
        """(R, V) ln of the distribution over each row's contrast token, on its own prefix."""
        rows = self.find(args)
        logits = self._answers()[2]
        if logits is None:
            different, rows = np.unique(rows, return_inverse=True)
            logits = self._run(different)
        return log_softmax(array_namespace(logits).take(logits, args.adapter.as_array(rows), axis=0))

    def _answers(self) -> tuple[Any, Any, Any]:
        """(N,) logits and (N,) ln probabilities of the contrast tokens, and (N, V) logits if they fit."""
        answers: tuple[Any, Any, Any] = self.call.once((self, "answers"), self._asked)
        return answers

    def _asked(self) -> tuple[Any, Any, Any]:
        adapter, n = self.call.adapter, len(self.grid)
        row_bytes = 4 * max(adapter.profile.vocabulary_size, 1)
        size = max(LOGIT_BUDGET // row_bytes, 1)
        kept, parts = [], []
        chunks = [np.arange(first, min(first + size, n)) for first in range(0, n, size)]
        for rows, logits in in_parts(adapter, chunks, lambda rows: (rows, self._run(rows))):
            ids = adapter.as_array(self.grid.target_ids[rows])
            parts.append((at_least_float32(pick(logits, ids)), pick(log_softmax(logits), ids)))
            if n <= size:
                kept.append(logits)
        xp = array_namespace(parts[0][0])
        logit, log_probability = (xp.concat([part[k] for part in parts]) for k in (0, 1))
        return logit, log_probability, xp.concat(kept) if kept else None

    def _run(self, rows: IntArray) -> Any:
        """(rows, V) logits of some steps' contrasts."""
        grid = self.grid.take(rows)
        used, sequence = np.unique(grid.sequence, return_inverse=True)
        batch = TokenBatch.of(
            [self.contrasts[b].text for b in used], self.call.adapter.pad_id, origin=used.tolist()
        )
        local = attrs.evolve(grid, sequence=sequence)
        output = self.call.adapter.forward_rows(batch.truncated(local.prefix_length), local)
        return output.logits[:, 0, :]
