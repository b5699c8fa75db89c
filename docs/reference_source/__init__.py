"""The reference pages, written from the code: registries, command line, Python names.

Nothing here needs sphinx. ``write_pages(folder)`` writes Markdown; ``docs/conf.py`` calls it before each build,
``python docs/reference_source`` for a look at the result. What is said about a method or function is said once,
in its spec and docstring.
"""

from __future__ import annotations

from pathlib import Path

from reference_source.api_pages import api_pages
from reference_source.registry_pages import registry_pages


def pages() -> dict[str, str]:
    """File name -> Markdown, of every reference page."""
    return {**registry_pages(), **api_pages()}


def write_pages(folder: Path) -> None:
    """Write the pages that changed, and remove what is no page any more."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
