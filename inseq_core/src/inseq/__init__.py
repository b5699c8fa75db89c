"""Which parts of the input made the model produce this token?

    import inseq

    model = inseq.load_model("gpt2", "integrated_gradients")
    out = model.attribute("Hello ladies and", generation_args={"max_new_tokens": 9}, n_steps=50)
    out.show()

Every name here is imported when it is first used: importing this package imports no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.aggregate.chain import AggregatorPipeline as AggregatorPipeline
    from inseq_core.aggregate.pairs import PairAggregator as PairAggregator
    from inseq_core.aggregate.scores import SequenceAttributionAggregator as SequenceAttributionAggregator
    from inseq_core.aggregate.slices import SliceAggregator as SliceAggregator
    from inseq_core.aggregate.spans import ContiguousSpanAggregator as ContiguousSpanAggregator
    from inseq_core.aggregate.subwords import SubwordAggregator as SubwordAggregator
    from inseq_core.aggregate.texts import SegmentAggregator as SegmentAggregator
    from inseq_core.aggregate.texts import SentenceAggregator as SentenceAggregator
    from inseq_core.aggregate.texts import StringSplitAggregator as StringSplitAggregator
    from inseq_core.aggregate.texts import WordAggregator as WordAggregator
    from inseq_core.data.attribution import (
        FeatureAttributionSequenceOutput as FeatureAttributionSequenceOutput,
    )
    from inseq_core.data.attribution import FeatureAttributionStepOutput as FeatureAttributionStepOutput
    from inseq_core.data.output import FeatureAttributionOutput as FeatureAttributionOutput
    from inseq_core.data.output import merge_attributions as merge_attributions
    from inseq_core.data.token import TokenWithId as TokenWithId
    from inseq_core.dataset.attribute import attribute_dataset as attribute_dataset
    from inseq_core.errors import InseqError as InseqError
    from inseq_core.explain import explain as explain
    from inseq_core.hooks.listing import list_aggregation_functions as list_aggregation_functions
    from inseq_core.hooks.listing import list_aggregators as list_aggregators
    from inseq_core.hooks.listing import list_feature_attribution_methods as list_feature_attribution_methods
    from inseq_core.hooks.listing import list_models as list_models
    from inseq_core.hooks.listing import list_plugins as list_plugins
    from inseq_core.hooks.listing import list_step_functions as list_step_functions
    from inseq_core.hooks.listing import list_supported_frameworks as list_supported_frameworks
    from inseq_core.hooks.listing import list_viewers as list_viewers
    from inseq_core.hooks.registration import register_aggregation_function as register_aggregation_function
    from inseq_core.hooks.registration import register_aggregator as register_aggregator
    from inseq_core.hooks.registration import register_attribution_method as register_attribution_method
    from inseq_core.hooks.registration import register_model_config as register_model_config
    from inseq_core.hooks.registration import register_step_function as register_step_function
    from inseq_core.model import AttributionModel as AttributionModel
    from inseq_core.model import load_model as load_model
    from inseq_core.pecore.attribute import attribute_context as attribute_context
    from inseq_core.pecore.result import AttributeContextOutput as AttributeContextOutput
    from inseq_core.store.files import load_attributions as load_attributions
    from inseq_core.version import get_version as get_version
    from inseq_core.view.show import show_attributions as show_attributions
    from inseq_core.view.show import show_granular_attributions as show_granular_attributions
    from inseq_core.view.show import show_token_attributions as show_token_attributions

    __version__: str

_NAMES = {
    "inseq_core.aggregate.chain": ("AggregatorPipeline",),
    "inseq_core.aggregate.pairs": ("PairAggregator",),
    "inseq_core.aggregate.scores": ("SequenceAttributionAggregator",),
    "inseq_core.aggregate.slices": ("SliceAggregator",),
    "inseq_core.aggregate.spans": ("ContiguousSpanAggregator",),
    "inseq_core.aggregate.subwords": ("SubwordAggregator",),
    "inseq_core.aggregate.texts": (
        "SegmentAggregator",
        "SentenceAggregator",
        "StringSplitAggregator",
        "WordAggregator",
    ),
    "inseq_core.data.attribution": (
        "FeatureAttributionSequenceOutput",
        "FeatureAttributionStepOutput",
    ),
    "inseq_core.data.output": (
        "FeatureAttributionOutput",
        "merge_attributions",
    ),
    "inseq_core.data.token": ("TokenWithId",),
    "inseq_core.dataset.attribute": ("attribute_dataset",),
    "inseq_core.errors": ("InseqError",),
    "inseq_core.explain": ("explain",),
    "inseq_core.hooks.listing": (
        "list_aggregation_functions",
        "list_aggregators",
        "list_feature_attribution_methods",
        "list_models",
        "list_plugins",
        "list_step_functions",
        "list_supported_frameworks",
        "list_viewers",
    ),
    "inseq_core.hooks.registration": (
        "register_aggregation_function",
        "register_aggregator",
        "register_attribution_method",
        "register_model_config",
        "register_step_function",
    ),
    "inseq_core.model": (
        "AttributionModel",
        "load_model",
    ),
    "inseq_core.pecore.attribute": ("attribute_context",),
    "inseq_core.pecore.result": ("AttributeContextOutput",),
    "inseq_core.store.files": ("load_attributions",),
    "inseq_core.version": (
        "__version__",
        "get_version",
    ),
    "inseq_core.view.show": (
        "show_attributions",
        "show_granular_attributions",
        "show_token_attributions",
    ),
}

_TABLE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_TABLE)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _TABLE)
