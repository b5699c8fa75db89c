"""``inseq attribute``: texts from the command line, the picture in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from inseq_core.cli.delivery import deliver
from inseq_core.cli.options import (
    ManyCommand,
    check_folder,
    loading_keywords,
    method_options,
    model_options,
    result_options,
    set_verbosity,
)
from inseq_core.errors import InvalidArgumentError, UnknownNameError

if TYPE_CHECKING:
    from inseq_core.data.output import FeatureAttributionOutput


@click.command(name="attribute", cls=ManyCommand)
@click.option("--input_texts", "-i", multiple=True, required=True, metavar="TEXT", help="One or more texts.")
@click.option(
    "--generated_texts",
    "-g",
    multiple=True,
    metavar="TEXT",
    help="Outputs to explain instead of generating them, one for each text.",
)
@model_options
@method_options
@result_options
def attribute(
    input_texts: tuple[str, ...],
    generated_texts: tuple[str, ...],
    verbose: bool,
    very_verbose: bool,
    **options: Any,
) -> None:
    """Attribute what a model generates to its input, and show it.

    Example: inseq attribute -m demo-en-fr -i "The developer argued with the designer." --viz_path
    picture.html
    """
    from inseq_core.model import load_model

    set_verbosity(verbose, very_verbose)
    check_options(options)
    model = load_model(
        options["model_name_or_path"], options["attribution_method"], **loading_keywords(options)
    )
    out = model.attribute(list(input_texts), list(generated_texts) or None, **attribute_keywords(options))
    present(out, options)


def attribute_keywords(options: dict[str, Any]) -> dict[str, Any]:
    """What ``attribute()`` is given; ``--attribution_kwargs`` may hold any other of its keywords too."""
    from inseq_core.run.binding import with_own_method

    keywords = {
        "attr_pos_start": options["start_pos"],
        "attr_pos_end": options["end_pos"],
        "step_scores": list(options["step_scores"]),
        "generation_args": options["generation_kwargs"],
        **{
            name: options[name]
            for name in (
                "output_step_attributions",
                "attribute_target",
                "include_eos_baseline",
                "attributed_fn",
                "batch_size",
                "generate_from_target_prefix",
                "seed",
            )
        },
    }
    more = with_own_method(options["attribution_method"], options["attribution_kwargs"] or {})
    for name in more:
        if name in keywords or name in ("input_texts", "generated_texts", "method"):
            raise click.UsageError(f"--attribution_kwargs: {name!r} has an option of its own.")
    return {**keywords, **more}


def check_options(options: dict[str, Any]) -> None:
    """What can be refused before a model is loaded."""
    from inseq_core.aggregate.in_order import check_order

    if options["hide_attributions"] and not (options["save_path"] or options["viz_path"]):
        raise click.UsageError("--hide_attributions leaves nothing to see: add --save_path or --viz_path.")
    if options["normalize_attributions"] and options["rescale_attributions"]:
        raise click.UsageError("Use one of --normalize_attributions and --rescale_attributions.")
    try:
        names, selectors = options["attribution_aggregators"], options["attribution_selectors"]
        check_order(names, selectors, options["attribution_method"])
    except (InvalidArgumentError, UnknownNameError) as error:
        raise click.UsageError(str(error)) from error
    for name in ("aggregate_output", "output_step_attributions"):
        if options[name] and not options["save_path"]:
            raise click.UsageError(f"--{name} is about the saved file: add --save_path.")
    for name in ("save_path", "viz_path"):
        check_folder(name, options[name])


def present(out: FeatureAttributionOutput, options: dict[str, Any]) -> None:
    """Aggregate as the options say, then save, draw and show."""
    chosen = aggregated(out, options)
    kept = chosen.aggregate() if options["aggregate_output"] else chosen
    deliver(chosen, kept, options)


def is_aggregating(options: dict[str, Any]) -> bool:
    """Whether the options say how to aggregate."""
    names = ("attribution_aggregators", "attribution_selectors", "rescale_attributions")
    return options["normalize_attributions"] is not None or any(options[name] for name in names)


def aggregated(out: FeatureAttributionOutput, options: dict[str, Any]) -> FeatureAttributionOutput:
    """The result aggregated as the options say; as it is where they say nothing.

    Raises:
        InvalidArgumentError: an index that is not there.
    """
    from inseq_core.aggregate.in_order import aggregated_in_order

    names, selectors = options["attribution_aggregators"], options["attribution_selectors"]
    normalize, rescale = options["normalize_attributions"], options["rescale_attributions"]
    if not is_aggregating(options):
        return out
    return aggregated_in_order(out, names, selectors, normalize=normalize, rescale=rescale)
