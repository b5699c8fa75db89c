"""What may be written next: scores of the vocabulary, shaped by the options of generation.

In the order of transformers: repetitions, forbidden words, least length, forced tokens, suppressed tokens;
and for sampling temperature, top k, top p.
Axes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from inseq_onnx.generation import Options


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(…, V) natural logarithms of the probabilities."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


@attrs.frozen(kw_only=True)
class Shaping:
    """How the scores of one text are shaped.

    Attributes:
        options: of the call.
        begun: target tokens that were given.
        least, end: target tokens that the output has at least, and at most.
    """

    options: Options
    begun: int
    least: int
    end: int

    def shaped(self, row: np.ndarray, ids: Sequence[int]) -> np.ndarray:
        """(V,) scores of the token after ``ids``; -inf for what may not be written."""
        options, scores = self.options, np.array(row)
        if options.repetition_penalty != 1.0:
            seen = np.unique(ids)
            worse = np.where(scores[seen] < 0, options.repetition_penalty, 1 / options.repetition_penalty)
            scores[seen] = scores[seen] * worse.astype(scores.dtype)
        if options.no_repeat_ngram_size:
            scores[_repeating(ids, options.no_repeat_ngram_size)] = -np.inf
        for *before, last in options.bad_words_ids:
            is_end = not before and last in options.eos_token_id
            if not is_end and list(ids[len(ids) - len(before) :]) == before:
                scores[last] = -np.inf
        if len(ids) < self.least:
            scores[list(options.eos_token_id)] = -np.inf
        if options.forced_bos_token_id is not None and len(ids) == 1:
            scores = _only([options.forced_bos_token_id], scores)
        if options.forced_eos_token_id and len(ids) == self.end - 1:
            scores = _only(options.forced_eos_token_id, scores)
        scores[list(options.suppress_tokens)] = -np.inf
        if len(ids) == self.begun:
            scores[list(options.begin_suppress_tokens)] = -np.inf
        return scores

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(V,) float64 probabilities to draw from, by temperature, top k and top p."""
        options = self.options
        scores = scores.astype(np.float64) / options.temperature
        if 0 < options.top_k < len(scores):
            least = np.partition(scores, -options.top_k)[-options.top_k]
            scores = np.where(scores < least, -np.inf, scores)
        p = np.exp(log_softmax(scores))
        if options.top_p < 1.0:
            order = np.argsort(-p, kind="stable")
            before = np.cumsum(p[order]) - p[order]  # mass of what is more likely
            p[order[before >= options.top_p]] = 0.0
        result: np.ndarray = p / p.sum()
        return result


def _only(tokens: Sequence[int], scores: np.ndarray) -> np.ndarray:
    """Nothing else than some tokens."""
    forced = np.full_like(scores, -np.inf)
    forced[list(tokens)] = 0.0
    return forced


def _repeating(ids: Sequence[int], size: int) -> list[int]:
    """Tokens that would repeat a sequence of ``size`` tokens."""
    ids = list(ids)
    if len(ids) + 1 < size:
        return []
    last = ids[len(ids) - size + 1 :]
    return [ids[k + size - 1] for k in range(len(ids) - size + 1) if ids[k : k + size - 1] == last]
