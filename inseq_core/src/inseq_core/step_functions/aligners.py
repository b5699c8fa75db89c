"""Aligners: which tokens of two texts say the same, found without being told.

- *identity*: the longest runs of equal tokens (``difflib``); what was replaced in between is paired one by
  one;
- *embeddings*: words with similar embeddings of the model itself; nothing is downloaded;
- an *encoder*: words with similar vectors of any encoder, which knows their context and other languages.

Words are paired that choose each other (Jalili Sabet et al. 2020, "argmax"), where equal similarities are
decided by order: a word prefers the other text's word beside the best alignment that crosses nothing.
Axes: n, m words of the two texts, D hidden.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.errors import CapabilityError, InvalidArgumentError, invalid
from inseq_core.step_functions.alignment import Pairs

OWN = ("embeddings", "identity")
"""Aligners that need nothing but the model."""

WordVectors = Callable[[Sequence[str]], Any]
"""The words of a text -> (n, D) vectors."""

ORDER_WEIGHT = 0.2
"""What a word loses in similarity, at most, for standing elsewhere than the best alignment without crossings
says.
"""

ORDER_REACH = 5.0
"""Words of distance at which half of that is lost."""

LONGEST_WORD = 8
"""Tokens of a word; what is longer (writing without spaces) is aligned token by token."""


@attrs.frozen(kw_only=True)
class Words:
    """The words of a text, each a run of tokens; special tokens belong to none.

    Attributes:
        texts: how they read.
        tokens: positions of the tokens of each.
    """

    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, adapter: ModelAdapter, ids: Sequence[int]) -> Words:
        """Cut where the tokenizer begins words."""
        shown = adapter.token_texts(ids, "target")
        runs: list[list[int]] = []
        is_open = False
        for position, (starts, special) in enumerate(zip(shown.word_starts, shown.special, strict=True)):
            if special:
                is_open = False
                continue
            if starts or not is_open:
                runs.append([])
            runs[-1].append(position)
            is_open = True
        cut = [part for run in runs for part in ([run] if len(run) <= LONGEST_WORD else [[p] for p in run])]
        texts = [adapter.decode([ids[p] for p in run], skip_special_tokens=False).strip() for run in cut]
        return cls(texts=tuple(texts), tokens=tuple(map(tuple, cut)))


def check_aligner(aligner: Any) -> None:
    """Raises InvalidArgumentError for what can be no aligner."""
    if aligner is None or callable(aligner) or (isinstance(aligner, (str, tuple)) and aligner):
        return
    raise invalid(
        "contrast_aligner",
        aligner,
        "'embeddings', 'identity', the name of an encoder, an encoder (model, tokenizer), or a function "
        "that gives vectors (n, D) for a list of n words",
    )


def loaded_aligner(adapter: ModelAdapter, aligner: Any) -> Any:
    """An encoder by name or object as the function that it is; anything else as it is.

    Raises:
        ModelLoadError: no such encoder. CapabilityError: the framework has no encoders.
    """
    if aligner is None or aligner in OWN or _is_function(aligner):
        return aligner
    return adapter.word_encoder(aligner)


def align(adapter: ModelAdapter, a_ids: Sequence[int], b_ids: Sequence[int], aligner: Any = None) -> Pairs:
    """Pairs of positions of two texts' tokens.

    Args:
        aligner: "embeddings", "identity", an encoder by name or object, or a function from words to vectors;
            the model's embeddings by default, where it has any.
    """
    if aligner == "identity":
        return identical(a_ids, b_ids)
    a, b = Words.of(adapter, a_ids), Words.of(adapter, b_ids)
    if not a.texts or not b.texts:
        return identical(a_ids, b_ids)
    if aligner in (None, "embeddings"):
        try:
            vectors = _embeddings(adapter, a_ids, a), _embeddings(adapter, b_ids, b)
        except CapabilityError:
            if aligner is not None:
                raise
            return identical(a_ids, b_ids)
    else:
        encode = loaded_aligner(adapter, aligner)
        vectors = _vectors(encode, a.texts), _vectors(encode, b.texts)
    words = word_pairs(similarity(*vectors))
    return tuple(_token_pairs(a, b, words)) + _ends(adapter, a_ids, b_ids)


def identical(a_ids: Sequence[int], b_ids: Sequence[int]) -> Pairs:
    """Equal runs of tokens; of runs that replace each other, the first with the first, and so on."""
    matcher = difflib.SequenceMatcher(None, list(a_ids), list(b_ids), autojunk=False)
    pairs: list[tuple[int, int]] = []
    for kind, a_start, a_end, b_start, b_end in matcher.get_opcodes():
        if kind in ("equal", "replace"):
            pairs += zip(range(a_start, a_end), range(b_start, b_end), strict=False)
    return tuple(pairs)


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) cosines of vectors (n, D) and (m, D); 0 where a vector is zero."""

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    return unit(a.astype(np.float64)) @ unit(b.astype(np.float64)).T


def word_pairs(similar: np.ndarray) -> Pairs:
    """Words that choose each other, by similarity (n, m) and, among equals, by order."""
    n, m = similar.shape
    expected = in_order(similar)  # (n,) place in b of each word of a, were there no crossings
    distance = np.abs(np.arange(m)[None, :] - expected[:, None])
    score = similar - ORDER_WEIGHT * distance / (distance + ORDER_REACH)
    of_a, of_b = score.argmax(axis=1), score.argmax(axis=0)
    return tuple((i, int(of_a[i])) for i in range(n) if of_b[of_a[i]] == i)


def in_order(similar: np.ndarray) -> np.ndarray:
    """(n, m) -> (n,) where each word of a would stand in b, in the alignment without crossings of most
    similarity.

    A dynamic programme without a price for gaps, so that a row's recurrence is a running maximum; words in
    gaps are placed evenly between their neighbours.
    """
    n, m = similar.shape
    gain = np.maximum(similar, 0.0)
    best = np.zeros((n + 1, m + 1))
    for i in range(n):
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, :-1] + gain[i], best[i, 1:]))
    pairs = [(n, m)]
    i, j = n, m
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    places = np.array([(-1, -1), *reversed(pairs)], dtype=np.float64)
    return np.interp(np.arange(n), places[:, 0], places[:, 1])


def _is_function(aligner: Any) -> bool:
    """A plain function, rather than a model, which may be callable too."""
    return callable(aligner) and not hasattr(aligner, "forward")


def _vectors(encode: WordVectors, words: Sequence[str]) -> np.ndarray:
    vectors = np.asarray(encode(list(words)))
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise InvalidArgumentError(
            f"contrast_aligner gave an array of shape {vectors.shape} for {len(words)} words: expected "
            f"({len(words)}, D), "
            "one vector a word."
        )
    return vectors


def _embeddings(adapter: ModelAdapter, ids: Sequence[int], words: Words) -> np.ndarray:
    """(n, D) mean embedding of each word's tokens, as it differs from the vocabulary's mean."""
    embedded = adapter.to_numpy(adapter.embed(adapter.as_array(np.asarray(ids, dtype=np.int64)), "target"))
    centre = adapter.to_numpy(adapter.embedding_matrix("target").mean(0))
    return np.stack([(embedded[list(tokens)] - centre).mean(axis=0) for tokens in words.tokens])


def _token_pairs(a: Words, b: Words, words: Pairs) -> list[tuple[int, int]]:
    """The first token of one word with the first of the other, and so on; what is left over with the last."""
    pairs = []
    for i, j in words:
        last = len(b.tokens[j]) - 1
        pairs += [(token, b.tokens[j][min(k, last)]) for k, token in enumerate(a.tokens[i])]
    return pairs


def _ends(adapter: ModelAdapter, a_ids: Sequence[int], b_ids: Sequence[int]) -> Pairs:
    """Special tokens at the two ends, where they are the same."""
    special = adapter.token_texts(a_ids, "target").special
    pairs = []
    if special[0] and a_ids[0] == b_ids[0]:
        pairs.append((0, 0))
    if special[-1] and a_ids[-1] == b_ids[-1]:
        pairs.append((len(a_ids) - 1, len(b_ids) - 1))
    return tuple(pairs)
