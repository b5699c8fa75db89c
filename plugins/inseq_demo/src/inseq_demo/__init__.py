"""Two tiny models that work anywhere: a gender-marking translator and a language model.

Importing this imports no framework; the folders below hold what ``from_pretrained`` of transformers loads.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["demo_en_fr_path", "demo_lm_path"]

_MODELS = Path(__file__).resolve().parent / "models"


def demo_en_fr_path() -> Path:
    """The folder of ``demo-en-fr``, a Marian translator from English to French."""
    return _MODELS / "demo-en-fr"


def demo_lm_path() -> Path:
    """The folder of ``demo-lm``, a GPT-2 language model."""
    return _MODELS / "demo-lm"
