"""Checks of aggregators and aggregation functions: pure, of the right shape, and honest about what they know.

Axes: S source positions, L target positions, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.errors import InvalidArgumentError
from inseq_core.hooks.kinds import AGGREGATION_FUNCTIONS, AGGREGATORS
from inseq_core.testing.aggregators import AggregatorUnderTest, UnderTest
from inseq_core.testing.checks import NotApplicable, check_of, demand, refuse
from inseq_core.testing.compare import changed, same, same_attribution, snapshot
from inseq_core.testing.descriptions import must_be_frozen, must_document, must_load, must_refuse_nonsense
from inseq_core.testing.samples import samples

AGGREGATOR, FUNCTION = AGGREGATORS.key, AGGREGATION_FUNCTIONS.key


@check_of(AGGREGATOR)
def it_loads(aggregator: AggregatorUnderTest) -> None:
    """Its lazy path leads to a class with aggregate(attribution).

    Listing works without importing it, so a wrong path is found only when somebody wants to use it.
    """
    must_load(aggregator, "aggregate")


@check_of(AGGREGATOR)
def parameters_are_documented(aggregator: AggregatorUnderTest) -> None:
    """Every parameter has a sentence of its own.

    It is what `inseq explain` and the documentation show.
    """
    must_document(aggregator.factory())


@check_of(AGGREGATOR)
def parameters_are_frozen(aggregator: AggregatorUnderTest) -> None:
    """Its parameters cannot be changed after they were checked.

    One aggregator is used on many texts; what it does to one may not depend on the last.
    """
    first = aggregator.made(samples()[0].attribution)
    fields = {name: getattr(first, name) for name in _fields(first)}
    must_be_frozen(aggregator.factory(), fields)


def _fields(instance: Any) -> list[str]:
    import attrs

    demand(
        attrs.has(type(instance)),
        f"{type(instance).__name__} is no attrs class: use @attrs.frozen(kw_only=True)",
    )
    return [field.alias or field.name for field in attrs.fields(type(instance)) if field.init]


@check_of(AGGREGATOR)
def parameters_are_validated(aggregator: AggregatorUnderTest) -> None:
    """A value that makes no sense is refused by a typed error.

    A wrong value that passes would be a wrong number; a bare exception says nothing to a user.
    """

    def run(arguments: dict[str, Any]) -> None:
        for sample in samples():
            aggregator.aggregate(sample.attribution, **arguments)

    must_refuse_nonsense(aggregator, aggregator.factory(), run)


@check_of(AGGREGATOR)
def it_gives_an_attribution(aggregator: AggregatorUnderTest) -> None:
    """It gives an attribution whose arrays, tokens and positions fit each other.

    Everything that follows (views, files, other aggregators) takes one.
    """
    for sample, result in aggregator.results():
        is_one = isinstance(result, FeatureAttributionSequenceOutput)
        demand(is_one, f"{sample.label}: gave {type(result).__name__}")


@check_of(AGGREGATOR)
def the_input_is_not_changed(aggregator: AggregatorUnderTest) -> None:
    """What it was given is the same afterwards.

    The same result is shown, saved and aggregated in other ways.
    """
    for sample in samples():
        before = snapshot(sample.attribution)
        try:
            aggregator.aggregate(sample.attribution)
        except InvalidArgumentError:
            continue
        found = list(changed(before, snapshot(sample.attribution)))
        demand(not found, f"{sample.label}: {', '.join(found[:3])} was changed")


@check_of(AGGREGATOR)
def later_tokens_stay_empty(aggregator: AggregatorUnderTest) -> None:
    """What stands behind a step has no score after it, and what stands before it still has one.

    NaN says that the model had not seen a token yet; a zero, or a number, would say something else.
    """
    for sample, result in aggregator.results():
        scores = result.target_attributions
        if scores is None:
            continue
        for step in range(result.n_steps):
            at = result.attr_pos_start + step
            behind, before = scores[at + 1 :, step], scores[:at, step]
            demand(bool(np.isnan(behind).all()), f"{sample.label}: step {step} has scores of later tokens")
            demand(not np.isnan(before).any(), f"{sample.label}: step {step} lost scores of earlier tokens")


@check_of(AGGREGATOR)
def step_scores_are_kept(aggregator: AggregatorUnderTest) -> None:
    """Every step score is still there, one value a step.

    They are shown below the steps.
    """
    for sample, result in aggregator.results():
        lost = sorted(set(sample.attribution.step_scores) - set(result.step_scores))
        demand(not lost, f"{sample.label}: step scores {lost} are gone")


@check_of(AGGREGATOR)
def meaning_is_not_invented(aggregator: AggregatorUnderTest) -> None:
    """Scores that could not be added up before cannot be afterwards.

    What scores mean decides which sums, colours and warnings follow.
    """
    import attrs

    from inseq_core.data.scores import ScoreMeaning

    for sample in samples():
        modest = attrs.evolve(sample.attribution, meaning=ScoreMeaning(signed=True))
        try:
            result = aggregator.aggregate(modest)
        except InvalidArgumentError:
            continue
        for claim in ("additive", "complete"):
            demand(not getattr(result.meaning, claim), f"{sample.label}: the result claims to be {claim}")


@check_of(AGGREGATOR)
def same_input_gives_same_numbers(aggregator: AggregatorUnderTest) -> None:
    """Applied twice to one attribution, it gives the same.

    A pure function of its input: nothing is remembered from one text to the next.
    """
    for (sample, first), (_, second) in zip(aggregator.results(), aggregator.results(), strict=True):
        same_attribution(second, first, f"{sample.label}, again")


@check_of(AGGREGATOR)
def positions_settle(aggregator: AggregatorUnderTest) -> None:
    """Applied to its own result, it moves no position.

    What is merged or cut already cannot be merged or cut once more.
    """
    if aggregator.arguments:
        raise NotApplicable("its arguments name positions of the first input")
    for sample, result in aggregator.results():
        try:
            again = aggregator.aggregate(result)
        except InvalidArgumentError:
            continue
        first = (result.attr_pos_start, result.attr_pos_end, len(result.source), len(result.target))
        second = (again.attr_pos_start, again.attr_pos_end, len(again.source), len(again.target))
        demand(first == second, f"{sample.label}: positions {first} became {second}")


# -- aggregation functions --------------------------------------------------------------------------------------------


def _arrays() -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    for shape in ((5,), (3, 4), (2, 3, 4)):
        yield generator.normal(size=shape).astype(np.float32)


@check_of(FUNCTION)
def function_loads(function: UnderTest) -> None:
    """Its lazy path leads to a function.

    Listing works without importing it, so a wrong path is found only when somebody wants to use it.
    """
    must_load(function)


@check_of(FUNCTION)
def the_axis_is_removed(function: UnderTest) -> None:
    """It removes the axis that it is asked to, first, last or in the middle.

    Layers, heads, positions and steps are reduced by the same function.
    """
    reduce = function.factory()
    for array in _arrays():
        for axis in range(-array.ndim, array.ndim):
            found = np.asarray(reduce(array, axis))
            expected = np.delete(np.array(array.shape), axis)
            demand(found.shape == tuple(expected), f"axis {axis} of {array.shape} gave shape {found.shape}")
            moved = np.asarray(reduce(np.moveaxis(array, axis, 0), 0))
            same(found, moved, f"axis {axis} of {array.shape}, moved to the front")


@check_of(FUNCTION)
def nan_is_ignored(function: UnderTest) -> None:
    """NaN is no number: it is left out, and what has no number at all stays NaN.

    NaN stands where a token was not seen yet.
    """
    reduce = function.factory()
    (array,) = [a for a in _arrays() if a.ndim == 2]
    spoiled = np.concatenate([array, np.full((3, 2), np.nan, dtype=np.float32)], axis=1)
    same(reduce(spoiled, 1), reduce(array, 1), "with two NaN more in each row")
    spoiled[1] = np.nan
    demand(bool(np.isnan(np.asarray(reduce(spoiled, 1))[1])), "a row of nothing but NaN gave a number")


@check_of(FUNCTION)
def function_leaves_its_input(function: UnderTest) -> None:
    """The array that it is given is the same afterwards.

    It is the result's own.
    """
    reduce = function.factory()
    for array in _arrays():
        before = array.copy()
        reduce(array, 0)
        demand(np.array_equal(before, array), f"an array of shape {array.shape} was changed in place")


def not_additive(function: UnderTest) -> str:
    """Why sums need not stay sums."""
    return "" if function.spec.additive else "it does not say that sums stay sums"


@check_of(FUNCTION, unless=not_additive)
def additive_means_linear(function: UnderTest) -> None:
    """Declared additive, it gives of a sum the sum of what it gives of the parts.

    Only then do scores that add up still add up afterwards.
    """
    reduce = function.factory()
    for array in _arrays():
        other = array[::-1].copy()
        same(reduce(array + other, -1), reduce(array, -1) + reduce(other, -1), "of a sum", tolerance=1e-4)


def keeps_signs(function: UnderTest) -> str:
    """Why numbers may be below zero."""
    return "it says that signs stay" if function.spec.signed else ""


@check_of(FUNCTION, unless=keeps_signs)
def unsigned_means_not_negative(function: UnderTest) -> None:
    """Declared unsigned, it never gives a number below zero.

    Views choose their colours by this.
    """
    reduce = function.factory()
    for array in _arrays():
        if (np.asarray(reduce(array, -1)) < 0).any():
            refuse("a number below zero, though its spec says signed=False")


CHECKS = (
    it_loads,
    parameters_are_documented,
    parameters_are_frozen,
    parameters_are_validated,
    it_gives_an_attribution,
    the_input_is_not_changed,
    later_tokens_stay_empty,
    step_scores_are_kept,
    meaning_is_not_invented,
    same_input_gives_same_numbers,
    positions_settle,
    function_loads,
    the_axis_is_removed,
    nan_is_ignored,
    function_leaves_its_input,
    additive_means_linear,
    unsigned_means_not_negative,
)
