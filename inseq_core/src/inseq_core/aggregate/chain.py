"""Aggregators one after the other: from what a user writes to a pipeline, and the pipeline applied.

Every parameter is checked, and given to whoever takes it, before anything is computed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from inseq_core.aggregate.scores import Selection, SequenceAttributionAggregator, weighted
from inseq_core.contracts.guard import Guard, shown, told
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.errors import (
    AggregatorFailedError,
    InseqError,
    InvalidArgumentError,
    invalid,
    listed,
    unknown_argument,
    unknown_name,
)

Parameters = Mapping[str, Any]

_FORM = "It is given a frozen attribution, whose arrays cannot be written to, and returns a new one."


@attrs.frozen
class _Stage:
    """An aggregator, or how to make one of parameters that are still to come.

    Attributes:
        name: its id.
        aggregator: a ready aggregator; None: ``factory(**parameters)`` makes it.
        factory: what takes the parameters.
        parameters: those known already.
    """

    name: str
    aggregator: Any = None
    factory: Any = None
    parameters: dict[str, Any] = attrs.field(factory=dict)

    def accepted(self) -> list[str]:
        """Names of the parameters it takes."""
        if self.aggregator is not None:
            return (
                [a.alias for a in attrs.fields(type(self.aggregator))]
                if attrs.has(type(self.aggregator))
                else []
            )
        return list(self._parameters())

    def bound(self, given: Parameters) -> Any:
        """The aggregator with those of the given parameters that it takes."""
        if self.aggregator is not None:
            chosen = {name: given[name] for name in self.accepted() if name in given}
            return (
                self._made(functools.partial(attrs.evolve, self.aggregator), chosen)
                if chosen
                else self.aggregator
            )
        parameters = self._parameters()
        chosen = {name: given[name] for name in parameters if name in given} | self.parameters
        missing = [name for name, p in parameters.items() if p.default is p.empty and name not in chosen]
        if missing:
            raise InvalidArgumentError(
                f"Aggregator {self.name!r} needs {listed(missing)}.\n  Give aggregate() {missing[0]}=…."
            )
        return self._made(self.factory, chosen)

    def _made(self, make: Callable[..., Any], arguments: Parameters) -> Any:
        with Guard(AggregatorFailedError, f"Aggregator {self.name!r} of {self._module} cannot be made"):
            try:
                return make(**arguments)
            except InseqError:
                raise
            except (TypeError, ValueError) as error:  # what validators raise
                raise InvalidArgumentError(f"Aggregator {self.name!r}: {told(error)}") from error

    @property
    def _module(self) -> str:
        return str(getattr(self.factory or type(self.aggregator), "__module__", "?"))

    def _parameters(self) -> dict[str, inspect.Parameter]:
        """What can be given to the factory by name."""
        unread = f"The parameters of aggregator {self.name!r} of {self._module} cannot be read"
        with Guard(AggregatorFailedError, unread):
            return {
                name: parameter
                for name, parameter in inspect.signature(self.factory).parameters.items()
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            }

    @property
    def reduces(self) -> bool:
        """Whether it is ``scores``, which reduces an axis and makes steps comparable."""
        made = self.factory if self.aggregator is None else type(self.aggregator)
        return isinstance(made, type) and issubclass(made, SequenceAttributionAggregator)

    def __repr__(self) -> str:
        if self.aggregator is not None:
            return repr(self.aggregator)
        given = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name


@attrs.frozen(init=False, repr=False)
class AggregatorPipeline:
    """Aggregators applied one after the other; a value that can be kept, shown and used on many results.

    ``AggregatorPipeline(["subwords", "scores"], ["sum", "vnorm"])``, or ``[("subwords", "sum"), "vnorm"]``.

    Attributes:
        stages: the aggregators in their order.
    """

    stages: tuple[_Stage, ...]

    def __init__(self, aggregators: Iterable[Any], aggregate_fn: Sequence[Any] | None = None) -> None:
        aggregators = list(aggregators)
        if aggregate_fn is None:
            functions: list[Any] = [None] * len(aggregators)
        elif isinstance(aggregate_fn, str) or len(aggregate_fn) != len(aggregators):
            raise invalid(
                "aggregate_fn", aggregate_fn, f"one function for each of {len(aggregators)} aggregators"
            )
        else:
            functions = list(aggregate_fn)
        stages = [
            stage
            for given, function in zip(aggregators, functions, strict=True)
            for stage in _stages(given, function)
        ]
        self.__attrs_init__(tuple(stages))

    @classmethod
    def of(cls, stages: Iterable[_Stage]) -> AggregatorPipeline:
        """A pipeline of ready stages."""
        made = cls.__new__(cls)
        made.__attrs_init__(tuple(stages))
        return made

    def bound(self, parameters: Parameters, default: Sequence[_Stage] = ()) -> tuple[Any, ...]:
        """The aggregators with their parameters.

        Of several ``scores`` the first picks (``axis``, ``select_idx``), and the last makes steps comparable
        (``normalize``, ``rescale``).

        Args:
            default: what reduces the axes that these leave; it is given its parameters by itself.

        Raises:
            UnknownArgumentError: a parameter that none of them takes.
        """
        accepted = {stage.name: stage.accepted() for stage in (*self.stages, *default)}
        for name in parameters:
            if not any(name in names for names in accepted.values()):
                raise unknown_argument(
                    name, "aggregate()", {f"aggregator {n}": a for n, a in accepted.items()}
                )
        reducing = [i for i, stage in enumerate(self.stages) if stage.reduces]
        last = reducing[-1] if reducing and not default else None
        return tuple(
            stage.bound(
                _share(parameters, is_first=i == reducing[0], is_last=i == last)
                if stage.reduces
                else parameters
            )
            for i, stage in enumerate(self.stages)
        )

    def picking(self, selections: Sequence[Selection]) -> tuple[AggregatorPipeline, tuple[Selection, ...]]:
        """The pipeline with one selection for each ``scores`` in it, and the selections that are left."""
        left, stages = list(selections), []
        for stage in self.stages:
            if stage.reduces and left:
                picked = {"select_idx": left.pop(0)}
                stage = (
                    attrs.evolve(stage, parameters={**stage.parameters, **picked})
                    if stage.aggregator is None
                    else attrs.evolve(stage, aggregator=attrs.evolve(stage.aggregator, **picked))
                )
            stages.append(stage)
        return AggregatorPipeline.of(stages), tuple(left)

    def aggregate(
        self, attribution: FeatureAttributionSequenceOutput, **parameters: Any
    ) -> FeatureAttributionSequenceOutput:
        """Every aggregator applied, in order."""
        return _in_turn(self.bound(parameters), attribution)

    def __repr__(self) -> str:
        """``Aggregation: subwords(aggregate_fn='sum') → scores(aggregate_fn='vnorm')``."""
        return f"Aggregation: {' → '.join(map(repr, self.stages)) or 'none'}"


_OF_AN_AXIS = ("axis", "select_idx")
_OF_THE_WHOLE = ("normalize", "rescale")


def _share(parameters: Parameters, *, is_first: bool, is_last: bool) -> Parameters:
    """What one ``scores`` of several is given."""
    others = (*(() if is_first else _OF_AN_AXIS), *(() if is_last else _OF_THE_WHOLE))
    share = {name: value for name, value in parameters.items() if name not in others}
    is_done_later = not is_last and any(parameters.get(name) is not None for name in _OF_THE_WHOLE)
    return {**share, "normalize": False} if is_done_later else share


def _in_turn(
    aggregators: Iterable[Any], attribution: FeatureAttributionSequenceOutput
) -> FeatureAttributionSequenceOutput:
    for aggregator in aggregators:
        attribution = _applied(aggregator, attribution)
    return attribution


def _applied(
    aggregator: Any, attribution: FeatureAttributionSequenceOutput
) -> FeatureAttributionSequenceOutput:
    """What an aggregator makes of an attribution.

    Raises:
        AggregatorFailedError: it raised an error that is none of ours.
        InvalidArgumentError: it gave something that is no attribution.
    """
    whose = f"Aggregator {shown(aggregator)} of {type(aggregator).__module__}"
    with Guard(AggregatorFailedError, f"{whose} failed", advice=_FORM):
        made = aggregator.aggregate(attribution)
    if not isinstance(made, FeatureAttributionSequenceOutput):
        raise InvalidArgumentError(
            f"{whose} returned a {type(made).__name__}: expected a FeatureAttributionSequenceOutput."
        )
    return made


def aggregate(
    attribution: FeatureAttributionSequenceOutput,
    aggregator: Any = None,
    aggregate_fn: Any = None,
    **parameters: Any,
) -> FeatureAttributionSequenceOutput:
    """One text's attribution aggregated (``FeatureAttributionSequenceOutput.aggregate`` says how)."""
    if aggregator is None:
        return _default(attribution, aggregate_fn, parameters)
    return pipeline(aggregator, aggregate_fn).aggregate(attribution, **parameters)


def reduced(
    attribution: FeatureAttributionSequenceOutput,
    aggregator: Any = None,
    aggregate_fn: Any = None,
    selections: Sequence[Selection] = (),
    **parameters: Any,
) -> FeatureAttributionSequenceOutput:
    """One number for each position and step: aggregated, and axes that are left reduced by their default.

    What tables, dicts and the command line are made of. Equal to ``aggregate(aggregator).aggregate()``;
    ``normalize`` and ``rescale`` are of the end.

    Args:
        selections: what the default picks, one for each axis that it reduces, the last axis first.
        **parameters: as in ``aggregate``, and those of ``scores``.
    """
    if aggregator is None:
        return _default(attribution, aggregate_fn, parameters, selections)
    chosen = pipeline(aggregator, aggregate_fn)
    in_the_end = [_Stage("scores", factory=SequenceAttributionAggregator)]
    merged = _in_turn(chosen.bound(parameters, in_the_end), attribution)
    of_the_end = (*_OF_THE_WHOLE, *(() if any(s.reduces for s in chosen.stages) else _OF_AN_AXIS))
    given = {name: value for name, value in parameters.items() if name in of_the_end}
    return _default(merged, None, given, selections)


def weight(
    attribution: FeatureAttributionSequenceOutput, step_score: str
) -> FeatureAttributionSequenceOutput:
    """The default aggregation with each step's scores multiplied by a step score."""
    return weighted(aggregate(attribution), step_score)


def pipeline(aggregator: Any, aggregate_fn: Any = None) -> AggregatorPipeline:
    """The pipeline that a user means: an id, a class, an aggregator, a list, pairs, or a pipeline."""
    if isinstance(aggregator, AggregatorPipeline):
        if aggregate_fn is not None:
            raise invalid("aggregate_fn", aggregate_fn, "None: the pipeline has its functions already")
        return aggregator
    if isinstance(aggregator, (list, tuple)):
        return AggregatorPipeline(aggregator, aggregate_fn)
    return AggregatorPipeline([aggregator], None if aggregate_fn is None else [aggregate_fn])


def _default(
    attribution: FeatureAttributionSequenceOutput,
    aggregate_fn: Any,
    parameters: Parameters,
    selections: Sequence[Selection] = (),
) -> FeatureAttributionSequenceOutput:
    """Trailing axes reduced by their default functions, last first; normalised where the method says so."""
    if len(selections) > len(attribution.axes):
        left = ", ".join(attribution.axes) or "none"
        raise invalid("select_idx", list(selections), f"at most one index for each axis, and there is {left}")
    given = dict(parameters)
    if given.get("normalize") is None and not given.get("rescale"):
        given["normalize"] = attribution.normalize
    stage = _Stage("scores", factory=SequenceAttributionAggregator, parameters={"aggregate_fn": aggregate_fn})
    whole, _ = AggregatorPipeline.of([stage] * max(1, len(attribution.axes))).picking(selections)
    return whole.aggregate(attribution, **given)


def _stages(given: Any, function: Any) -> tuple[_Stage, ...]:
    """What one item of a user's list stands for."""
    if isinstance(given, AggregatorPipeline):
        return given.stages
    if isinstance(given, (tuple, list)):
        if len(given) != 2 or function is not None:
            raise invalid("aggregator", given, "a pair (aggregator, function)")
        given, function = given
    extra = {} if function is None else {"aggregate_fn": function}
    if isinstance(given, str):
        return (_named(given, extra),)
    if isinstance(given, type) and callable(getattr(given, "aggregate", None)):
        return (_Stage(getattr(given, "name", "") or given.__name__, factory=given, parameters=extra),)
    if callable(getattr(given, "aggregate", None)):
        name = getattr(given, "name", "") or type(given).__name__
        if not extra:
            return (_Stage(name, aggregator=given),)
        return (_Stage(name, aggregator=attrs.evolve(given, **extra)),)
    if callable(given):
        return (_scores_stage(given, extra),)
    raise invalid(
        "aggregator", given, "an id, an aggregator or its class, a function, a pipeline, or a list of these"
    )


def _named(name: str, extra: dict[str, Any]) -> _Stage:
    from inseq_core.hooks import aggregation_functions, aggregators

    if name in aggregators():
        return _Stage(name, factory=aggregators().get(name).load(), parameters=extra)
    if name in aggregation_functions():
        return _scores_stage(name, extra)
    known = [*aggregators().names(), *aggregation_functions().names()]
    raise unknown_name("aggregator or aggregation function", name, known)


def _scores_stage(function: Any, extra: dict[str, Any]) -> _Stage:
    if extra:
        raise InvalidArgumentError(
            f"{function!r} is an aggregation function and takes no other one: {extra['aggregate_fn']!r}.\n"
            f"  Use ('scores', {extra['aggregate_fn']!r}), or the id of an aggregator."
        )
    return _Stage("scores", factory=SequenceAttributionAggregator, parameters={"aggregate_fn": function})
