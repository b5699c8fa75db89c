"""The site: `make docs` writes it to docs/_build/html. Reference pages are written from the code first."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

from reference_source import write_pages  # noqa: E402

write_pages(DOCS / "reference")

project = "inseq"
author = "The inseq maintainers"
copyright = author
version = release = installed_version("inseq-core")

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "inseq"
html_static_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
