"""The toy models that checks run things on, and the texts that they run.

Each toy comes as a language model and as a translator, in numpy (scores only) and in torch (a linear one and a
transformer). Outputs are given, so that nothing depends on what a toy would write; their lengths differ, so that
batches are padded.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from inseq_core.hooks import Capability
from inseq_core.testing.words import WordReader

SCORES_ONLY = frozenset({Capability.SCORES, Capability.GENERATE})


@attrs.frozen(kw_only=True)
class Example:
    """A text and the output to explain; for language models the output begins with the text."""

    text: str
    output: str


CONTINUATIONS = (
    Example(text="the dog sees", output="the dog sees a small red cat"),
    Example(text="she", output="she likes it ."),
)
TRANSLATIONS = (
    Example(text="the dog sees a cat", output="it hears the man"),
    Example(text="she likes", output="he was"),
)


@attrs.frozen(kw_only=True)
class Toy:
    """A kind of toy model.

    Attributes:
        label: what messages call it.
        make: gives a new one.
        capabilities: what it can do.
        is_linear: its logits are linear in its embeddings.
        is_torch: a torch model.
        examples: texts for it.
    """

    label: str
    make: Callable[[], WordReader] = attrs.field(repr=False)
    capabilities: frozenset[Capability] = attrs.field(repr=False)
    is_linear: bool = False
    is_torch: bool = False
    examples: tuple[Example, ...] = attrs.field(repr=False)

    @property
    def is_encoder_decoder(self) -> bool:
        """A translator."""
        return self.examples is TRANSLATIONS


def _bag(is_encoder_decoder: bool) -> WordReader:
    from inseq_core.testing.toys import BagModel

    return BagModel(is_encoder_decoder=is_encoder_decoder)


def _torch_toy(kind: str, is_encoder_decoder: bool) -> WordReader:
    from inseq_core.testing import torch_toys

    return torch_toys.TorchToy(getattr(torch_toys, kind), is_encoder_decoder=is_encoder_decoder)


def _pair(label: str, make: Callable[[bool], WordReader], **facts: Any) -> tuple[Toy, Toy]:
    """The language model and the translator of a kind."""
    return (
        Toy(label=f"the {label} language model", make=lambda: make(False), examples=CONTINUATIONS, **facts),
        Toy(label=f"the {label} translator", make=lambda: make(True), examples=TRANSLATIONS, **facts),
    )


@functools.cache
def all_toys() -> tuple[Toy, ...]:
    """Every kind of toy that can be made here, simplest first; without torch, those in numpy."""
    found = [*_pair("numpy", _bag, capabilities=SCORES_ONLY, is_linear=True)]
    if importlib.util.find_spec("torch") is not None:
        slopes = SCORES_ONLY | {Capability.GRADIENTS}
        pooled, attention = (
            functools.partial(_torch_toy, kind) for kind in ("PooledModel", "AttentionModel")
        )
        found += _pair("linear torch", pooled, capabilities=slopes, is_linear=True, is_torch=True)
        found += _pair("attention", attention, capabilities=frozenset(Capability), is_torch=True)
    return tuple(found)


def toys_for(needs: Iterable[Capability]) -> tuple[Toy, ...]:
    """The kinds of toy that can do what is needed, simplest first."""
    wanted = frozenset(needs)
    return tuple(toy for toy in all_toys() if wanted <= toy.capabilities)
