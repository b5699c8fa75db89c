"""Checks of what an attribution method says of itself and what it gives, whatever its numbers mean.

Axes: R rows, S source positions, L target positions, then the method's trailing axes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from inseq_core.axes import TRAILING_AXES
from inseq_core.hooks import aggregation_functions
from inseq_core.hooks.kinds import METHODS
from inseq_core.run.assemble import ROW_SPECIFIC_NOTES
from inseq_core.testing.checks import check_of, demand, refuse
from inseq_core.testing.compare import same_attribution
from inseq_core.testing.descriptions import must_be_frozen, must_document, must_load, must_refuse_nonsense
from inseq_core.testing.examples import Toy
from inseq_core.testing.methods import Call, MethodUnderTest

KIND = METHODS.key


@check_of(KIND)
def it_loads(method: MethodUnderTest) -> None:
    """Its lazy path leads to a class with attribute(ctx).

    Listing works without importing it, so a wrong path is found only when somebody wants to use it.
    """
    must_load(method, "attribute")


@check_of(KIND)
def its_source_is_named(method: MethodUnderTest) -> None:
    """It names the paper that it follows and what it costs.

    A number that nobody can look up the definition of cannot be published.
    """
    demand(bool(method.spec.paper.strip()), "the spec has no paper: give an address or a citation")
    demand(bool(method.spec.passes.strip()), "the spec does not say what a run costs: give passes")


@check_of(KIND)
def parameters_are_documented(method: MethodUnderTest) -> None:
    """Every parameter has a sentence of its own.

    It is what `inseq explain` and the documentation show.
    """
    must_document(method.factory())


@check_of(KIND)
def parameters_are_frozen(method: MethodUnderTest) -> None:
    """Its parameters cannot be changed after they were checked.

    The result's info records them; a method that changes its own would be recorded wrongly.
    """
    must_be_frozen(method.factory(), method.arguments)


@check_of(KIND)
def parameters_are_validated(method: MethodUnderTest) -> None:
    """A value that makes no sense is refused by a typed error.

    A wrong value that passes would be a wrong number; a bare exception says nothing to a user.
    """
    toy = method.toys()[0]

    def run(arguments: dict[str, Any]) -> None:
        method.observe(toy.make(), toy.examples[:1], arguments=arguments)

    must_refuse_nonsense(method, method.factory(), run)


@check_of(KIND)
def its_aggregation_exists(method: MethodUnderTest) -> None:
    """Its trailing axes are known, and its default aggregation names one function for each.

    Otherwise `out.show()` fails after the work is done.
    """
    axes, functions = method.spec.trailing_axes, method.spec.default_aggregation
    strange = [axis for axis in axes if axis not in TRAILING_AXES]
    demand(not strange, f"trailing axes {strange} are none of {TRAILING_AXES}")
    demand(
        len(functions) == len(axes), f"{len(functions)} aggregation functions for {len(axes)} trailing axes"
    )
    unknown = [name for name in functions if name not in aggregation_functions()]
    demand(not unknown, f"there is no aggregation function {unknown}")


@check_of(KIND)
def shapes_follow_the_spec(method: MethodUnderTest) -> None:
    """On every kind of model it gives scores of the shape that its spec declares.

    Language models and translators, given and generated outputs, with and without the target prefix, in every
    framework that has what it needs.
    """
    for toy in method.every_toy():
        adapter = toy.make()
        for attribute_target in (False, True) if toy.is_encoder_decoder else (False,):
            if attribute_target and not method.attributes_target(adapter):
                continue
            observed = method.observe(adapter, toy.examples, attribute_target=attribute_target)
            for call in observed.calls:
                _check_sides(method, toy, call, attribute_target)
        generated = method.observe(adapter, toy.examples[:1], generated_texts=None)
        demand(len(generated.output) == 1, "one text gave another number of results")
        generated.output.aggregate()


def _check_sides(method: MethodUnderTest, toy: Toy, call: Call, attribute_target: bool) -> None:
    rows = len(call.position)
    for side, values in call.sides.items():
        trailing = values.shape[2:]
        demand(values.shape[0] == rows, f"{toy.label}, {side}: {values.shape[0]} rows, expected {rows}")
        demand(
            len(trailing) == len(method.spec.trailing_axes),
            f"{toy.label}, {side}: trailing axes of sizes {trailing}, its spec names {method.spec.trailing_axes}",
        )
    if toy.is_encoder_decoder and call.sides and not method.spec.one_sided:
        demand("source" in call.sides, f"{toy.label}: no scores of the source")
        demand(
            ("target" in call.sides) == attribute_target,
            f"{toy.label}: target scores although they were not asked for, or none although they were",
        )


@check_of(KIND)
def scores_are_finite(method: MethodUnderTest) -> None:
    """Every score is a finite real number.

    NaN spreads through every sum and norm after it.
    """
    for toy in method.toys():
        for call, row in method.scored(toy).rows():
            for side, values in call.sides.items():
                seen = values[row][call.visible[side][row]]
                demand(
                    bool(np.isfinite(seen).all()), f"{toy.label}, {side}: NaN or infinity among the scores"
                )


@check_of(KIND)
def something_is_scored(method: MethodUnderTest) -> None:
    """Not every score is zero.

    On models whose every token matters, a table of zeros means that something was not connected.
    """
    for toy in method.toys():
        if not any(values.any() for call in method.scored(toy).calls for values in call.sides.values()):
            refuse(f"{toy.label}: all scores are zero")


@check_of(KIND)
def results_can_be_saved(method: MethodUnderTest) -> None:
    """Its results, with everything noted about them, are saved and read again as they were.

    Notes and arguments have to be plain data.
    """
    from inseq_core.data.output import FeatureAttributionOutput

    out = method.together(method.toys()[0]).output
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        out.save(path)
        again = FeatureAttributionOutput.load(path)
    for i, (found, expected) in enumerate(zip(again, out, strict=True)):
        same_attribution(found, expected, f"text {i} read again")
    demand(again.info == out.info, "its info is another when read again")
    for call in method.together(method.toys()[0]).calls:
        for name, value in call.output.notes.items():
            strange = None if name in ROW_SPECIFIC_NOTES else _no_data(value)
            demand(
                strange is None,
                f"notes[{name!r}] holds a {type(strange).__name__}, of which only its name is kept",
            )


def _no_data(value: Any) -> Any:
    """The first thing in a note that is no plain data; None where everything is."""
    if value is None or isinstance(value, (bool, int, float, str)) or hasattr(value, "tolist"):
        return None
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if not isinstance(value, (list, tuple, Set)):
        return value
    return next((found for item in value if (found := _no_data(item)) is not None), None)


CHECKS = (
    it_loads,
    its_source_is_named,
    parameters_are_documented,
    parameters_are_frozen,
    parameters_are_validated,
    its_aggregation_exists,
    shapes_follow_the_spec,
    scores_are_finite,
    something_is_scored,
    results_can_be_saved,
)
