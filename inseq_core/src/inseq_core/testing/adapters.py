"""A model adapter under test: a loaded model, and some texts in ids.

Axes: B sequences, S source positions, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.hooks import AdapterSpec, Entry, models
from inseq_core.hooks.kinds import ADAPTERS
from inseq_core.testing.checks import NotApplicable, word_for
from inseq_core.testing.examples import Example

EXAMPLES = (
    Example(text="the dog sees", output="a small cat"),
    Example(text="she", output="likes the dog because it is small"),
)
"""Texts and what follows them (language models) or their outputs (translators); any model can read these."""

PRECISION = {"float16": 0.02, "bfloat16": 0.08}
"""How far logits may be apart for reasons of rounding, relative to the largest; 1e-4 for other types."""


class AdapterUnderTest:
    """An adapter with a model.

    Args:
        entry: its spec, and who provides it; None for an adapter object.
        model: an id, a path, a loaded model, or the adapter itself; loaded when it is first looked at.
        arguments: of the framework's loader, and ``examples``: pairs (text, what follows or its output).
    """

    def __init__(
        self, entry: Entry[AdapterSpec] | None, arguments: Mapping[str, Any] | None = None, model: Any = None
    ) -> None:
        self.entry = entry
        self.model = model
        self.arguments = dict(arguments or {})
        pairs = self.arguments.pop("examples", None)
        self.examples = (
            EXAMPLES if pairs is None else tuple(Example(text=text, output=output) for text, output in pairs)
        )

    @property
    def name(self) -> str:
        """Its id, or its model's."""
        return self.adapter.profile.name if self.entry is None else self.entry.name

    @property
    def title(self) -> str:
        """What reports call it."""
        if self.entry is None:
            return f"adapter {type(self.adapter).__name__} of model {self.adapter.profile.name!r}"
        shown = f" with model {self.model!r}" if self.model is not None else ""
        return f"{word_for(ADAPTERS.key)} {self.name!r}{shown} ({self.entry.provenance})"

    @functools.cached_property
    def adapter(self) -> ModelAdapter:
        """The loaded adapter.

        Raises:
            NotApplicable: no model is known that it could load.
        """
        if isinstance(self.model, ModelAdapter):
            return self.model
        if self.model is None:
            raise NotApplicable("no model is known to load with it: name one (model=…, --model)")
        from inseq_core.model import load_model

        framework = None if self.entry is None else self.entry.name
        return load_model(self.model, framework=framework, **self.arguments).adapter

    @property
    def tolerance(self) -> float:
        """Of logits, relative to the largest."""
        return PRECISION.get(self.adapter.profile.dtype, 1e-4)

    def full(self, example: Example) -> str:
        """The output as the adapter takes it: language models want the whole text."""
        return example.output if self.adapter.is_encoder_decoder else f"{example.text} {example.output}"

    def begun(self, example: Example) -> EncodedText:
        """A text up to where generation starts."""
        given = self.adapter.encode_input(example.text)
        start = self.adapter.start_ids(given)
        source = given.ids if self.adapter.is_encoder_decoder else None
        return EncodedText(
            target_ids=start, source_ids=source, prompt_length=len(start), input_text=given.text
        )

    def forced(self, example: Example) -> EncodedText:
        """A text and its output."""
        given = self.adapter.encode_input(example.text)
        return attrs.evolve(
            self.begun(example), target_ids=self.adapter.encode_output(self.full(example), given)
        )

    def batch(self, texts: Sequence[EncodedText]) -> TokenBatch:
        """Some texts together."""
        return TokenBatch.of(texts, self.adapter.pad_id)

    def logits(self, texts: Sequence[EncodedText], first: int = 1) -> list[np.ndarray]:
        """(steps, V) logits of every target position from ``first`` on, text by text, from one batch."""
        batch = self.batch(texts)
        grid = StepGrid.of(batch, [(first, len(text.target_ids)) for text in texts])
        found = np.asarray(self.adapter.to_numpy(self.adapter.forward_rows(batch, grid).logits))[:, 0]
        return [found[grid.rows_of(i)] for i in range(len(texts))]


def carried_models(framework: str) -> list[str]:
    """Ids of models that plugins carry for a framework."""
    return [entry.name for entry in models().entries() if entry.spec.framework == framework]
