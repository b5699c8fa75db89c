"""What inseq-onnx registers: a framework, and the command that makes models for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import inseq_core as ic

FRAMEWORK = "onnx"


@ic.hookimpl
def inseq_model_adapters() -> Iterator[ic.AdapterSpec]:
    """Exported graphs, run by onnxruntime."""
    yield ic.AdapterSpec(
        name=FRAMEWORK,
        factory="inseq_onnx.loading:load",
        summary="Models exported to ONNX, run by onnxruntime without torch: a folder, or a graph in one.",
        capabilities={ic.Capability.SCORES, ic.Capability.GENERATE},
    )


@ic.hookimpl
def inseq_commands() -> Iterator[ic.CommandSpec]:
    """``inseq export-onnx``."""
    yield ic.CommandSpec(
        name="export-onnx",
        command="inseq_onnx.command:export_onnx",
        summary="Export a model of transformers to ONNX, checked against the original.",
    )


@ic.hookimpl
def inseq_choose_framework(model: Any) -> str | None:
    """A graph, or a folder with graphs and no weights of another framework beside them."""
    if not isinstance(model, (str, os.PathLike)):
        return None
    from inseq_onnx.layout import holds_graphs

    return FRAMEWORK if holds_graphs(model) else None
