"""What inseq-demo provides: two model ids."""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic


@ic.hookimpl
def inseq_models() -> Iterator[ic.ModelSpec]:
    """The models stored in this package."""
    yield ic.ModelSpec(
        name="demo-en-fr",
        location="inseq_demo:demo_en_fr_path",
        summary="A tiny English-French translator whose articles show the gender that a pronoun gives.",
        framework="hf_transformers",
        task="translation, English to French",
    )
    yield ic.ModelSpec(
        name="demo-lm",
        location="inseq_demo:demo_lm_path",
        summary="A tiny GPT-2 that knows capitals, makes verbs agree and tells short stories.",
        framework="hf_transformers",
        task="text generation, English",
    )
