"""The site: `make docs` writes it to docs/_build/html."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "inseq"
author = "The inseq maintainers"
copyright = author
version = release = installed_version("inseq-core")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "inseq"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
