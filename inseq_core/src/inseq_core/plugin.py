"""The commands of inseq-core, given by the same hook as a stranger's.

Each room of the core that has something to register has a plugin module and an entry point of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import inseq_core as ic


@ic.hookimpl
def inseq_commands() -> Iterable[ic.CommandSpec]:
    """Sub-commands that attribute, and those that look at what is installed."""
    yield ic.CommandSpec(
        name="attribute",
        command="inseq_core.cli.attribute:attribute",
        summary="Attribute what a model generates to its input, and show it.",
    )
    yield ic.CommandSpec(
        name="attribute-dataset",
        command="inseq_core.cli.attribute_dataset:attribute_dataset",
        summary="Attribute every text of a dataset, and save the result.",
    )
    yield ic.CommandSpec(
        name="attribute-context",
        command="inseq_core.cli.attribute_context:attribute_context",
        summary="Find the output tokens that depend on a context, and the words they depend on.",
    )
    yield ic.CommandSpec(
        name="plugins",
        command="inseq_core.cli.plugins:plugins",
        summary="Show installed plugins, what each provides, and what failed.",
    )
    yield ic.CommandSpec(
        name="list",
        command="inseq_core.cli.list:list_names",
        summary="List methods, step functions, aggregators, models and more.",
    )
    yield ic.CommandSpec(
        name="explain",
        command="inseq_core.cli.explain:explain_name",
        summary="Explain a method, step function, aggregator or anything else by name.",
    )
    yield ic.CommandSpec(
        name="check",
        command="inseq_core.cli.check:check_names",
        summary="Check what a plugin provides by what it means.",
    )
    yield ic.CommandSpec(
        name="new-plugin",
        command="inseq_core.cli.new_plugin:new_plugin",
        summary="Write a plugin to start from, with tests that pass.",
    )
