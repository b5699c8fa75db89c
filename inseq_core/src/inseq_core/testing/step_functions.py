"""A step function under test: evaluated through the pipeline, and by itself on what the pipeline gave it.

Axes: R rows, V vocabulary, T steps of one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.context import AttributionContext
from inseq_core.contracts.step_function import BoundStepFunction, StepFunctionArgs
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError
from inseq_core.hooks import Entry, MethodSpec, StepFunctionSpec
from inseq_core.hooks.kinds import METHODS, STEP_FUNCTIONS
from inseq_core.model import AttributionModel
from inseq_core.testing.checks import refuse, without_warnings, word_for
from inseq_core.testing.examples import Example, Toy, toys_for
from inseq_core.testing.registered import NO_SCORES, registered


class StepFunctionUnderTest:
    """A step function, its arguments, and the toys that it runs on.

    Args:
        entry: its spec, and who provides it.
        arguments: its own; a list has one value for each of the two example texts.
    """

    def __init__(self, entry: Entry[StepFunctionSpec], arguments: Mapping[str, Any] | None = None) -> None:
        self.entry = entry
        self.arguments = {**entry.spec.trial, **(arguments or {})}
        self._kept: dict[str, list[np.ndarray]] = {}

    @property
    def name(self) -> str:
        """Its id."""
        return self.entry.name

    @property
    def title(self) -> str:
        """What reports call it."""
        return f"{word_for(STEP_FUNCTIONS.key)} {self.name!r} ({self.entry.provenance})"

    @property
    def spec(self) -> StepFunctionSpec:
        """What it declares."""
        return self.entry.spec

    def toys(self) -> tuple[Toy, ...]:
        """The toys that it can be evaluated on, simplest first.

        Raises:
            CheckFailure: there is none.
        """
        fitting = toys_for(self.spec.needs)
        taken = tuple(toy for toy in fitting if self._is_taken(toy))
        if not taken:
            refuse(f"can be evaluated on none of {', '.join(toy.label for toy in fitting) or 'the toys'}")
        return taken

    def _is_taken(self, toy: Toy) -> bool:
        """Whether it does not refuse a kind of model by a typed error."""
        try:
            self.values(toy.make(), toy.examples)
        except CapabilityError:
            return False
        except Exception:
            return True
        return True

    def arguments_for(self, chosen: Sequence[int]) -> dict[str, Any]:
        """Its arguments for some of the example texts."""
        return {
            name: [value[i] for i in chosen] if isinstance(value, list) else value
            for name, value in self.arguments.items()
        }

    def values(
        self,
        adapter: ModelAdapter,
        examples: Sequence[Example],
        chosen: Sequence[int] = (0, 1),
        seed: int = 0,
    ) -> list[np.ndarray]:
        """(T,) values of each of the chosen examples, as step scores of a call."""
        out, name = self._call(adapter, [examples[i] for i in chosen], self.arguments_for(chosen), seed=seed)
        return [sequence.step_scores[name] for sequence in out]

    def together(self, toy: Toy) -> list[np.ndarray]:
        """Values of all example texts in one call; run once."""
        if toy.label not in self._kept:
            self._kept[toy.label] = self.values(toy.make(), toy.examples)
        return self._kept[toy.label]

    def given(
        self, adapter: ModelAdapter, examples: Sequence[Example]
    ) -> tuple[BoundStepFunction, StepFunctionArgs]:
        """The function with its arguments, and what it is given when it is what is explained."""
        seen: list[StepFunctionArgs] = []

        @attrs.frozen
        class Look:
            """Keeps what the attributed function is given."""

            def attribute(self, ctx: AttributionContext) -> MethodOutput:
                """Nothing."""
                output = ctx.adapter.forward_rows(ctx.batch, ctx.grid)
                seen.append(ctx.args(output, ctx.batch, ctx.grid))
                return ctx.output()

        arguments = self.arguments_for(range(len(examples)))
        method = attrs.evolve(NO_SCORES, factory=Look, all_steps=True)
        self._call(adapter, examples, arguments, method=method, is_attributed_fn=True)
        bound = BoundStepFunction(
            name=self.name,
            function=self.entry.load(),
            arguments=arguments,
            rowwise=True,
            differentiable=self.spec.differentiable,
            spec=self.spec,
        )
        return bound, seen[0]

    def explained(
        self, adapter: ModelAdapter, examples: Sequence[Example], method: MethodSpec
    ) -> FeatureAttributionOutput:
        """The example texts attributed with it as what is explained."""
        return self._call(
            adapter, examples, self.arguments_for(range(len(examples))), method=method, is_attributed_fn=True
        )[0]

    def _call(
        self,
        adapter: ModelAdapter,
        examples: Sequence[Example],
        arguments: Mapping[str, Any],
        *,
        method: MethodSpec = NO_SCORES,
        is_attributed_fn: bool = False,
        seed: int = 0,
    ) -> tuple[FeatureAttributionOutput, str]:
        with (
            registered(METHODS, method) as method_name,
            registered(STEP_FUNCTIONS, self.spec, function=self.entry.load()) as name,
            without_warnings(),
        ):
            if is_attributed_fn:
                more: dict[str, Any] = {"attributed_fn": name, "attributed_fn_args": dict(arguments)}
            else:
                more = {"step_scores": [name], "step_scores_args": dict(arguments)}
            out = AttributionModel(adapter).attribute(
                [example.text for example in examples],
                [example.output for example in examples],
                method=method_name,
                show_progress=False,
                seed=seed,
                **more,
            )
        return out, name


def with_logits(args: StepFunctionArgs, logits: Any) -> StepFunctionArgs:
    """The same rows, where the model said ``logits`` (R, 1, V)."""
    return attrs.evolve(args, forward_output=attrs.evolve(args.forward_output, logits=logits))
