"""``inseq attribute-context``: which output tokens depend on a context, and on which of its words (PECoRe)."""

from __future__ import annotations

from typing import Any

import click

from inseq_core.cli.delivery import deliver_by
from inseq_core.cli.options import (
    ManyCommand,
    Registered,
    aggregation_options,
    check_folder,
    explanation_options,
    loading_keywords,
    model_options,
    together,
)
from inseq_core.hooks import step_functions

_LOADING = ("model_name_or_path", "framework", "device", "model_kwargs", "tokenizer_kwargs")
_SHOWING = ("save_path", "viz_path", "show_viz")

text_options = together(
    click.option(
        "--input_current_text", required=True, metavar="TEXT", help="What the output answers, or translates."
    ),
    click.option("--input_context_text", metavar="TEXT", help="What the model is told beside it."),
    click.option(
        "--input_template",
        metavar="TEMPLATE",
        help="How both make the input: {current} and {context}. By default '{context} {current}'.",
    ),
    click.option(
        "--output_context_text",
        metavar="TEXT",
        help="What the model said before: a beginning that is forced on its output.",
    ),
    click.option(
        "--output_current_text", metavar="TEXT", help="The output to look at, instead of generating it."
    ),
    click.option(
        "--output_template",
        metavar="TEMPLATE",
        help="As --input_template, for the output. A {context} that is not given is generated and cut off.",
    ),
    click.option(
        "--contextless_input_current_text",
        metavar="TEMPLATE",
        help="The input without context: a text, or a template with {current}.",
    ),
    click.option(
        "--contextless_output_current_text",
        metavar="TEMPLATE",
        help="The output without context: a template with {current}.",
    ),
)

procedure_options = together(
    click.option(
        "--context_sensitivity_metric",
        type=Registered(step_functions),
        default="kl_divergence",
        show_default=True,
        help="Contrastive step function that tells how much a token depends on the context.",
    ),
    click.option(
        "--handle_output_context_strategy",
        type=click.Choice(["manual", "auto", "pre"]),
        default="manual",
        show_default=True,
        help="Where a generated output is cut: you are asked, it is decided, or it has to be given.",
    ),
    click.option(
        "--contextless_output_next_tokens",
        multiple=True,
        metavar="WORD",
        help="What each context-sensitive token is compared with, the most sensitive first.",
    ),
    click.option(
        "--prompt_user_for_contextless_output_next_tokens",
        is_flag=True,
        help="Ask what each context-sensitive token is to be compared with.",
    ),
    click.option(
        "--special_tokens_to_keep",
        multiple=True,
        metavar="TOKEN",
        help="Special tokens that are part of contexts and outputs, such as <brk>.",
    ),
    click.option(
        "--decoder_input_output_separator",
        default=" ",
        metavar="TEXT",
        help="What stands between input and output of decoder-only models.  [default: a space]",
    ),
    click.option(
        "--context_sensitivity_std_threshold",
        type=float,
        default=1.0,
        show_default=True,
        help="Standard deviations above the mean from which a token is context-sensitive.",
    ),
    click.option(
        "--context_sensitivity_topk",
        type=click.IntRange(min=1),
        help="No more than so many context-sensitive tokens.",
    ),
    click.option(
        "--attribution_std_threshold",
        type=float,
        default=1.0,
        show_default=True,
        help="Standard deviations above the mean from which a context token is a cue.",
    ),
    click.option("--attribution_topk", type=click.IntRange(min=1), help="No more than so many cues."),
)

showing_options = together(
    click.option(
        "--show_intermediate_outputs", is_flag=True, help="Show step scores and attributions on the way."
    ),
    click.option("--save_path", "-o", type=click.Path(dir_okay=False), help="File for the result (JSON)."),
    click.option(
        "--add_output_info/--no_add_output_info",
        default=True,
        show_default=True,
        help="Save how the result was made, too.",
    ),
    click.option("--viz_path", type=click.Path(dir_okay=False), help="File for the picture (HTML)."),
    click.option(
        "--show_viz/--no_show_viz", default=True, show_default=True, help="Show the result in the terminal."
    ),
)


@click.command(name="attribute-context", cls=ManyCommand)
@text_options
@model_options
@explanation_options
@procedure_options
@aggregation_options
@showing_options
def attribute_context(**options: Any) -> None:
    """Find the output tokens that depend on a context, and the context's words that they depend on.

    Example: inseq attribute-context -m demo-en-fr --input_current_text "The developer argued with the
    designer" --input_context_text "because her idea cannot be implemented." --input_template "{current}
    {context}" --contextless_input_current_text "{current}." --attributed_fn contrast_prob_diff
    """
    from inseq_core.model import load_model
    from inseq_core.pecore.attribute import attribute_context as attribute
    from inseq_core.pecore.attribute import check_arguments

    if not (options["show_viz"] or options["save_path"] or options["viz_path"]):
        raise click.UsageError("--no_show_viz leaves nothing to see: add --save_path or --viz_path.")
    for name in ("save_path", "viz_path"):
        check_folder(name, options[name])
    arguments = {n: v for n, v in options.items() if n not in (*_LOADING, *_SHOWING)}
    arguments["normalize_attributions"] = bool(arguments["normalize_attributions"])
    check_arguments(arguments)
    model = load_model(
        options["model_name_or_path"], options["attribution_method"], **loading_keywords(options)
    )
    out = attribute(model, **arguments)
    deliver_by(
        options,
        save=lambda path: out.save(path, overwrite=True),
        draw=out.save_html,
        show=out.show if options["show_viz"] else None,
    )
