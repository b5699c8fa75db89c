"""What a plugin author imports: ``import inseq_core as ic``.

``hookimpl``, the spec records, the contracts and the errors, each imported when it is first used: a plugin
module that lists specs needs neither numpy nor a framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core import errors as errors
    from inseq_core import testing as testing
    from inseq_core.contracts.adapter import EncodedInput as EncodedInput
    from inseq_core.contracts.adapter import ModelAdapter as ModelAdapter
    from inseq_core.contracts.adapter import ModelProfile as ModelProfile
    from inseq_core.contracts.adapter import TokenTexts as TokenTexts
    from inseq_core.contracts.aggregator import Aggregator as Aggregator
    from inseq_core.contracts.context import AttributionContext as AttributionContext
    from inseq_core.contracts.method import AttributionMethod as AttributionMethod
    from inseq_core.contracts.step_function import ForwardOutput as ForwardOutput
    from inseq_core.contracts.step_function import StepFunctionArgs as StepFunctionArgs
    from inseq_core.contracts.viewer import Viewer as Viewer
    from inseq_core.data.batch import EncodedText as EncodedText
    from inseq_core.data.batch import TokenBatch as TokenBatch
    from inseq_core.data.result import MethodOutput as MethodOutput
    from inseq_core.data.steps import StepGrid as StepGrid
    from inseq_core.errors import InseqError as InseqError
    from inseq_core.hooks.hookspecs import hookimpl as hookimpl
    from inseq_core.hooks.specs import AdapterSpec as AdapterSpec
    from inseq_core.hooks.specs import AggregationFunctionSpec as AggregationFunctionSpec
    from inseq_core.hooks.specs import AggregatorSpec as AggregatorSpec
    from inseq_core.hooks.specs import Capability as Capability
    from inseq_core.hooks.specs import CommandSpec as CommandSpec
    from inseq_core.hooks.specs import MethodSpec as MethodSpec
    from inseq_core.hooks.specs import ModelConfigSpec as ModelConfigSpec
    from inseq_core.hooks.specs import ModelSpec as ModelSpec
    from inseq_core.hooks.specs import Need as Need
    from inseq_core.hooks.specs import StepFunctionSpec as StepFunctionSpec
    from inseq_core.hooks.specs import ViewerSpec as ViewerSpec

    __version__: str

_NAMES = {
    "inseq_core.hooks.hookspecs": ("hookimpl",),
    "inseq_core.hooks.specs": (
        "AdapterSpec",
        "AggregationFunctionSpec",
        "AggregatorSpec",
        "Capability",
        "CommandSpec",
        "MethodSpec",
        "ModelConfigSpec",
        "ModelSpec",
        "Need",
        "StepFunctionSpec",
        "ViewerSpec",
    ),
    "inseq_core.errors": ("InseqError",),
    "inseq_core.contracts.adapter": ("EncodedInput", "ModelAdapter", "ModelProfile", "TokenTexts"),
    "inseq_core.contracts.aggregator": ("Aggregator",),
    "inseq_core.contracts.context": ("AttributionContext",),
    "inseq_core.contracts.method": ("AttributionMethod",),
    "inseq_core.contracts.step_function": ("ForwardOutput", "StepFunctionArgs"),
    "inseq_core.contracts.viewer": ("Viewer",),
    "inseq_core.data.batch": ("EncodedText", "TokenBatch"),
    "inseq_core.data.result": ("MethodOutput",),
    "inseq_core.data.steps": ("StepGrid",),
    "inseq_core.version": ("__version__",),
}

__getattr__, __dir__ = lazy_names(
    __name__,
    {name: module for module, names in _NAMES.items() for name in names}
    | {"errors": "inseq_core.errors:", "testing": "inseq_core.testing:"},
)
