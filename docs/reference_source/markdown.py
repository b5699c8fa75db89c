"""Text of docstrings and specs as Markdown: code in backticks, everything else as it reads."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WRITTEN_BY = "<!-- Written from the code by docs/reference_source: edit the docstring or spec instead. -->"

_CODE = re.compile(r"``(?P<double>.+?)``|`(?P<single>[^`\n]+)`", re.DOTALL)
_MARKS = re.compile(r"([\\*_\[\]<>|$~#])")
_WITHIN_WORDS = re.compile(r"(?<=\w)\\_(?=\w)")


def prose(text: str) -> str:
    """One paragraph: what is in (double) backticks as code, other characters as themselves."""
    text = " ".join(text.split())
    parts, end = [], 0
    for match in _CODE.finditer(text):
        parts += [_escaped(text[end : match.start()]), code(match["double"] or match["single"])]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return _WITHIN_WORDS.sub("_", _MARKS.sub(r"\\\1", text))


def code(text: str) -> str:
    """Inline code."""
    text = " ".join(str(text).split())
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def fenced(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown."""
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_within_cell(cell) for cell in cells) + " |"


def _within_cell(cell: str) -> str:
    """A bar would end the cell, also within code."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split()))


def entries(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names (Markdown) and what they are."""
    lines = []
    for name, text in pairs:
        lines += textwrap.wrap(
            f"- {name}: {text}" if text else f"- {name}",
            110,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def page(*parts: str) -> str:
    """Parts with blank lines between them."""
    return "\n\n".join(part for part in (WRITTEN_BY, *parts) if part) + "\n"


def paper(text: str) -> str:
    """A citation; an address becomes a link."""
    return f"[{text}]({text})" if re.fullmatch(r"https?://\S+", text) else prose(text)
