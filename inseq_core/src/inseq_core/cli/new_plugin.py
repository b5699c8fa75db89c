"""``inseq new-plugin``: a distribution to start from, with one working example and tests that run the kit."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from typing import Any

import attrs
import click

from inseq_core.errors import AlreadyRegisteredError, InvalidArgumentError, invalid
from inseq_core.hooks import get_host
from inseq_core.hooks.kinds import ADAPTERS, AGGREGATORS, METHODS, STEP_FUNCTIONS, VIEWERS, kind_named
from inseq_core.version import get_version

TEMPLATES = Path(__file__).parent / "templates" / "plugin"
_SUFFIX = ".j2"


@attrs.frozen(kw_only=True)
class Starter:
    """What a new plugin of a kind is made of.

    Attributes:
        kind: of what it provides.
        summary: of the example in it.
        requirements: what it needs beside the core.
        extra: of the core's extras.
        usage: code for its README.
    """

    kind: str
    summary: str
    requirements: tuple[str, ...] = ()
    extra: str = ""
    usage: str


_ATTRIBUTE = 'model.attribute("The nurse talked to the driver because she was late."'
STARTERS = {
    "method": Starter(
        kind=METHODS.key,
        summary="An attribution method.",
        requirements=("attrs>=23.1", "numpy>=1.26"),
        extra="[torch]",
        usage=f'model = inseq.load_model("demo-en-fr", "IDENTIFIER")\n{_ATTRIBUTE}).show()',
    ),
    "step-function": Starter(
        kind=STEP_FUNCTIONS.key,
        summary="A step function: the model's output at each step to one number.",
        requirements=("array-api-compat>=1.9", "numpy>=1.26"),
        usage=f'model = inseq.load_model("demo-en-fr", "saliency")\n{_ATTRIBUTE}, step_scores=["IDENTIFIER"]).show()',
    ),
    "aggregator": Starter(
        kind=AGGREGATORS.key,
        summary="An aggregator: one attribution to another.",
        requirements=("attrs>=23.1", "numpy>=1.26"),
        usage=f'model = inseq.load_model("demo-en-fr", "saliency")\nout = {_ATTRIBUTE})\n'
        'out.aggregate().aggregate("IDENTIFIER").show()',
    ),
    "viewer": Starter(
        kind=VIEWERS.key,
        summary="A viewer: an attribution to something one looks at.",
        requirements=("attrs>=23.1", "numpy>=1.26"),
        usage=f'model = inseq.load_model("demo-en-fr", "saliency")\nout = {_ATTRIBUTE})\n'
        "print(CLASS().render(out))",
    ),
    "adapter": Starter(
        kind=ADAPTERS.key,
        summary="A framework: how a kind of model is loaded and run.",
        requirements=("numpy>=1.26",),
        usage='model = inseq.load_model("DISTRIBUTION-example", "occlusion")\nmodel.attribute("the dog").show()',
    ),
}
"""Word on the command line -> what it makes."""


@click.command(name="new-plugin")
@click.argument("name")
@click.option(
    "--kind",
    "-k",
    type=click.Choice(sorted(STARTERS)),
    default="method",
    show_default=True,
    help="Of the example.",
)
@click.option(
    "--into", type=click.Path(file_okay=False), default=".", show_default=True, help="Folder to write it in."
)
def new_plugin(name: str, kind: str, into: str) -> None:
    """Write a plugin to start from: a package NAME with one working example, and tests that pass.

    Example: inseq new-plugin my-method --kind method
    """
    folder = write_plugin(name, kind, into)
    identifier = identifier_of(name)
    click.echo(f"Written: {folder}")
    click.echo(f'  pip install -e "{folder}[test]"')
    click.echo(f"  pytest {folder}")
    click.echo(f"  inseq check {identifier}")


def write_plugin(name: str, kind: str = "method", into: str | Path = ".") -> Path:
    """Write a distribution with one working example.

    Args:
        name: of the distribution; with underscores for hyphens, of its package and of what it provides.
        kind: "method", "step-function", "aggregator", "viewer" or "adapter".
        into: folder to write it in; a folder ``name`` is made there.

    Returns:
        the new folder.

    Raises:
        InvalidArgumentError: no name for a package, an unknown kind, or something of the name that is in the
            way.
        AlreadyRegisteredError: something installed has the name.
    """
    if kind not in STARTERS:
        raise invalid("kind", kind, f"one of {', '.join(sorted(STARTERS))}")
    identifier, starter = identifier_of(name), STARTERS[kind]
    registry: Any = get_host().registry(starter.kind)
    if identifier in registry:
        taken = " and ".join(str(e.provenance) for e in registry.entries() if e.name == identifier)
        raise AlreadyRegisteredError(
            f"The {kind_named(starter.kind).word} {identifier!r} exists: {taken}.\n  Choose another name."
        )
    distribution = identifier.replace("_", "-")
    folder = Path(into).expanduser() / distribution
    if folder.exists():
        raise InvalidArgumentError(
            f"{str(folder)!r} exists, and nothing is ever written over.\n  Choose another name, or --into another "
            "folder."
        )
    class_name = "".join(part.capitalize() for part in identifier.split("_"))
    module = identifier
    facts = {
        "given": name,
        "kind": kind,
        "identifier": identifier,
        "distribution": distribution,
        "package": identifier,
        "module": module,
        "class_name": class_name,
        "summary": starter.summary,
        "requirements": (f"inseq-core{starter.extra}>={get_version()}", *starter.requirements),
        "usage": _usage(starter, identifier, class_name, distribution),
    }
    try:
        for path, text in _files(kind, facts).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError(
            f"{str(folder)!r} cannot be written: {error.strerror or error}.\n  Choose another folder with --into."
        ) from error
    return folder


def identifier_of(name: str) -> str:
    """What a plugin's package, and what it provides, are called.

    Raises:
        InvalidArgumentError: it is no name for a package, or that of something else.
    """
    wanted = "letters, digits and hyphens, beginning with a letter (my-method)"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*", name):
        raise invalid("NAME", name, wanted)
    identifier = name.lower().replace("-", "_")
    if keyword.iskeyword(identifier) or keyword.issoftkeyword(identifier):
        raise invalid("NAME", name, f"{wanted}, and no word of Python itself")
    if identifier in sys.stdlib_module_names:
        raise invalid("NAME", name, f"{wanted}, and no module of Python's library")
    if identifier.partition("_")[0] == "inseq" or identifier in ("plugin", "tests"):
        raise invalid("NAME", name, "a name of your own; inseq… is for packages of this project")
    return identifier


def _usage(starter: Starter, identifier: str, class_name: str, distribution: str) -> str:
    code = starter.usage
    imports = "import inseq\n"
    if "CLASS" in code:
        imports += f"from {identifier}.{identifier} import {class_name}\n"
    for word, value in (("IDENTIFIER", identifier), ("CLASS", class_name), ("DISTRIBUTION", distribution)):
        code = code.replace(word, value)
    return f"```python\n{imports}\n{code}\n```"


def _files(kind: str, facts: dict[str, Any]) -> dict[str, str]:
    """Path in the new distribution -> its text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    found = {}
    for room in ("common", kind):
        for template in sorted((TEMPLATES / room).rglob(f"*{_SUFFIX}")):
            path = template.relative_to(TEMPLATES / room).as_posix().removesuffix(_SUFFIX)
            path = path.replace("PACKAGE", facts["package"]).replace("MODULE", facts["module"])
            path = ".gitignore" if path == "gitignore" else path
            found[path] = environment.get_template(template.relative_to(TEMPLATES).as_posix()).render(facts)
    return found
