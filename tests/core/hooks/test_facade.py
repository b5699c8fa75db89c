"""The façade: every public name is there, and importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import inseq

HEAVY = (
    "torch",
    "transformers",
    "captum",
    "numpy",
    "rich",
    "jinja2",
    "importlib_metadata",
    "click",
    "pluggy",
)


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a new process has after running ``code``."""
    code += "\nimport sys\nsys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_importing_inseq_imports_nothing_else():
    """A fraction of a second with everything installed: plugins and libraries come when they are used."""
    assert not loaded_after("import inseq") & set(HEAVY)


def test_listing_everything_imports_no_framework():
    """Spec records name what they lead to without importing it."""
    listed = loaded_after(
        "import inseq\nfor name in dir(inseq):\n    if name.startswith('list_'): getattr(inseq, name)()\n"
    )

    assert not listed & {"torch", "transformers", "captum", "sklearn", "onnxruntime"}


@pytest.mark.parametrize("name", inseq.__all__)
def test_every_public_name_can_be_had(name):
    """A table of lazy names is not checked by anything else."""
    assert getattr(inseq, name) is not None


def test_names_complete_in_an_editor():
    """``dir`` shows what can be had, imported or not."""
    assert set(inseq.__all__) <= set(dir(inseq))


def test_a_misspelt_name_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="load_modle"):
        _ = inseq.load_modle


def test_the_version_is_that_of_the_distribution():
    """Both spellings."""
    from importlib.metadata import version

    assert inseq.__version__ == inseq.get_version() == version("inseq-core")


def test_lists_are_sorted():
    """Deterministic, whatever is installed."""
    for name in dir(inseq):
        if name.startswith("list_") and name != "list_plugins":
            names = getattr(inseq, name)()
            assert names == sorted(names)
