"""``inseq attribute``: texts from the command line, the picture in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inseq_core.cli.options import ManyCommand, method_options, model_options, result_options, set_verbosity
from inseq_core.errors import InvalidArgumentError, listed

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
    _check(options)
    model = load_model(
        options["model_name_or_path"],
        options["attribution_method"],
        **{
            name: options[name]
            for name in ("framework", "device", "model_kwargs", "tokenizer_kwargs")
            if options[name] is not None
        },
    )
    out = model.attribute(list(input_texts), list(generated_texts) or None, **_keywords(options))
    present(out, options)


def _keywords(options: dict[str, Any]) -> dict[str, Any]:
    """What ``attribute()`` is given; ``--attribution_kwargs`` may hold any other of its keywords too."""
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
    more = options["attribution_kwargs"] or {}
    for name in more:
        if name in keywords or name in ("input_texts", "generated_texts", "method"):
            raise click.UsageError(f"--attribution_kwargs: {name!r} has an option of its own.")
    return {**keywords, **more}


def _check(options: dict[str, Any]) -> None:
    """What can be refused before a model is loaded."""
    if options["hide_attributions"] and not (options["save_path"] or options["viz_path"]):
        raise click.UsageError("--hide_attributions leaves nothing to see: add --save_path or --viz_path.")
    if options["normalize_attributions"] and options["rescale_attributions"]:
        raise click.UsageError("Use one of --normalize_attributions and --rescale_attributions.")
    if len(options["attribution_selectors"]) > max(len(options["attribution_aggregators"]), 1):
        raise click.UsageError("--attribution_selectors takes at most one index for each aggregator.")
    if options["aggregate_output"] and not options["save_path"]:
        raise click.UsageError("--aggregate_output is about the saved file: add --save_path.")
    for name in ("save_path", "viz_path"):
        folder = Path(options[name] or ".").absolute().parent
        if not folder.is_dir():
            raise click.UsageError(f"--{name}: the folder {str(folder)!r} does not exist.")


def present(out: FeatureAttributionOutput, options: dict[str, Any]) -> None:
    """Show, draw and save a result, as the options say."""
    chosen = aggregated(out, options)
    shown = out if chosen is None else chosen
    if not options["hide_attributions"]:
        shown.show(do_aggregation=chosen is None)
    if options["viz_path"]:
        page = shown.show(display=False, return_html=True, do_aggregation=chosen is None)
        Path(options["viz_path"]).write_text(page, encoding="utf-8")
        click.echo(f"Picture: {options['viz_path']}", err=True)
    if options["save_path"]:
        kept = out.aggregate() if chosen is None and options["aggregate_output"] else chosen or out
        kept.save(options["save_path"], overwrite=True)
        click.echo(f"Saved: {options['save_path']}", err=True)


def aggregated(out: FeatureAttributionOutput, options: dict[str, Any]) -> FeatureAttributionOutput | None:
    """The result aggregated as the options say; None where they say nothing.

    Raises:
        InvalidArgumentError: an aggregator that cannot pick, normalise or rescale, asked to.
    """
    from inseq_core.aggregate.chain import pipeline

    names, selectors = options["attribution_aggregators"], options["attribution_selectors"]
    last = {
        name: True for name in ("normalize", "rescale") if options[f"{name}_attributions"]
    }  # of the whole, so only in the end
    if not names:
        return out.aggregate(**last, **_picked(selectors, 0)) if last or selectors else None
    for i, name in enumerate(names):
        accepted = pipeline(name).stages[-1].accepted()
        wanted = {**(last if i == len(names) - 1 else {}), **_picked(selectors, i)}
        for parameter in wanted:
            if parameter not in accepted:
                raise InvalidArgumentError(
                    f"The aggregator {name!r} does not take {parameter}.\n"
                    f"  It takes: {listed(accepted) or 'nothing'}."
                )
        if "normalize" in accepted and not wanted.get("rescale"):
            wanted.setdefault("normalize", False)
        out = out.aggregate(name, **wanted)
    return out


def _picked(selectors: tuple[int, ...], i: int) -> dict[str, Any]:
    return {"select_idx": selectors[i]} if i < len(selectors) else {}
