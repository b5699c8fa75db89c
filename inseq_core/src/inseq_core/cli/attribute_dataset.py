"""``inseq attribute-dataset``: every text of a dataset, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from inseq_core.cli.attribute import (
    aggregated,
    attribute_keywords,
    check_options,
    is_aggregating,
)
from inseq_core.cli.delivery import deliver
from inseq_core.cli.options import (
    JsonDict,
    ManyCommand,
    loading_keywords,
    method_options,
    model_options,
    result_options,
    set_verbosity,
    together,
)
from inseq_core.cli.program import interrupted

if TYPE_CHECKING:
    from inseq_core.data.output import FeatureAttributionOutput

dataset_options = together(
    click.option(
        "--dataset_name",
        "--dataset",
        "-d",
        required=True,
        metavar="NAME",
        help="A csv, tsv, json, jsonl or parquet file, or the hub id of a dataset.",
    ),
    click.option(
        "--input_text_field",
        "--input",
        "-in",
        required=True,
        metavar="FIELD",
        help="The field with the input texts.",
    ),
    click.option(
        "--generated_text_field",
        "--generated",
        "-gen",
        metavar="FIELD",
        help="The field with outputs to explain; otherwise they are generated.",
    ),
    click.option(
        "--dataset_config", "--config", metavar="NAME", help="Configuration of a dataset of the hub."
    ),
    click.option("--dataset_dir", "--dir", metavar="FOLDER", help="The folder that the files lie in."),
    click.option(
        "--dataset_files",
        "--files",
        multiple=True,
        metavar="FILE",
        help="Files, where --dataset_name is their kind: csv, json, jsonl, parquet.",
    ),
    click.option(
        "--dataset_split",
        "--split",
        default="train",
        show_default=True,
        metavar="SPLIT",
        help="Which part: 'train', 'train[:20]', 'train[10%:50%]'.",
    ),
    click.option("--dataset_revision", "--revision", metavar="NAME", help="Version of a dataset of the hub."),
    click.option(
        "--dataset_auth_token", "--auth", metavar="TOKEN", help="Access to a private dataset of the hub."
    ),
    click.option(
        "--dataset_kwargs",
        type=JsonDict(),
        help="Further arguments for reading: of files delimiter, encoding, field; else of load_dataset.",
    ),
)

_OPENING = (
    "dataset_config",
    "dataset_dir",
    "dataset_files",
    "dataset_split",
    "dataset_revision",
    "dataset_auth_token",
    "dataset_kwargs",
)
_AGGREGATION = (
    "attribution_aggregators",
    "attribution_selectors",
    "normalize_attributions",
    "rescale_attributions",
)


@attrs.frozen
class Reduction:
    """What the options say to keep of a batch; its ``repr`` tells one from another.

    Attributes:
        is_whole: one score a token, whatever axes the aggregators leave.
    """

    options: dict[str, Any]
    is_whole: bool

    def __call__(self, out: FeatureAttributionOutput) -> FeatureAttributionOutput:
        """What is kept of a batch."""
        chosen = aggregated(out, self.options)
        return chosen.aggregate() if self.is_whole else chosen

    def __repr__(self) -> str:
        return f"Reduction({ {name: self.options[name] for name in _AGGREGATION} }, {self.is_whole})"


@click.command(name="attribute-dataset", cls=ManyCommand)
@dataset_options
@click.option(
    "--checkpoint_dir",
    type=click.Path(file_okay=False),
    help="Keep each finished batch in this folder; after an interruption the same command goes on from it.",
)
@model_options
@method_options
@result_options
def attribute_dataset(verbose: bool, very_verbose: bool, **options: Any) -> None:
    """Attribute every text of a dataset, and save the result.

    Texts are read and attributed --batch_size at a time. Files appear when everything is done, complete; with
    --checkpoint_dir an interrupted run is gone on with by the same command.

    Example: inseq attribute-dataset -d sentences.csv -in english -m demo-en-fr --split "train[:20]" --hide
    --aggregate_output -o scores.json
    """
    from inseq_core.dataset.attribute import attribute_rows
    from inseq_core.dataset.opening import open_dataset
    from inseq_core.model import load_model

    set_verbosity(verbose, very_verbose)
    check_options(options)
    keywords = attribute_keywords(options)
    dataset = open_dataset(
        options["dataset_name"],
        options["input_text_field"],
        options["generated_text_field"],
        **{name: options[name] for name in _OPENING},
    )
    model = load_model(
        options["model_name_or_path"], options["attribution_method"], **loading_keywords(options)
    )
    # Only a file may want every dimension: without one, or aggregated, they are let go batch by batch.
    is_whole = options["aggregate_output"] or not options["save_path"]
    is_reduced = is_whole or is_aggregating(options)
    try:
        out = attribute_rows(
            model,
            dataset,
            dataset_split=options["dataset_split"],
            aggregate=Reduction(options, is_whole) if is_reduced else False,
            checkpoint_dir=options["checkpoint_dir"],
            **keywords,
        )
    except KeyboardInterrupt as interrupt:
        if options["checkpoint_dir"] is None:
            raise
        advice = f"The same command goes on from {options['checkpoint_dir']}."
        raise interrupted(interrupt, advice) from interrupt
    deliver(out, out, options)
