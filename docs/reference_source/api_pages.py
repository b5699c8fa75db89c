"""Pages of Python names: what users import from ``inseq``, and what plugin authors import from ``inseq_core``."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import attrs

import inseq
from inseq_core import errors
from reference_source.markdown import code, entries, fenced, page, prose, table

SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Yields|Example):\s*$", re.MULTILINE)

PYTHON = (
    (
        "Loading and attributing",
        "load_model AttributionModel explain",
    ),
    (
        "Datasets and contexts",
        "attribute_dataset attribute_context AttributeContextOutput",
    ),
    (
        "Results",
        "FeatureAttributionOutput FeatureAttributionSequenceOutput FeatureAttributionStepOutput TokenWithId "
        "merge_attributions load_attributions",
    ),
    ("Views", "show_attributions show_granular_attributions show_token_attributions"),
    (
        "What is there",
        "list_feature_attribution_methods list_step_functions list_aggregators list_aggregation_functions "
        "list_supported_frameworks list_models list_viewers list_plugins get_version",
    ),
    (
        "Registering in a session",
        "register_step_function register_attribution_method register_aggregator register_aggregation_function "
        "register_model_config",
    ),
    (
        "Aggregators",
        "AggregatorPipeline SequenceAttributionAggregator ContiguousSpanAggregator SubwordAggregator WordAggregator "
        "SentenceAggregator SegmentAggregator StringSplitAggregator PairAggregator SliceAggregator",
    ),
)
"""Names of ``inseq`` by what they are for; a name that is in none of them comes under "More"."""

PLUGINS = (
    (
        "Contracts",
        "Classes that a plugin derives from, or is given.",
        "inseq_core.contracts.context:AttributionContext inseq_core.torch.context:TorchContext "
        "inseq_core.contracts.step_function:StepFunctionArgs inseq_core.contracts.adapter:ModelAdapter "
        "inseq_core.contracts.method:AttributionMethod inseq_core.contracts.aggregator:Aggregator "
        "inseq_core.contracts.viewer:Viewer",
    ),
    (
        "Records",
        "What travels between the parts; all are frozen.",
        "inseq_core.data.result:MethodOutput inseq_core.data.batch:EncodedText inseq_core.data.batch:TokenBatch "
        "inseq_core.data.steps:StepGrid inseq_core.data.features:Feature inseq_core.data.features:FeatureSet "
        "inseq_core.contracts.step_function:ForwardOutput inseq_core.contracts.step_function:StepCall "
        "inseq_core.contracts.step_function:Prepared inseq_core.contracts.adapter:EncodedInput "
        "inseq_core.contracts.adapter:ModelProfile inseq_core.contracts.adapter:TokenTexts "
        "inseq_core.contracts.removal:RemovalWay inseq_core.torch.inputs:InputTensors",
    ),
    (
        "Torch adapters",
        "For adapters of torch models; needs `inseq-core[torch]`.",
        "inseq_core.torch.adapter:TorchAdapter",
    ),
)
"""Title, text, and lazy paths of what plugin authors meet."""


def api_pages() -> dict[str, str]:
    """File name -> Markdown."""
    return {"python.md": python_page(), "plugin-api.md": plugin_page(), "errors.md": errors_page()}


def python_page() -> str:
    """Everything that can be imported from ``inseq``."""
    parts = ["# Python names", "What `import inseq` gives. Nothing heavy is imported before it is used."]
    placed = {"__version__", "InseqError"}
    for title, names in PYTHON:
        parts += [f"## {title}", *(text for name in names.split() for text in _described(name))]
        placed.update(names.split())
    rest = [name for name in inseq.__all__ if name not in placed]
    if rest:
        parts += ["## More", *(text for name in rest for text in _described(name))]
    return page(*parts)


def _described(name: str) -> Iterator[str]:
    yield f"### `{name}`"
    yield from _object(getattr(inseq, name), name)


def plugin_page() -> str:
    """What plugin authors implement and are given."""
    parts = [
        "# Names for plugin authors",
        "`import inseq_core as ic` has the spec records, `ic.hookimpl`, the contracts and the errors. "
        "[Hooks](../hooks.md) says which hook returns which record; the tutorials show them at work.",
    ]
    for title, text, paths in PLUGINS:
        parts += [f"## {title}", text]
        for path in paths.split():
            module, _, name = path.partition(":")
            found = getattr(importlib.import_module(module), name, None)
            if found is not None:
                parts += [f"### `{name}`", f"*{code(module)}*", *_object(found, name)]
    return page(*parts)


def errors_page() -> str:
    """Every error and warning."""
    found = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, (errors.InseqError, errors.InseqWarning))
    ]
    rows = [
        [
            code(each.__name__),
            ", ".join(code(base.__name__) for base in each.__bases__),
            prose(inspect.getdoc(each) or ""),
        ]
        for each in found
    ]
    return page(
        "# Errors and warnings",
        "Everything that inseq raises on purpose is an `InseqError`, and also the built-in exception that one would "
        "expect. The message says what was wrong with which value, and on the next line what to do. All of them are in "
        "`inseq_core.errors`; `inseq.InseqError` catches them all.",
        table(["name", "is a", "meaning"], rows),
    )


def _object(found: Any, name: str) -> Iterator[str]:
    if inspect.isclass(found):
        yield from _class(found, name)
    else:
        yield fenced(_signature(name, found), "python")
        yield from documentation(found)


def _class(found: type, name: str) -> Iterator[str]:
    is_record = attrs.has(found)
    if is_record or "__init__" in vars(found):
        yield fenced(_signature(name, found), "python")
    yield from documentation(found)
    for member, value in _members(found):
        if isinstance(value, property):
            yield f"**`.{member}`**"
            yield from documentation(value.fget)
        else:
            function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            signature = _signature(member, function, is_bound=not isinstance(value, staticmethod))
            if "\n" in signature or len(signature) > 60:
                yield f"**`.{member}`**"
                yield fenced(signature, "python")
            else:
                yield f"**`.{signature}`**"
            yield from documentation(function)


def _members(found: type) -> Iterator[tuple[str, Any]]:
    """Documented public properties and methods, those of our own base classes included."""
    fields = {field.name for field in attrs.fields(found)} if attrs.has(found) else set()
    seen = set()
    for owner in found.__mro__:
        if not owner.__module__.startswith("inseq"):
            continue
        for name, value in vars(owner).items():
            is_member = isinstance(value, (property, classmethod, staticmethod)) or inspect.isfunction(value)
            if name.startswith("_") or name in seen or name in fields or not is_member:
                continue
            seen.add(name)
            yield name, value


def _signature(name: str, found: Any, is_bound: bool = False, width: int = 96) -> str:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return name
    parameters = list(signature.parameters.values())
    if is_bound and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    returns = signature.empty if inspect.isclass(found) else signature.return_annotation
    signature = signature.replace(parameters=parameters, return_annotation=returns)
    text = f"{name}{_readable(str(signature))}"
    if len(text) <= width:
        return text
    lines, marks = [], {inspect.Parameter.KEYWORD_ONLY: "*"}
    for parameter in parameters:
        mark = marks.pop(parameter.kind, None)
        if mark and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            lines.append(f"    {mark},")
        lines.append(f"    {_readable(str(parameter))},")
    returns_text = "" if returns is signature.empty else f" -> {_readable(_written(returns))}"
    return "\n".join([f"{name}(", *lines, f"){returns_text}"])


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _readable(signature: str) -> str:
    """Annotations without quotes and module names; three dots for defaults that are made."""
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)
    signature = re.sub(
        r"\b(?:typing|collections\.abc|inseq_core(?:\.\w+)*|numpy|torch)\.(?=\w)", "", signature
    )
    return re.sub(r"(NOTHING|<[^<>]*>)", "...", signature)


def documentation(found: Any) -> Iterator[str]:
    """A docstring as paragraphs and lists."""
    text = inspect.getdoc(found) or ""
    parts = SECTION.split(text)
    yield from _paragraphs(parts[0])
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        indented = re.split(r"\n(?=\S)", body, maxsplit=1)
        section = textwrap.dedent(indented[0].strip("\n"))
        if title == "Example":
            yield fenced(section, "python")
        elif title in ("Returns", "Yields"):
            yield f"*{title}*: {prose(section)}"
        else:
            yield f"*{title}*:\n\n{entries(_entries(section))}"
        if len(indented) > 1:
            yield from _paragraphs(indented[1])


def _paragraphs(text: str) -> Iterator[str]:
    for part in re.split(r"\n\s*\n", text):
        if not part.strip():
            continue
        if part.startswith(("    ", "\t")):
            yield fenced(textwrap.dedent(part), "python")
        elif re.match(r"\s*[-*] ", part):
            yield "\n".join(
                f"- {prose(item)}" for item in re.split(r"(?:^|\n)\s*[-*] ", part) if item.strip()
            )
        else:
            yield prose(part.removesuffix("::") + ":" if part.endswith("::") else part)


def _entries(section: str) -> Iterator[tuple[str, str]]:
    """``name: text`` items; lines further to the right go on with the item before them."""
    for item in re.split(r"\n(?=\S)", section):
        name, colon, text = item.partition(":")
        if colon and re.fullmatch(r"[\w*`, ().…]+", name) and len(name) < 100:
            yield ", ".join(code(part.strip("` ")) for part in name.split(",")), prose(text)
        elif item.strip():
            yield prose(item), ""
