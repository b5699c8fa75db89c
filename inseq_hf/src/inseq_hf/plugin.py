"""What inseq-hf registers: models of Hugging Face transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import inseq_core as ic

FRAMEWORK = "hf_transformers"


@ic.hookimpl
def inseq_model_adapters() -> Iterator[ic.AdapterSpec]:
    """The one adapter, for decoder-only and encoder–decoder models."""
    yield ic.AdapterSpec(
        name=FRAMEWORK,
        factory="inseq_hf.loading:load",
        summary="Hugging Face transformers: a hub id, a folder, or a loaded model.",
        capabilities=frozenset(ic.Capability),
    )


@ic.hookimpl(trylast=True)
def inseq_choose_framework(model: Any) -> str | None:
    """Loaded models of transformers (or PEFT, or compiled), and, after everybody else was asked, any id or path."""
    if isinstance(model, (str, os.PathLike)):
        return FRAMEWORK
    model = getattr(model, "_orig_mod", model)  # what torch.compile(model) wraps
    for kind in type(model).__mro__:
        package = kind.__module__.partition(".")[0]
        if (package, kind.__name__) in (("transformers", "PreTrainedModel"), ("peft", "PeftModel")):
            return FRAMEWORK
    return None
