"""A method under test: run on toy models through the pipeline that users run, with what it gave kept as it was.

Axes: R rows, S source positions, L target positions, then the method's trailing axes.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.context import AttributionContext
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError, InvalidArgumentError
from inseq_core.hooks import Entry, MethodSpec
from inseq_core.hooks.kinds import METHODS
from inseq_core.hooks.parameters import parameters_of
from inseq_core.model import AttributionModel
from inseq_core.testing.checks import NotApplicable, refuse, without_warnings, word_for
from inseq_core.testing.examples import SCORES_ONLY, Example, Toy, toys_for
from inseq_core.testing.registered import registered

EXPLAINED = ("logit", "probability")
"""What is explained: the first of these that a method takes. Logits are linear in the model's output, so that closed
forms are short."""


@attrs.frozen(kw_only=True, eq=False)
class Call:
    """What the method gave for one context, in numpy, before the pipeline looked at it.

    Attributes:
        text: (R,) which text of the call each row is of.
        position: (R,) target position of each row.
        sides: "source", "target" -> (R, positions, *trailing); only those that were given.
        visible: the same sides -> (R, positions) True where the row can see the position.
        step_scores: name -> (R,).
        output: the method's own record.
    """

    text: np.ndarray
    position: np.ndarray
    sides: Mapping[str, np.ndarray]
    visible: Mapping[str, np.ndarray]
    step_scores: Mapping[str, np.ndarray]
    output: MethodOutput

    @classmethod
    def of(cls, ctx: AttributionContext, output: MethodOutput) -> Call:
        """Kept from a context and what the method made of it."""
        sides = {
            side: np.array(ctx.adapter.to_numpy(values))
            for side in ("source", "target")
            if (values := getattr(output, side, None)) is not None
        }
        scores = getattr(output, "step_scores", {})
        return cls(
            text=np.asarray(ctx.batch.origin)[ctx.grid.sequence],
            position=ctx.grid.position.copy(),
            sides=sides,
            visible={side: ctx.visible(side) for side in sides},
            step_scores={name: np.array(ctx.adapter.to_numpy(v)) for name, v in scores.items()},
            output=output,
        )


@attrs.frozen(kw_only=True, eq=False)
class Observation:
    """A call of ``attribute()``: its result, and each context's raw scores."""

    output: FeatureAttributionOutput
    calls: tuple[Call, ...]

    def __getitem__(self, text: int) -> FeatureAttributionSequenceOutput:
        return self.output[text]

    @property
    def has_scores(self) -> bool:
        """Whether the method scored anything."""
        return any(call.sides for call in self.calls)

    def rows(self) -> Iterator[tuple[Call, int]]:
        """Every row of every context."""
        for call in self.calls:
            for row in range(len(call.position)):
                yield call, row


class MethodUnderTest:
    """A method, its arguments, and the toys that it runs on.

    Args:
        entry: its spec, and who provides it.
        arguments: its parameters in every call of the kit; needed where some have no default.
    """

    def __init__(self, entry: Entry[MethodSpec], arguments: Mapping[str, Any] | None = None) -> None:
        self.entry = entry
        self.arguments = {**entry.spec.trial, **entry.preset, **(arguments or {})}
        self._kept: dict[Any, Observation] = {}
        self._takes_target: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """Its id."""
        return self.entry.name

    @property
    def title(self) -> str:
        """What reports call it."""
        return f"{word_for(METHODS.key)} {self.name!r} ({self.entry.provenance})"

    @property
    def spec(self) -> MethodSpec:
        """What it declares."""
        return self.entry.spec

    def factory(self) -> Callable[..., Any]:
        """The class behind the spec."""
        loaded: Callable[..., Any] = self.entry.load()
        return loaded

    @functools.cached_property
    def explained(self) -> str:
        """What is explained: a logit, or, where the method does not take one, a probability."""
        toy = (*toys_for(self.spec.needs), None)[0]
        if toy is None:
            return EXPLAINED[0]
        try:
            self._run(toy.make(), toy.examples[:1], self.arguments, {"attributed_fn": EXPLAINED[0]})
        except InvalidArgumentError:
            return EXPLAINED[1]
        except Exception:
            return EXPLAINED[0]
        return EXPLAINED[0]

    def every_toy(self) -> tuple[Toy, ...]:
        """The toys that can do what the method needs and that it takes; simplest first.

        Raises:
            CheckFailure: there is none.
        """
        fitting = toys_for(self.spec.needs)
        taken = tuple(toy for toy in fitting if self._is_taken(toy))
        if not taken:
            refuse(
                f"runs on no toy model: it needs {', '.join(sorted(map(str, self.spec.needs)))}; "
                + (f"and refused {', '.join(t.label for t in fitting)}" if fitting else "is torch installed?")
            )
        return taken

    def toys(self) -> tuple[Toy, ...]:
        """One language model and one translator, as rich as the method's needs ask for."""
        every = self.every_toy()
        if not self.spec.needs <= SCORES_ONLY:
            every = every[::-1]
        chosen = {toy.is_encoder_decoder: toy for toy in every[::-1]}
        return tuple(chosen[kind] for kind in sorted(chosen))

    def together(self, toy: Toy) -> Observation:
        """All texts in one call; run once."""
        return self.kept(toy, "together")

    def scored(self, toy: Toy) -> Observation:
        """All texts in one call.

        Raises:
            NotApplicable: the method scores nothing.
        """
        observed = self.together(toy)
        if not observed.has_scores:
            raise NotApplicable("it scores nothing")
        return observed

    def kept(self, toy: Toy, key: str, **options: Any) -> Observation:
        """``observe`` on a new toy, run once for a key."""
        if (toy.label, key) not in self._kept:
            self._kept[toy.label, key] = self.observe(toy.make(), toy.examples, **options)
        return self._kept[toy.label, key]

    def observe(
        self,
        adapter: ModelAdapter,
        examples: Sequence[Example],
        *,
        arguments: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Observation:
        """Run ``attribute()``.

        Args:
            adapter: the model.
            examples: texts and outputs.
            arguments: of the method, beside its usual ones.
            **options: keywords of ``attribute()``.
        """
        options = {"attributed_fn": self.explained, "show_progress": False, "seed": 0, **options}
        if adapter.is_encoder_decoder:
            options.setdefault("attribute_target", self.attributes_target(adapter))
        return self._run(adapter, examples, {**self.arguments, **(arguments or {})}, options)

    def _run(
        self,
        adapter: ModelAdapter,
        examples: Sequence[Example],
        arguments: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Observation:
        calls: list[Call] = []
        outputs = options.get("generated_texts", [example.output for example in examples])
        options = {name: value for name, value in options.items() if name != "generated_texts"}
        with self._recorded(calls) as name, without_warnings():
            output = AttributionModel(adapter).attribute(
                [example.text for example in examples],
                outputs,
                method=name,
                attribution_args=dict(arguments),
                **options,
            )
        return Observation(output=output, calls=tuple(calls))

    def attributes_target(self, adapter: ModelAdapter) -> bool:
        """Whether the method attributes the target prefix of translators too; it may refuse to, by a typed error."""
        kind = type(adapter).__name__ + str(adapter.capabilities)
        if kind not in self._takes_target:
            try:
                self._probe(adapter, attribute_target=True)
                self._takes_target[kind] = True
            except (CapabilityError, InvalidArgumentError):
                self._takes_target[kind] = False
            except Exception:
                self._takes_target[kind] = True  # a defect, to be found by the check that looks for it
        return self._takes_target[kind]

    def _is_taken(self, toy: Toy) -> bool:
        """Whether the method does not refuse a kind of model."""
        try:
            self._probe(toy.make())
        except CapabilityError:
            return False
        except Exception:
            return True
        return True

    def _probe(self, adapter: ModelAdapter, **options: Any) -> None:
        """Everything that is checked before any model work."""
        from inseq_core.run.request import Options, build_request

        with self._recorded([]) as name:
            build_request(
                AttributionModel(adapter),
                ["the"],
                None,
                method=name,
                attributed_fn=EXPLAINED[-1],
                step_scores=(),
                options=Options(**options),
                keywords={"attribution_args": dict(self.arguments)},
            )

    def _recorded(self, calls: list[Call]) -> contextlib.AbstractContextManager[str]:
        """The method registered under a name of the kit's own, its calls kept."""
        return registered(METHODS, self.spec, factory=recorder(self.factory(), calls))

    def parameters(self) -> Sequence[Any]:
        """What a user may set."""
        return parameters_of(self.factory())


def is_random(method: MethodUnderTest) -> str:
    """Why a check of single numbers does not apply to methods that draw."""
    return "" if method.spec.deterministic else "its numbers are random"


def recorder(factory: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    """The same class, whose instances add what they give to ``calls``."""

    def attribute(instance: Any, ctx: AttributionContext) -> MethodOutput:
        output: MethodOutput = instance(ctx)
        if isinstance(output, MethodOutput):
            calls.append(Call.of(ctx, output))
        return output

    if inspect.isclass(factory):
        inherited: Any = factory.attribute  # type: ignore[attr-defined]

        def recorded(self: Any, ctx: AttributionContext) -> MethodOutput:
            return attribute(inherited.__get__(self), ctx)

        made: type = type(factory.__name__, (factory,), {"attribute": recorded, "__doc__": factory.__doc__})
        return made

    def make(**arguments: Any) -> Any:
        instance = factory(**arguments)
        more = {"attribute": lambda ctx: attribute(instance.attribute, ctx)}
        if callable(getattr(instance, "check", None)):
            more["check"] = instance.check
        return type("Recorded", (), {name: staticmethod(f) for name, f in more.items()})()

    make.__doc__ = factory.__doc__
    make.__signature__ = inspect.signature(factory)  # type: ignore[attr-defined]
    return make
