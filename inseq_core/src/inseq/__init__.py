"""Which parts of the input made the model produce this token?

    import inseq

    model = inseq.load_model("gpt2", "integrated_gradients")
    out = model.attribute("Hello ladies and", generation_args={"max_new_tokens": 9}, n_steps=50)
    out.show()

Every name here is imported when it is first used: importing this package imports no framework.
"""

from __future__ import annotations

from inseq_core.lazy import lazy_names

_NAMES = {
    "inseq_core.version": ("__version__", "get_version"),
    "inseq_core.model": ("AttributionModel", "load_model"),
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
}

_TABLE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_TABLE)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _TABLE)
