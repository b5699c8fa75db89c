"""Aggregators, aggregation functions and viewers that are broken in one way each, beside sound ones."""

from __future__ import annotations

import html
import itertools
from typing import Any

import attrs
import numpy as np
from support.mutants.record import Mutant, looked_at

import inseq_core as ic
from inseq_core.data.scores import ScoreMeaning


@attrs.frozen(kw_only=True)
class Sound:
    """Leaves everything as it is.

    Args:
        factor: of the scores.
    """

    factor: float = attrs.field(default=1.0, validator=attrs.validators.instance_of(float))

    def aggregate(self, attribution: Any) -> Any:
        """The same attribution."""
        return attrs.evolve(attribution)


class Undocumented(Sound):
    """Leaves everything as it is."""


@attrs.define(kw_only=True)
class Changeable:
    """A parameter that can be changed later.

    Args:
        factor: of the scores.
    """

    factor: float = attrs.field(default=1.0, validator=attrs.validators.instance_of(float))

    def aggregate(self, attribution: Any) -> Any:
        return attribution


@attrs.frozen(kw_only=True)
class TakesAnything(Sound):
    """A parameter without a validator.

    Args:
        factor: of the scores.
        mode: not looked at.
    """

    mode: Any = None


class GivesAnArray(Sound):
    def aggregate(self, attribution: Any) -> Any:
        return attribution.target_attributions


class WritesIntoItsInput(Sound):
    def aggregate(self, attribution: Any) -> Any:
        for scores in (attribution.source_attributions, attribution.target_attributions):
            if scores is not None:
                scores.setflags(write=True)
                scores += 1
        return attribution


class FillsWithZeros(Sound):
    def aggregate(self, attribution: Any) -> Any:
        scores = attribution.target_attributions
        if scores is None:
            return attribution
        return attrs.evolve(attribution, target_attributions=np.nan_to_num(scores))


class DropsStepScores(Sound):
    def aggregate(self, attribution: Any) -> Any:
        return attrs.evolve(attribution, step_scores={})


class ClaimsToBeComplete(Sound):
    def aggregate(self, attribution: Any) -> Any:
        return attrs.evolve(attribution, meaning=ScoreMeaning(signed=True, additive=True, complete=True))


class Remembers(Sound):
    counter = itertools.count(1)

    def aggregate(self, attribution: Any) -> Any:
        scores = attribution.target_attributions
        if scores is None:
            return attribution
        return attrs.evolve(attribution, target_attributions=scores * next(self.counter))


class EatsItsTail(Sound):
    def aggregate(self, attribution: Any) -> Any:
        if attribution.n_steps < 2:
            return attribution
        source, target = attribution.source_attributions, attribution.target_attributions
        return attrs.evolve(
            attribution,
            source_attributions=None if source is None else source[:, :-1],
            target_attributions=None if target is None else target[:, :-1],
            step_scores={name: values[:-1] for name, values in attribution.step_scores.items()},
            attr_pos_end=attribution.attr_pos_end - 1,
        )


AGGREGATOR = ic.AggregatorSpec(name="sound", factory=Sound, summary="Leaves everything as it is.")


def aggregator(factory: Any = Sound, **changes: Any) -> Any:
    """An aggregator under test."""
    return lambda: looked_at("aggregators", attrs.evolve(AGGREGATOR, factory=factory, **changes))


AGGREGATORS = (
    Mutant(
        check="it_loads", defect="a lazy path that leads nowhere", make=aggregator("inseq_core.axes:Sound")
    ),
    Mutant(
        check="parameters_are_documented", defect="a parameter without a word", make=aggregator(Undocumented)
    ),
    Mutant(check="parameters_are_frozen", defect="a class that can be changed", make=aggregator(Changeable)),
    Mutant(
        check="parameters_are_validated",
        defect="a parameter that takes anything",
        make=aggregator(TakesAnything),
    ),
    Mutant(check="it_gives_an_attribution", defect="gives the array alone", make=aggregator(GivesAnArray)),
    Mutant(
        check="the_input_is_not_changed",
        defect="adds to the input's own array",
        make=aggregator(WritesIntoItsInput),
    ),
    Mutant(check="later_tokens_stay_empty", defect="zeros in place of NaN", make=aggregator(FillsWithZeros)),
    Mutant(check="step_scores_are_kept", defect="step scores dropped", make=aggregator(DropsStepScores)),
    Mutant(
        check="meaning_is_not_invented", defect="claims to be complete", make=aggregator(ClaimsToBeComplete)
    ),
    Mutant(check="same_input_gives_same_numbers", defect="counts its calls", make=aggregator(Remembers)),
    Mutant(check="positions_settle", defect="drops the last step each time", make=aggregator(EatsItsTail)),
)


def nansum(array: Any, axis: int) -> Any:
    """The sum, NaN ignored, NaN where there is nothing."""
    return np.where(np.isnan(array).all(axis=axis), np.nan, np.nansum(array, axis=axis))


def last_axis(array: Any, axis: int) -> Any:
    """The sum over the last axis, whichever was asked for."""
    return nansum(array, -1)


def plain_sum(array: Any, axis: int) -> Any:
    """The sum, NaN included."""
    return array.sum(axis=axis)


def in_place(array: Any, axis: int) -> Any:
    """The sum; the array is not what it was."""
    total = nansum(array, axis)
    array *= 2
    return total


def largest(array: Any, axis: int) -> Any:
    """The largest value."""
    return np.fmax.reduce(array, axis=axis)


FUNCTION = ic.AggregationFunctionSpec(name="sound", function=nansum, summary="The sum.", additive=True)


def function(path: Any = nansum, **changes: Any) -> Any:
    """An aggregation function under test."""
    return lambda: looked_at("aggregation_functions", attrs.evolve(FUNCTION, function=path, **changes))


FUNCTIONS = (
    Mutant(
        check="function_loads",
        defect="a lazy path that leads nowhere",
        make=function("inseq_core.axes:sound"),
    ),
    Mutant(check="the_axis_is_removed", defect="always the last axis", make=function(last_axis)),
    Mutant(check="nan_is_ignored", defect="NaN spreads", make=function(plain_sum)),
    Mutant(check="function_leaves_its_input", defect="doubles the array in place", make=function(in_place)),
    Mutant(
        check="additive_means_linear", defect="the largest value, declared additive", make=function(largest)
    ),
    Mutant(
        check="unsigned_means_not_negative", defect="a sum, declared unsigned", make=function(signed=False)
    ),
)


@attrs.frozen(kw_only=True)
class SoundViewer:
    """A page of tokens.

    Args:
        title: above them.
    """

    title: str = ""

    def shown(self, token: Any) -> str:
        return html.escape(str(token)).replace("\x1b", "␛")

    def tokens(self, sequence: Any) -> list[Any]:
        return [*sequence.source, *sequence.target]

    def render(self, attributions: Any) -> Any:
        """The page."""
        texts = [" ".join(self.shown(t) for t in self.tokens(s)) for s in attributions]
        return f"<html><h1>{self.title}</h1>{'<br>'.join(texts)}</html>"


class UndocumentedViewer(SoundViewer):
    """A page of tokens."""


@attrs.define(kw_only=True)
class ChangeableViewer:
    """A page of tokens.

    Args:
        title: above them.
    """

    title: str = ""

    def render(self, attributions: Any) -> Any:
        return "page"


class DrawsNothing(SoundViewer):
    def render(self, attributions: Any) -> Any:
        return None


class Prints(SoundViewer):
    def render(self, attributions: Any) -> Any:
        page = super().render(attributions)
        print(page)
        return page


class SortsInPlace(SoundViewer):
    def render(self, attributions: Any) -> Any:
        for sequence in attributions:
            if sequence.target_attributions is not None:
                sequence.target_attributions.setflags(write=True)
                sequence.target_attributions.sort(axis=0)
        return super().render(attributions)


class LeavesOutTheEnd(SoundViewer):
    def tokens(self, sequence: Any) -> list[Any]:
        return super().tokens(sequence)[:-1]


class DoesNotEscape(SoundViewer):
    def shown(self, token: Any) -> str:
        return str(token)


class TakesMarkup(SoundViewer):
    def shown(self, token: Any) -> str:
        return str(token).replace("\x1b", "").replace("[bold]", "").replace("[/bold]", "")


class LetsControlCodesThrough(SoundViewer):
    def shown(self, token: Any) -> str:
        return str(token)


VIEWER = ic.ViewerSpec(name="sound", factory=SoundViewer, summary="A page of tokens.", media="html")


def viewer(factory: Any = SoundViewer, **changes: Any) -> Any:
    """A viewer under test."""
    return lambda: looked_at("viewers", attrs.evolve(VIEWER, factory=factory, **changes))


VIEWERS = (
    Mutant(check="it_loads", defect="a lazy path that leads nowhere", make=viewer("inseq_core.axes:Sound")),
    Mutant(
        check="parameters_are_documented",
        defect="a parameter without a word",
        make=viewer(UndocumentedViewer),
    ),
    Mutant(
        check="parameters_are_frozen", defect="a class that can be changed", make=viewer(ChangeableViewer)
    ),
    Mutant(check="it_draws_every_result", defect="gives nothing", make=viewer(DrawsNothing)),
    Mutant(check="nothing_is_printed", defect="prints what it draws", make=viewer(Prints)),
    Mutant(
        check="the_input_is_not_changed", defect="sorts the result's own array", make=viewer(SortsInPlace)
    ),
    Mutant(check="every_token_is_shown", defect="leaves out the last token", make=viewer(LeavesOutTheEnd)),
    Mutant(
        check="hostile_tokens_stay_text",
        defect="a page whose tokens are not escaped",
        make=viewer(DoesNotEscape),
    ),
    Mutant(
        check="hostile_tokens_stay_text",
        defect="a terminal text whose tokens are taken for markup",
        make=viewer(TakesMarkup, media="terminal"),
    ),
    Mutant(
        check="hostile_tokens_stay_text",
        defect="a terminal text with control codes of tokens",
        make=viewer(LetsControlCodesThrough, media="terminal"),
    ),
)
