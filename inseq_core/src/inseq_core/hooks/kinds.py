"""Kinds: what plugins provide, one record a kind."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import attrs

from inseq_core.errors import unknown_name
from inseq_core.hooks.specs import (
    AdapterSpec,
    AggregationFunctionSpec,
    AggregatorSpec,
    AnySpec,
    CommandSpec,
    MethodSpec,
    ModelConfigSpec,
    ModelSpec,
    StepFunctionSpec,
    ViewerSpec,
)

SpecT = TypeVar("SpecT", bound=AnySpec)


@attrs.frozen(kw_only=True)
class Kind(Generic[SpecT]):
    """A kind of thing that plugins provide.

    Attributes:
        key: its name in code and on the command line ("step_functions").
        word: what the field calls one of it ("step function").
        spec: class of its records.
        hook: the hook that lists it; None for what is only registered at run time.
    """

    key: str
    word: str
    spec: type[SpecT]
    hook: str | None

    @property
    def plural(self) -> str:
        """What the field calls many of it ("step functions")."""
        return f"{self.word}s"


METHODS = Kind(key="methods", word="attribution method", spec=MethodSpec, hook="inseq_attribution_methods")
STEP_FUNCTIONS = Kind(
    key="step_functions", word="step function", spec=StepFunctionSpec, hook="inseq_step_functions"
)
AGGREGATORS = Kind(key="aggregators", word="aggregator", spec=AggregatorSpec, hook="inseq_aggregators")
AGGREGATION_FUNCTIONS = Kind(
    key="aggregation_functions",
    word="aggregation function",
    spec=AggregationFunctionSpec,
    hook="inseq_aggregation_functions",
)
ADAPTERS = Kind(key="adapters", word="framework", spec=AdapterSpec, hook="inseq_model_adapters")
MODELS = Kind(key="models", word="model", spec=ModelSpec, hook="inseq_models")
VIEWERS = Kind(key="viewers", word="viewer", spec=ViewerSpec, hook="inseq_viewers")
COMMANDS = Kind(key="commands", word="command", spec=CommandSpec, hook="inseq_commands")
MODEL_CONFIGS = Kind(key="model_configs", word="model config", spec=ModelConfigSpec, hook=None)

KINDS: tuple[Kind[Any], ...] = (
    METHODS,
    STEP_FUNCTIONS,
    AGGREGATORS,
    AGGREGATION_FUNCTIONS,
    ADAPTERS,
    MODELS,
    VIEWERS,
    COMMANDS,
    MODEL_CONFIGS,
)


def kind_named(name: str) -> Kind[Any]:
    """The kind with a key (``"step_functions"``, also ``"step-functions"``) or with that word ("frameworks").

    Raises:
        UnknownNameError: there is no such kind.
    """
    asked = str(name).strip().lower().replace("-", "_").replace(" ", "_")
    for kind in KINDS:
        if asked in (kind.key, kind.word.replace(" ", "_"), kind.plural.replace(" ", "_")):
            return kind
    raise unknown_name("kind of thing", name, [kind.key for kind in KINDS], existing="There are")
