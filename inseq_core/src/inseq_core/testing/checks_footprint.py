"""Checks of what an attribution method leaves behind: nothing, also when something fails in its middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from inseq_core.hooks.kinds import METHODS
from inseq_core.testing.checks import check_of, demand, refuse
from inseq_core.testing.compare import changed, same_attribution
from inseq_core.testing.examples import Toy
from inseq_core.testing.methods import EXPLAINED, MethodUnderTest
from inseq_core.testing.state import model_state, random_state
from inseq_core.testing.words import ToyFailure

KIND = METHODS.key


def _strict_toy(toy: Toy) -> Any:
    """A toy in training mode, one of whose parameters is frozen: a state that has to be kept as it is."""
    adapter: Any = toy.make()
    if toy.is_torch:
        adapter.model.train()
        next(adapter.model.parameters()).requires_grad_(False)
    return adapter


@check_of(KIND)
def the_model_is_left_as_it_was(method: MethodUnderTest) -> None:
    """Numbers, gradients, modes, hooks and attributes of the model are the same after a call.

    The model is the user's; what is left behind would change everything that is done with it later.
    """
    for toy in _rich_toys(method):
        adapter = _strict_toy(toy)
        before = model_state(adapter)
        method.observe(adapter, toy.examples)
        _refuse_changes(before, adapter, toy.label)


@check_of(KIND)
def the_model_is_left_as_it_was_after_a_failure(method: MethodUnderTest) -> None:
    """The same after an exception in the middle of a pass, or in the attributed function.

    A user who interrupts a long call goes on with the same model.
    """
    for toy in _rich_toys(method):
        for label, adapter, options in _failing(method, toy):
            before = model_state(adapter)
            try:
                method.observe(adapter, toy.examples[:1], **options)
            except Exception as error:
                if not _is_asked_for(error):
                    raise
            else:
                refuse(f"{toy.label}: a failure of {label} was hidden, and a result given")
            _refuse_changes(before, adapter, f"{toy.label}, after a failure of {label}")


def _failing(method: MethodUnderTest, toy: Toy) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Toys and options with which a call fails in its middle and at its end."""
    many = 10**9
    trial = toy.make()
    trial.passes_left = many
    calls = Counted()
    counted = calls.function()
    if method.explained != EXPLAINED[0]:
        method.observe(trial, toy.examples[:1])
    else:
        method.observe(trial, toy.examples[:1], attributed_fn=counted)
    passes = many - trial.passes_left
    for at in sorted({passes // 2, passes - 1}) if passes else ():
        adapter = _strict_toy(toy)
        adapter.passes_left = at
        yield f"pass {at + 1} of the model", adapter, {}
    for at in sorted({0, calls.count - 1}) if calls.count else ():
        yield (
            f"evaluation {at + 1} of what is explained",
            _strict_toy(toy),
            {"attributed_fn": Counted(fails_at=at).function()},
        )


@attrs.define
class Counted:
    """The explained function, counting its evaluations; fails at one of them."""

    fails_at: int | None = None
    count: int = 0

    def function(self) -> Callable[..., Any]:
        """The step function."""
        from inseq_core.step_functions.likelihood import logit

        def counted(args: Any) -> Any:
            self.count += 1
            if self.fails_at is not None and self.count > self.fails_at:
                raise ToyFailure("the attributed function failed, as it was asked to")
            return logit(args)

        return counted


def _rich_toys(method: MethodUnderTest) -> tuple[Toy, ...]:
    """The language model and the translator with the most to leave behind."""
    every = method.every_toy()
    richest = {toy.is_encoder_decoder: toy for toy in every}
    return tuple(richest[kind] for kind in sorted(richest))


def _is_asked_for(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ToyFailure):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refuse_changes(before: dict[str, Any], adapter: Any, what: str) -> None:
    found = [where.removeprefix("it.") for where in changed(before, model_state(adapter))]
    if found:
        refuse(
            f"{what}: changed {', '.join(found[:4])}{f' and {len(found) - 4} more' if len(found) > 4 else ''}"
        )


@check_of(KIND)
def training_mode_does_not_show(method: MethodUnderTest) -> None:
    """A model in training mode gives the scores that it gives in evaluation mode.

    Dropout would make every number random.
    """
    for toy in method.toys():
        if toy.is_torch:
            observed = method.observe(_strict_toy(toy), toy.examples)
            expected = method.scored(toy)
            for i in range(len(toy.examples)):
                same_attribution(
                    observed[i], expected[i], f"{toy.label}: text {i} of a model in training mode"
                )


@check_of(KIND)
def global_randomness_is_left_alone(method: MethodUnderTest) -> None:
    """It neither draws from nor seeds the process's global generators.

    A call in the middle of somebody's experiment would change that experiment.
    """
    for toy in method.toys():
        adapter = toy.make()
        before = random_state()
        method.observe(adapter, toy.examples[:1])
        touched = [where.removeprefix("it.") for where in changed(before, random_state())]
        demand(not touched, f"{toy.label}: the global generators of {', '.join(touched)} were used")


CHECKS = (
    the_model_is_left_as_it_was,
    the_model_is_left_as_it_was_after_a_failure,
    training_mode_does_not_show,
    global_randomness_is_left_alone,
)
