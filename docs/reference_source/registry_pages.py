"""Pages of what plugins provide: methods, step functions, aggregation, views, models, and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from inseq_core.cli.program import program
from inseq_core.errors import InseqError
from inseq_core.hooks import (
    Entry,
    adapters,
    aggregation_functions,
    aggregators,
    commands,
    methods,
    models,
    step_functions,
    viewers,
)
from inseq_core.hooks.parameters import parameters_of
from reference_source.markdown import code, entries, fenced, page, paper, prose, table


def registry_pages() -> dict[str, str]:
    """File name -> Markdown."""
    return {
        "methods.md": methods_page(),
        "step-functions.md": step_functions_page(),
        "aggregators.md": aggregators_page(),
        "viewers.md": viewers_page(),
        "models.md": models_page(),
        "command-line.md": command_line_page(),
    }


def methods_page() -> str:
    """Every attribution method, by the package that provides it."""
    found = methods().entries()
    overview = table(
        ["method", "needs", "cost in model passes", "scores are"],
        [
            [
                _link(e.name),
                _words(e.spec.needs),
                prose(e.spec.passes),
                ", ".join(_properties(e.spec)) or "–",
            ]
            for e in found
        ],
    )
    return page(
        "# Attribution methods",
        "Every method that is installed here, as its plugin describes it. `inseq.explain(name)` prints the same. "
        "[Choosing a method](../choosing-a-method.md) compares them.",
        "In formulas, `f_t` is the attributed function of step t (by default the probability of its token), "
        "`x_i` the embedding of token i, and `x'_i` that of the baseline.",
        overview,
        "- **needs**: what the model's adapter has to offer. `scores` is what every adapter has.\n"
        "- **signed**: below zero means against. **complete**: a step's scores sum to a difference of `f_t`. "
        "**additive**: scores of tokens may be summed. **drawn**: random numbers are used; `seed=` repeats them.\n"
        "- **cost**: for all steps of a text together, unless it says otherwise. "
        "A *chunk* is some consecutive steps, which share the passes over their prefix; short texts are one chunk.",
        *_by_distribution(found, _method),
    )


def _method(entry: Entry[Any]) -> Iterator[str]:
    spec = entry.spec
    yield prose(spec.summary)
    yield fenced(spec.formula) if spec.formula else ""
    yield entries(
        (f"**{label}**", text)
        for label, text in (
            ("Paper", paper(spec.paper) if spec.paper else ""),
            ("When", prose(spec.when)),
            ("Needs", _words(spec.needs)),
            ("Runs on", ", ".join(_frameworks(entry))),
            ("Cost in model passes", prose(spec.passes)),
            ("Result", _result(spec)),
            ("Takes several texts at once", "no, one after the other" if spec.per_text else ""),
            (
                "Steps",
                "" if spec.sums_steps else 'each by itself: `steps="sum"` is not possible',
            ),
        )
        if text
    )
    yield _parameters(entry)


def _properties(spec: Any) -> list[str]:
    named = {"signed": spec.signed, "complete": spec.complete, "additive": spec.additive}
    return [word for word, value in {**named, "drawn": not spec.deterministic}.items() if value]


def _result(spec: Any) -> str:
    axes = spec.trailing_axes
    shape = f"one number per {' and '.join(axes)}" if axes else "one number"
    reductions = [
        f"`{f}` over {axis}" for f, axis in zip(spec.default_aggregation, reversed(axes), strict=False)
    ]
    reductions += ["L1 per step"] if spec.normalize else []
    default = f"; by default {', then '.join(reductions)}" if reductions else ""
    facts = [
        word if value else f"not {word}"
        for word, value in (
            ("signed", spec.signed),
            ("complete", spec.complete),
            ("additive", spec.additive),
            ("deterministic", spec.deterministic),
        )
    ]
    function = "" if spec.uses_function else "; the same for every attributed function"
    return f"{shape} for each input token and step{default}; {', '.join(facts)}{function}"


def _frameworks(entry: Entry[Any]) -> list[str]:
    return sorted({code(a.name) for a in adapters().entries() if entry.spec.needs <= a.spec.capabilities})


def step_functions_page() -> str:
    """Every step function."""
    found = step_functions().entries()
    return page(
        "# Step functions",
        "A step function turns what the model says at each step into one number. It can be *explained* "
        '(`attributed_fn="…"`) or *shown* (`step_scores=["…"]`). p is the softmax at the step, y the target token, '
        "z the logits; a prime marks what belongs to the contrast.",
        table(
            ["step function", "what it is", "formula", "unit"],
            [[_link(e.name), prose(e.spec.summary), code(e.spec.formula), prose(e.spec.unit)] for e in found],
        ),
        *_by_distribution(found, _step_function),
    )


def _step_function(entry: Entry[Any]) -> Iterator[str]:
    spec = entry.spec
    yield prose(spec.summary)
    yield fenced(spec.formula) if spec.formula else ""
    yield entries(
        (f"**{label}**", text)
        for label, text in (
            ("Paper", paper(spec.paper) if spec.paper else ""),
            ("Unit", prose(spec.unit)),
            ("Range", code(spec.range) if spec.range else ""),
            ("Needs", _words(spec.needs)),
            (
                "Explained by",
                "every method" if spec.differentiable else "methods that need no gradients",
            ),
            (
                "Merged steps",
                ", ".join(f"{code(k)} with {code(v)}" for k, v in sorted(spec.aggregate_map.items())),
            ),
            ("Rows", "it mixes them, and is run step by step" if spec.rowwise is False else ""),
        )
        if text
    )
    yield _parameters(entry)


def aggregators_page() -> str:
    """Aggregators and aggregation functions."""
    functions = aggregation_functions().entries()
    return page(
        "# Aggregators and aggregation functions",
        "`out.aggregate(…)` takes an aggregator, an aggregation function (short for the aggregator `scores` with it), "
        "or a list of them. [Working with results](../results.md) shows them at work.",
        "## Aggregators",
        *_sections(aggregators().entries(), _plain, level=3),
        "## Aggregation functions",
        "`fn(array, axis)` to an array without that axis; NaN is ignored. *Signed* and *additive* say whether the "
        "result of such scores is still so.",
        table(
            ["function", "what it is", "signed", "additive", "from"],
            [
                [
                    code(e.name),
                    prose(e.spec.summary),
                    _mark(e.spec.signed),
                    _mark(e.spec.additive),
                    code(e.provenance.distribution),
                ]
                for e in functions
            ],
        ),
    )


def viewers_page() -> str:
    """Viewers."""
    return page(
        "# Viewers",
        "What draws a result. `out.show()` and its relatives choose one by where they run; "
        "[Views](../views.md) shows what each looks like.",
        *_by_distribution(viewers().entries(), _viewer),
    )


def _viewer(entry: Entry[Any]) -> Iterator[str]:
    yield prose(entry.spec.summary)
    yield entries([("**Media**", entry.spec.media)])
    yield _parameters(entry)


def models_page() -> str:
    """Frameworks, and models that plugins carry."""
    carried = [
        [code(e.name), prose(e.spec.summary), prose(e.spec.task), code(e.provenance.distribution)]
        for e in models().entries()
    ]
    return page(
        "# Frameworks and models",
        "## Frameworks",
        "Who loads and runs a model: `inseq.load_model(model, framework=…)`. Without `framework`, plugins are asked "
        "which of them knows the model.",
        table(
            ["framework", "what it is", "can do", "from"],
            [
                [
                    code(e.name),
                    prose(e.spec.summary),
                    _words(e.spec.capabilities),
                    code(e.provenance.distribution),
                ]
                for e in adapters().entries()
            ],
        ),
        "## Models that come with a package",
        "Ids that `inseq.load_model` takes without a hub. Any other id, folder or object goes to a framework.",
        table(["id", "what it is", "task", "from"], carried),
    )


def command_line_page() -> str:
    """Every sub-command with its options."""
    return page(
        "# Command line",
        "The program `inseq`, command by command. [On the command line](../command-line.md) shows it at work. "
        "Options may be written `--with_underscores` or `--with-hyphens`.",
        "## `inseq`",
        _options(program),
        *_sections(commands().entries(), _command, level=2, title=lambda e: f"`inseq {e.name}`"),
    )


def _command(entry: Entry[Any]) -> Iterator[str]:
    yield f"*From `{entry.provenance.distribution}`.*"
    try:
        command = entry.load()
    except InseqError as error:
        yield prose(str(error))
        return
    paragraphs = [
        part for part in (command.help or entry.spec.summary).replace("\b", "").split("\n\n") if part.strip()
    ]
    yield from (prose(part) for part in paragraphs)
    context = _context(command, f"inseq {entry.name}")
    yield fenced(" ".join([context.command_path, *command.collect_usage_pieces(context)]))
    yield _options(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield f"### `inseq {entry.name} {name}`"
                yield prose(child.help or child.short_help or "")
                yield _options(child)


def _context(command: click.Command, name: str | None = None) -> click.Context:
    """A context with the program's own settings: a command keeps the help option of the first context it sees."""
    return click.Context(
        command, info_name=name, help_option_names=program.context_settings["help_option_names"]
    )


def _options(command: click.Command) -> str:
    context = _context(command)
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            rows.append([code(record[0]), prose(record[1])])
    return table(["option", "meaning"], rows)


def _plain(entry: Entry[Any]) -> Iterator[str]:
    yield prose(entry.spec.summary)
    yield _parameters(entry)


def _parameters(entry: Entry[Any]) -> str:
    try:
        found = parameters_of(entry.load())
    except InseqError as error:
        return f"Parameters are unknown here: {prose(str(error))}"
    if not found:
        return "No parameters."
    return "Parameters:\n\n" + entries(
        (f"`{p}`" if p.type or not p.is_required else code(p.name), prose(p.doc)) for p in found
    )


def _by_distribution(found: Sequence[Entry[Any]], describe: Any) -> Iterator[str]:
    for distribution in sorted({e.provenance.distribution for e in found}):
        yield f"## From `{distribution}`"
        yield from _sections([e for e in found if e.provenance.distribution == distribution], describe)


def _sections(
    found: Iterable[Entry[Any]], describe: Any, level: int = 3, title: Any = lambda e: f"`{e.name}`"
) -> Iterator[str]:
    for entry in found:
        yield f"{'#' * level} {title(entry)}"
        yield from (part for part in describe(entry) if part)


def _link(name: str) -> str:
    return f"[`{name}`](#{name.lower()})"


def _words(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values))).replace("_", " ") or "nothing"


def _mark(value: bool) -> str:
    return "yes" if value else "–"
