"""The hooks: what a plugin may say, and when it is asked.

Hooks *find* things, plain calls *run* them; no tensor travels through a hook. A plugin is a module (or any
object) with functions of these names, marked ``@inseq_core.hookimpl`` and named by an entry point of the
group ``inseq``::

    [project.entry-points.inseq]
    acme = "acme_inseq.plugin"

A hook that lists things yields frozen spec records with lazy paths, so that listing everything imports
nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from inseq_core.hooks.specs import (
        AdapterSpec,
        AggregationFunctionSpec,
        AggregatorSpec,
        CommandSpec,
        MethodSpec,
        ModelSpec,
        StepFunctionSpec,
        ViewerSpec,
    )

PROJECT = "inseq"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def inseq_model_adapters() -> Iterable[AdapterSpec]:
    """Frameworks: how a kind of model is loaded and run.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_model_adapters():
            yield ic.AdapterSpec(
                name="ngram",
                factory="acme_inseq.ngram:load",
                summary="Count-based language models in numpy.",
                capabilities={ic.Capability.SCORES, ic.Capability.GENERATE},
            )
    """
    raise NotImplementedError


@hookspec
def inseq_models() -> Iterable[ModelSpec]:
    """Models that a plugin carries: ids that ``inseq.load_model`` takes without a hub.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_models():
            yield ic.ModelSpec(
                name="acme-lm",
                location="acme_inseq.models:folder_of_acme_lm",
                summary="A language model of company names.",
                framework="hf_transformers",
                task="text generation",
            )
    """
    raise NotImplementedError


@hookspec
def inseq_attribution_methods() -> Iterable[MethodSpec]:
    """Attribution methods.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            yield ic.MethodSpec(
                name="expected_gradients",
                factory="acme_inseq.expected_gradients:ExpectedGradients",
                summary="Gradients averaged between the input and random references.",
                paper="https://arxiv.org/abs/1906.10670",
                needs={ic.Need.GRADIENTS},
                trailing_axes=("hidden",),
                default_aggregation=("vnorm",),
                complete=True,
                deterministic=False,
                passes="n_samples",
            )
    """
    raise NotImplementedError


@hookspec
def inseq_step_functions() -> Iterable[StepFunctionSpec]:
    """Step functions: what can be explained, and shown beside the scores.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_step_functions():
            yield ic.StepFunctionSpec(
                name="gini",
                function="acme_inseq.gini:gini",
                summary="Gini impurity of the distribution over the vocabulary.",
                formula="1 - sum p^2",
                range="[0, 1)",
                aggregate_map={"spans": "mean"},
            )
    """
    raise NotImplementedError


@hookspec
def inseq_aggregators() -> Iterable[AggregatorSpec]:
    """Aggregators: one attribution to a smaller or differently cut one.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_aggregators():
            yield ic.AggregatorSpec(
                name="paragraphs",
                factory="acme_inseq.paragraphs:Paragraphs",
                summary="One score a paragraph of the input.",
            )
    """
    raise NotImplementedError


@hookspec
def inseq_aggregation_functions() -> Iterable[AggregationFunctionSpec]:
    """Aggregation functions: ``fn(array, axis)`` to an array without that axis.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_aggregation_functions():
            yield ic.AggregationFunctionSpec(
                name="median",
                function="acme_inseq.median:nanmedian",
                summary="The middle one of the values.",
            )
    """
    raise NotImplementedError


@hookspec
def inseq_viewers() -> Iterable[ViewerSpec]:
    """Viewers: an attribution to something one looks at.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_viewers():
            yield ic.ViewerSpec(
                name="braille",
                factory="acme_inseq.braille:BrailleViewer",
                summary="A small plot made of braille dots.",
                media="terminal",
            )
    """
    raise NotImplementedError


@hookspec
def inseq_commands() -> Iterable[CommandSpec]:
    """Sub-commands of the ``inseq`` program; each is a click command, imported when it is run.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_commands():
            yield ic.CommandSpec(
                name="acme-report",
                command="acme_inseq.cli:report",
                summary="Write the report that ACME's lawyers ask for.",
            )
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def inseq_choose_framework(model: Any) -> str | None:
    """The name of the framework that can load ``model``; None leaves the question to the next plugin.

    Called only when the user names no framework. Look at the id or the object, never load it.

    Args:
        model: what was given to ``inseq.load_model``: an id, a path, or a loaded model.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_choose_framework(model):
            return "ngram" if isinstance(model, str) and model.endswith(".arpa") else None
    """


@hookspec
def inseq_before_attribute(request: Any) -> None:
    """Called once for each ``attribute``, before any model work. Raise to veto it.

    An ``InseqError`` reaches the user as it is, any other exception inside a ``PluginError`` that names the
    plugin.

    Args:
        request: the frozen request of the call.

    Example:
        import inseq_core as ic

        @ic.hookimpl
        def inseq_before_attribute(request):
            if len(request.input_texts) > 10_000:
                raise ic.errors.InvalidArgumentError("More than 10000 texts: use `inseq attribute-dataset`.")
    """


@hookspec
def inseq_after_attribute(request: Any, output: Any) -> None:
    """Called once for each finished ``attribute``, to observe.

    An exception is kept as a failure of the plugin; the result is not lost.

    Args:
        request: the frozen request of the call.
        output: its ``FeatureAttributionOutput``.

    Example:
        import logging

        import inseq_core as ic

        @ic.hookimpl
        def inseq_after_attribute(request, output):
            logging.getLogger("acme").info("%d attributions", len(output))
    """
