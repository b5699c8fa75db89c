"""Aggregators, aggregation functions and viewers under test."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.errors import InseqWarning, InvalidArgumentError
from inseq_core.hooks import Entry
from inseq_core.hooks.parameters import parameters_of
from inseq_core.run.binding import construct
from inseq_core.testing.checks import refuse, word_for
from inseq_core.testing.samples import Sample, samples

_ATTRIBUTION = FeatureAttributionSequenceOutput.__name__


class UnderTest:
    """Something with parameters, from its entry.

    Args:
        entry: its spec, and who provides it.
        arguments: its parameters in every use by the kit.
    """

    def __init__(self, entry: Entry[Any], arguments: Mapping[str, Any] | None = None) -> None:
        self.entry = entry
        self.arguments = {**getattr(entry.spec, "trial", {}), **(arguments or {})}

    @property
    def name(self) -> str:
        """Its id."""
        return self.entry.name

    @property
    def spec(self) -> Any:
        """What it declares."""
        return self.entry.spec

    @property
    def title(self) -> str:
        """What reports call it."""
        return f"{word_for(self.entry.kind.key)} {self.name!r} ({self.entry.provenance})"

    def factory(self) -> Callable[..., Any]:
        """What is behind the spec."""
        loaded: Callable[..., Any] = self.entry.load()
        return loaded


class AggregatorUnderTest(UnderTest):
    """An aggregator, on samples that it takes."""

    def made(self, attribution: FeatureAttributionSequenceOutput, **changes: Any) -> Any:
        """The aggregator; a parameter that wants another attribution is given this one."""
        partners = {
            parameter.name: attribution
            for parameter in parameters_of(self.factory())
            if _ATTRIBUTION in parameter.type
        }
        return construct(self.title, self.factory(), {**partners, **self.arguments, **changes})

    def aggregate(self, attribution: FeatureAttributionSequenceOutput, **changes: Any) -> Any:
        """What it makes of an attribution, warnings left out."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InseqWarning)
            return self.made(attribution, **changes).aggregate(attribution)

    def results(self) -> Iterator[tuple[Sample, Any]]:
        """Samples and what it makes of them; those that it refuses by a typed error are left out.

        Raises:
            CheckFailure: it refuses all.
        """
        found = []
        for sample in samples():
            try:
                found.append((sample, self.aggregate(sample.attribution)))
            except InvalidArgumentError:
                continue
        if not found:
            refuse("every sample is refused")
        yield from found


class ViewerUnderTest(UnderTest):
    """A viewer with its arguments."""

    def render(self, attributions: Any) -> Any:
        """What it draws, warnings left out."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return construct(self.title, self.factory(), self.arguments).render(attributions)
