"""``inseq export-onnx``: a model of transformers to a folder of graphs."""

from __future__ import annotations

import time
from typing import Any

import click

from inseq_core.cli.options import JsonDict
from inseq_core.hooks import models


@click.command(name="export-onnx")
@click.argument("model")
@click.argument("folder", type=click.Path())
@click.option(
    "--tokenizer", metavar="ID", help="Another tokenizer than the model's own: a hub id or a folder."
)
@click.option("--model_kwargs", type=JsonDict(), help="Arguments of the model's from_pretrained, as JSON.")
@click.option(
    "--tokenizer_kwargs", type=JsonDict(), help="Arguments of the tokenizer's from_pretrained, as JSON."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def export_onnx(model: str, folder: str, tokenizer: str | None, **options: Any) -> None:
    """Export MODEL (a hub id, a folder, or an id of inseq list models) to ONNX graphs in FOLDER.

    The graphs are compared with the model on other batch sizes, lengths and masks, and kept only if they give
    its logits.

    Example: inseq export-onnx demo-lm demo-lm-onnx
    """
    from inseq_onnx.export import export

    began = time.perf_counter()
    location: Any = models().get(model).load()() if model in models() else model
    report = export(location, folder, tokenizer=tokenizer, **options)
    click.echo(
        f"{model}: {' and '.join(report.files)} in {report.folder} ({time.perf_counter() - began:.0f} s)"
    )
    click.echo(
        f"Logits equal to the model's on {report.n_batches} batches of other sizes: "
        f"off by {report.difference:.1e} of their range at most."
    )
    click.echo(f'Try it: inseq attribute -m {folder} -a occlusion -i "…"')
