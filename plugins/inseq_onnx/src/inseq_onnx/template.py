"""Chat templates: Jinja in a sandbox, with what templates of transformers expect to find."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from inseq_core.errors import InvalidArgumentError

_CONTROLS = ("chat_template", "continue_final_message")
"""Options that are about rendering, no variables of the template."""


def render(template: Any, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """Messages written with a template.

    Args:
        template: Jinja text; of several by name, "tool_use" is taken where there are tools, else "default".
        variables: what the template may look up, and ``continue_final_message``: cut the text behind the last
            message, so that it can be gone on with.

    Raises:
        InvalidArgumentError: no template of that name; the last message is not found in what was written.
        jinja2.TemplateError: the template is wrong, or refuses the messages.
    """
    from jinja2 import ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols, _generation_blocks()]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    shown = {name: value for name, value in variables.items() if name not in _CONTROLS}
    compiled = environment.from_string(_chosen(template, variables))
    text = compiled.render(messages=list(messages), **{"tools": None, "documents": None, **shown})
    return _cut_behind_last(text, messages[-1]) if variables.get("continue_final_message") else text


def _chosen(template: Any, variables: Mapping[str, Any]) -> str:
    if not isinstance(template, Mapping):
        return str(template)
    name = "tool_use" if variables.get("tools") and "tool_use" in template else "default"
    if name not in template:
        raise InvalidArgumentError(
            f"The tokenizer has chat templates named {', '.join(map(repr, template))}, none is the default.\n"
            "  Choose one: chat_template_args={'chat_template': …}."
        )
    return str(template[name])


def _json(value: Any, indent: int | None = None, ensure_ascii: bool = False, **options: Any) -> str:
    """JSON as models were trained on it: not escaped for HTML, as Jinja's own filter does."""
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _generation_blocks() -> Any:
    """``{% generation %}`` marks the assistant's text for training; here it is just a block."""
    from jinja2 import ext, nodes

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return Generation


def _cut_behind_last(text: str, last: Mapping[str, Any]) -> str:
    """The text up to the end of the last message's own."""
    content = last.get("content") or ""
    if not isinstance(content, str):
        content = content[-1]["text"] if content else ""
    start = text.rfind(content.strip())
    if start < 0:
        raise InvalidArgumentError(
            "The chat template does not write the last message as it is, so it cannot be gone on with.\n"
            "  Ask for a new answer: chat_template_args={'continue_final_message': False}."
        )
    end = start + len(content.strip())
    spaced = text[start : start + len(content.lstrip())]
    return text[: start + len(spaced)] if spaced == content.lstrip() else text[:end]
