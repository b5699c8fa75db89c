"""Checks of step functions: one number a step, of that step alone, and the derivative it claims to have.

Axes: R rows, V vocabulary, T steps of one text.
"""

from __future__ import annotations

import math
import re
from typing import Any

import attrs
import numpy as np

from inseq_core.hooks import Capability, aggregation_functions, aggregators
from inseq_core.hooks.kinds import STEP_FUNCTIONS
from inseq_core.testing.checks import NotApplicable, check_of, demand, refuse
from inseq_core.testing.compare import changed, same
from inseq_core.testing.descriptions import must_document, must_load
from inseq_core.testing.examples import toys_for
from inseq_core.testing.registered import GRADIENT, LEAVE_ONE_OUT
from inseq_core.testing.state import model_state, random_state, stir_random_state
from inseq_core.testing.step_functions import StepFunctionUnderTest, with_logits

KIND = STEP_FUNCTIONS.key


@check_of(KIND)
def it_loads(function: StepFunctionUnderTest) -> None:
    """Its lazy path leads to a function.

    Listing works without importing it, so a wrong path is found only when somebody wants to use it.
    """
    must_load(function)


@check_of(KIND)
def its_definition_is_given(function: StepFunctionUnderTest) -> None:
    """It has a formula, or names the paper that has it.

    A number that nobody can look up the definition of cannot be published.
    """
    has_one = bool(function.spec.formula.strip() or function.spec.paper.strip())
    demand(has_one, "the spec has neither formula nor paper")


@check_of(KIND)
def parameters_are_documented(function: StepFunctionUnderTest) -> None:
    """Every parameter of its own has a sentence of its own.

    It is what `inseq explain` and the documentation show.
    """
    must_document(function.entry.load())


@check_of(KIND)
def its_aggregation_exists(function: StepFunctionUnderTest) -> None:
    """Its aggregate map names aggregators and aggregation functions that exist.

    Otherwise merging words fails after the work is done.
    """
    for aggregator, name in function.spec.aggregate_map.items():
        demand(aggregator in aggregators(), f"aggregate_map: there is no aggregator {aggregator!r}")
        demand(name in aggregation_functions(), f"aggregate_map: there is no aggregation function {name!r}")


@check_of(KIND)
def one_number_a_step(function: StepFunctionUnderTest) -> None:
    """It gives one finite number for each step, on language models and translators.

    Anything else would be broadcast, or shift the numbers by a step.
    """
    for toy in function.toys():
        for i, values in enumerate(function.together(toy)):
            demand(values.ndim == 1 and len(values) > 0, f"{toy.label}, text {i}: shape {values.shape}")
            demand(bool(np.isfinite(values).all()), f"{toy.label}, text {i}: NaN or infinity")


@check_of(KIND)
def every_framework_is_served(function: StepFunctionUnderTest) -> None:
    """It works on numpy arrays as on torch tensors, and gives the same numbers for the same logits.

    Models of other frameworks hand out their own arrays; array_api_compat makes one function serve all. One that
    cannot says so by a CapabilityError.
    """
    if function.spec.needs - {Capability.SCORES, Capability.GENERATE}:
        raise NotApplicable("it needs more than scores")
    numpy_toy, *others = [toy for toy in toys_for(function.spec.needs) if not toy.is_encoder_decoder]
    if not function._is_taken(numpy_toy):
        raise NotApplicable("it refuses models that give scores only")
    function.values(numpy_toy.make(), numpy_toy.examples)
    torch_toys = [toy for toy in others if toy.is_torch]
    if not torch_toys or function.spec.prepare is not None:
        return
    adapter = torch_toys[0].make()
    bound, args = function.given(adapter, torch_toys[0].examples)
    plain = with_logits(args, adapter.to_numpy(args.forward_output.logits))
    plain = attrs.evolve(plain, call=attrs.evolve(args.call, adapter=numpy_toy.make()))
    same(bound(plain), adapter.to_numpy(bound(args)), "numpy arrays in place of torch tensors")


@check_of(KIND)
def alone_equals_in_a_batch(function: StepFunctionUnderTest) -> None:
    """A text gets the same values alone and beside another one.

    Padding may not be seen, and rows of other texts are none of its business.
    """
    for toy in function.toys():
        together = function.together(toy)
        for i in range(len(together)):
            (alone,) = function.values(toy.make(), toy.examples, [i])
            same(alone, together[i], f"{toy.label}: text {i} alone")


def not_rowwise(function: StepFunctionUnderTest) -> str:
    """Why rows may be mixed."""
    return "" if function.spec.rowwise else "it does not say that rows are kept apart"


@check_of(KIND, unless=not_rowwise)
def rows_are_kept_apart(function: StepFunctionUnderTest) -> None:
    """Declared row-wise, a row's value is the same alone and among others.

    The engine relies on it: all steps of all texts are rows of one call.
    """
    for toy in function.toys():
        adapter = toy.make()
        bound, args = function.given(adapter, toy.examples)
        among = adapter.to_numpy(bound(args))
        for row in range(len(args.grid)):
            alone = adapter.to_numpy(bound(args.row(row)))
            same(alone, among[row : row + 1], f"{toy.label}: row {row} alone")


@check_of(KIND)
def what_it_is_given_is_not_changed(function: StepFunctionUnderTest) -> None:
    """Logits and ids are the same after it as before.

    They are shared: the next function, and the model's gradient, read them too.
    """
    for toy in function.toys():
        adapter = toy.make()
        bound, args = function.given(adapter, toy.examples)
        logits = np.array(adapter.to_numpy(args.forward_output.logits))
        ids = args.batch.target_ids.copy()
        bound(args)
        is_same = np.array_equal(logits, adapter.to_numpy(args.forward_output.logits))
        demand(is_same, f"{toy.label}: the logits were changed in place")
        demand(np.array_equal(ids, args.batch.target_ids), f"{toy.label}: the ids were changed in place")


@check_of(KIND)
def values_lie_in_the_range(function: StepFunctionUnderTest) -> None:
    """Its values lie in the range that its spec gives.

    Views, thresholds and users take it at its word.
    """
    for toy in function.toys():
        size = toy.make().profile.vocabulary_size
        sets = intervals(function.spec.range, size)
        if not sets:
            raise NotApplicable(f"its range is not given as intervals: {function.spec.range!r}")
        for values in function.together(toy):
            slack = 1e-6 * max(1.0, float(np.abs(values).max()))
            inside = [(values >= low - slack) & (values <= high + slack) for low, high in sets]
            outside = values[~np.logical_or.reduce(inside)]
            demand(not len(outside), f"{toy.label}: {outside[:1]} is not in {function.spec.range}")


_BOUNDS = re.compile(r"[\[(]\s*([^,\[\]()]+),\s*([^,\[\]()]+)\s*[\])]|\{\s*([^,{}]+),\s*…,\s*([^,{}]+)\s*\}")


def intervals(text: str, vocabulary: int) -> list[tuple[float, float]]:
    """The intervals that a range names (``[0, ln V]``, ``{1, …, V}``); those with other words are left out."""
    words = {"V": float(vocabulary), "ln V": math.log(vocabulary), "log2 V": math.log2(vocabulary)}
    found = []
    for match in _BOUNDS.finditer(text.replace("∞", "inf")):
        bounds = [part.strip() for part in match.groups() if part is not None]
        try:
            low, high = (words[bound] if bound in words else float(bound) for bound in bounds)
        except ValueError:
            continue
        found.append((low, high))
    return found


def not_differentiable(function: StepFunctionUnderTest) -> str:
    """Why it need not have a derivative."""
    return "" if function.spec.differentiable else "it declares that it has no derivative"


@check_of(KIND, unless=not_differentiable)
def its_gradient_is_the_derivative(function: StepFunctionUnderTest) -> None:
    """Declared differentiable, its gradient with respect to the logits is what small changes of them give.

    A detached graph, or a part of it that was left out, gives gradient methods wrong numbers without a word.
    """
    toys = [toy for toy in function.toys() if toy.is_torch]
    if not toys:
        raise NotApplicable("there is no torch to differentiate with")
    for toy in toys[:2]:
        bound, args = function.given(toy.make(), toy.examples)
        _check_gradient(bound, args, toy.label)


def _check_gradient(bound: Any, args: Any, label: str) -> None:
    import torch

    logits = args.forward_output.logits.detach().clone().double()
    leaf = logits.clone().requires_grad_()
    values = bound(with_logits(args, leaf))
    demand(bool(values.requires_grad), f"{label}: the graph is detached, so there is no gradient")
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    size = 1e-5
    with torch.no_grad():
        ahead, behind = (bound(with_logits(args, logits + s * direction)) for s in (size, -size))
    slope = (ahead - behind) / (2 * size)
    along = (gradient * direction).sum(dim=(1, 2))
    same(along, slope, f"{label}: gradient along a random direction", tolerance=1e-4)


@check_of(KIND)
def same_call_gives_same_numbers(function: StepFunctionUnderTest) -> None:
    """Two calls with one seed give the same values, whatever was drawn elsewhere in between.

    Draws derive from the seed of the call; the process's global generators are everybody's.
    """
    for toy in function.toys():
        first = function.together(toy)
        stir_random_state(12345)
        for i, values in enumerate(function.values(toy.make(), toy.examples)):
            same(values, first[i], f"{toy.label}: text {i}, the same call again")


@check_of(KIND)
def the_model_is_left_as_it_was(function: StepFunctionUnderTest) -> None:
    """Model and global generators are the same after a call.

    A function that runs the model again may leave its mode, or its dropout, changed.
    """
    for toy in function.toys()[-2:]:
        adapter: Any = toy.make()
        if toy.is_torch:
            adapter.model.train()
        before = {"model": model_state(adapter), "generators": random_state()}
        function.values(adapter, toy.examples)
        after = {"model": model_state(adapter), "generators": random_state()}
        found = [where.removeprefix("it.") for where in changed(before, after)]
        if found:
            refuse(f"{toy.label}: changed {', '.join(found[:4])}")


@check_of(KIND)
def it_can_be_explained(function: StepFunctionUnderTest) -> None:
    """It serves as what is explained: by removal, and by gradients where it declares a derivative.

    Step scores and attributed functions are the same functions.
    """
    for toy in function.toys():
        methods = [LEAVE_ONE_OUT]
        if function.spec.differentiable and Capability.GRADIENTS in toy.capabilities:
            methods.append(GRADIENT)
        for method in methods:
            for sequence in function.explained(toy.make(), toy.examples, method):
                for scores in (sequence.source_attributions, sequence.target_attributions):
                    if scores is not None:
                        is_there = bool(np.isfinite(scores).any())
                        demand(is_there, f"{toy.label}, {method.summary} no finite scores")


CHECKS = (
    it_loads,
    its_definition_is_given,
    parameters_are_documented,
    its_aggregation_exists,
    one_number_a_step,
    every_framework_is_served,
    alone_equals_in_a_batch,
    rows_are_kept_apart,
    what_it_is_given_is_not_changed,
    values_lie_in_the_range,
    its_gradient_is_the_derivative,
    same_call_gives_same_numbers,
    the_model_is_left_as_it_was,
    it_can_be_explained,
)
