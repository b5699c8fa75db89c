from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from support.tiny_models import tiny_model

import inseq
from inseq_core.hooks import MethodSpec, get_host

PROMPTS = ["Hello ladies", "The nurse met the engineer", "A dog and a"]
ENDS = [" and gentlemen", ", who was late", " cat were sleeping"]
OTHER_ENDS = [" and children", ", who is small", " man was"]


@attrs.frozen
class LeaveOut:
    """What the attributed function loses when one feature goes."""

    def attribute(self, ctx):
        n = len(ctx.features)
        scores = ctx.removal_scores(np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)]))
        return ctx.feature_output((scores[:1] - scores[1:]).T)


@pytest.fixture(autouse=True)
def leave_out() -> Iterator[None]:
    """A method that removes, for the time of a test."""
    spec = MethodSpec(name="leave_out", factory=LeaveOut, summary="Leave one out.", per_text=True)
    get_host().methods.register(spec)
    yield
    get_host().methods.unregister("leave_out")


@pytest.fixture(scope="session")
def load() -> Callable[..., Any]:
    """``load(name)`` gives a tiny model in float64, where equal means equal."""

    def loaded(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
        model, tokenizer = tiny_model(name, dtype=dtype, **options)
        return inseq.load_model(model, tokenizer=tokenizer)

    return loaded


@pytest.fixture(scope="session")
def texts() -> Callable[..., tuple[list[str], list[str], list[str]]]:
    """``texts(model)`` gives inputs, outputs and other outputs, as the model takes them."""

    def given(model: Any, count: int = 3) -> tuple[list[str], list[str], list[str]]:
        begun = [""] * count if model.is_encoder_decoder else PROMPTS[:count]
        outputs = [a + b for a, b in zip(begun, ENDS[:count], strict=True)]
        others = [a + b for a, b in zip(begun, OTHER_ENDS[:count], strict=True)]
        return PROMPTS[:count], outputs, others

    return given
