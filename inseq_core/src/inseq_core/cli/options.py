"""Options that the attributing commands share, and the kinds of values they take.

Every option is written ``--snake_case`` or with hyphens. One that takes several values takes them one after
the other (``-i first second``) or repeated (``-i first -i second``).
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from inseq_core.errors import InseqError, UnknownNameError
from inseq_core.hooks import Registry, methods, step_functions

Function = TypeVar("Function", bound=Callable[..., Any])

_NUMBER = re.compile(r"-\d+(\.\d+)?$")


class JsonDict(click.ParamType):
    """Arguments by name, written as JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """``'{"n_steps": 20}'`` as a dict."""
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON ({error}). Write '{{\"name\": value}}'.", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{value!r} is a JSON {type(found).__name__}. Write '{{\"name\": value}}'.", param, ctx)
        return found


class Registered(click.ParamType):
    """A name that a plugin provides; an unknown one is answered by its registry."""

    name = "name"

    def __init__(self, registry: Callable[[], Registry[Any]]) -> None:
        self.registry = registry

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, as it is registered."""
        try:
            self.registry().get(value)
        except UnknownNameError as error:
            self.fail(str(error), param, ctx)
        except InseqError:
            return str(value)  # it exists; what is wrong with it is said where it is used
        return str(value)


class ManyCommand(click.Command):
    """A command whose options of several values take all that follows them, up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, self._repeated(ctx, args))

    def _repeated(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """``-i a b`` as ``-i a -i b``."""
        normalize = ctx.token_normalize_func or (lambda name: name)
        many = {
            normalize(written)
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and parameter.multiple
            for written in parameter.opts
        }
        repeated: list[str] = []
        current, has_value = "", False
        for position, arg in enumerate(args):
            if arg == "--":
                return [*repeated, *args[position:]]
            is_option = arg.startswith("-") and len(arg) > 1 and not _NUMBER.match(arg)
            if current and not has_value:
                has_value = True
            elif is_option:
                current, has_value = (arg, False) if normalize(arg) in many else ("", False)
            elif current:
                repeated.append(current)
            repeated.append(arg)
        return repeated


def together(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several options as one decorator, in their order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_options = together(
    click.option(
        "--model_name_or_path",
        "-m",
        required=True,
        metavar="ID",
        help="Hub id, folder, or id of a carried model.",
    ),
    click.option("--framework", metavar="NAME", help="Who loads the model; found out by default."),
    click.option("--device", "--dev", metavar="NAME", help="Where the model runs: cpu, cuda, cuda:0, mps …"),
    click.option("--model_kwargs", type=JsonDict(), help="Arguments for loading the model."),
    click.option("--tokenizer_kwargs", type=JsonDict(), help="Arguments for loading the tokenizer."),
)

explanation_options = together(
    click.option(
        "--attribution_method",
        "-a",
        type=Registered(methods),
        default="saliency",
        show_default=True,
        help="Attribution method (inseq list methods).",
    ),
    click.option(
        "--attributed_fn",
        "-fn",
        type=Registered(step_functions),
        help="What is explained (inseq list step-functions).",
    ),
    click.option(
        "--attribution_kwargs", type=JsonDict(), help="Arguments of the method and of step functions."
    ),
    click.option("--generation_kwargs", type=JsonDict(), help="Arguments of the model's generation."),
)

method_options = together(
    explanation_options,
    click.option(
        "--step_scores", type=Registered(step_functions), multiple=True, help="Step scores to show."
    ),
    click.option(
        "--attribute_target", "--do_prefix_attribution", is_flag=True, help="Attribute the target prefix too."
    ),
    click.option(
        "--generate_from_target_prefix",
        is_flag=True,
        help="Generated texts are beginnings that the model continues (encoder–decoder models).",
    ),
    click.option(
        "--include_eos_baseline", "--eos", is_flag=True, help="The end token has a baseline like any other."
    ),
    click.option(
        "--output_step_attributions",
        is_flag=True,
        help="Save each step's attribution by itself too, aggregated like its text.",
    ),
    click.option("--batch_size", "-bs", type=int, default=8, show_default=True, help="Texts at a time."),
    click.option("--start_pos", "-s", type=int, help="First target position to attribute."),
    click.option("--end_pos", "-e", type=int, help="End (exclusive) of the target positions to attribute."),
    click.option("--seed", type=int, default=0, show_default=True, help="What random draws derive from."),
)

aggregation_options = together(
    click.option(
        "--attribution_aggregators",
        multiple=True,
        metavar="NAME",
        help="Aggregators or aggregation functions, applied in their order, as by aggregate() in Python.",
    ),
    click.option(
        "--attribution_selectors",
        type=int,
        multiple=True,
        help="Index to pick from each axis (layer, head, dimension), the last axis first.",
    ),
    click.option(
        "--normalize_attributions/--no_normalize_attributions",
        default=None,
        help="Make the scores of a step sum to one, or leave them in their own unit.",
    ),
    click.option("--rescale_attributions", is_flag=True, help="Divide the scores by the largest."),
)

result_options = together(
    aggregation_options,
    click.option(
        "--aggregate_output", is_flag=True, help="Save one score for each token, not every dimension."
    ),
    click.option("--hide_attributions", "--hide", is_flag=True, help="Show no table."),
    click.option("--save_path", "-o", type=click.Path(dir_okay=False), help="File for the result (JSON)."),
    click.option("--viz_path", type=click.Path(dir_okay=False), help="File for the picture (HTML)."),
    click.option("--verbose", "-v", is_flag=True, help="Say what is done."),
    click.option("--very_verbose", "-vv", is_flag=True, help="Say everything that is done."),
)


def loading_keywords(options: dict[str, Any]) -> dict[str, Any]:
    """What ``load_model`` is given beside the model and the method."""
    names = ("framework", "device", "model_kwargs", "tokenizer_kwargs")
    return {name: options[name] for name in names if options[name] is not None}


def check_folder(option: str, path: str | None) -> None:
    """Refuse a file that could not be written in the end, before anything is worked out for it.

    A link's folder is that of what it points to; what is no ordinary file (``/dev/stdout``) needs none.
    """
    from inseq_core.store.whole import place_of

    place = None if path is None else place_of(Path(path).absolute())
    if place is None:
        return
    if path == "-":
        raise click.UsageError(
            f"--{option}: results go to files; give it a name ('./-' for a file called '-')."
        )
    folder = place.parent
    if not folder.is_dir():
        raise click.UsageError(f"--{option}: the folder {str(folder)!r} does not exist.")
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"--{option}: nothing may be written into the folder {str(folder)!r}.")


def set_verbosity(verbose: bool, very_verbose: bool) -> None:
    """Let our own log messages through to standard error."""
    level = logging.DEBUG if very_verbose else logging.INFO if verbose else logging.WARNING
    logger = logging.getLogger("inseq_core")
    logger.setLevel(level)
    if level < logging.WARNING and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
