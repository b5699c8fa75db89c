"""What ``inseq new-plugin`` writes and refuses; that its packages work is tried in tests/packaging."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from inseq_core.cli.new_plugin import STARTERS, write_plugin
from inseq_core.errors import AlreadyRegisteredError, InvalidArgumentError
from inseq_core.hooks.kinds import KINDS
from inseq_core.testing.subjects import CHECKABLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize("kind", sorted(STARTERS))
def test_a_new_plugin_has_the_shape_of_every_distribution(tmp_path: Path, kind: str):
    """Entry point, lazy path, types, tests and a README: what is missing here is missing in everybody's plugin."""
    folder = write_plugin("acme-thing", kind, tmp_path)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert folder == tmp_path / "acme-thing"
    assert project["entry-points"]["inseq"] == {"acme_thing": "acme_thing.plugin"}
    assert files == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/acme_thing/__init__.py",
        "src/acme_thing/acme_thing.py",
        "src/acme_thing/plugin.py",
        "src/acme_thing/py.typed",
        "tests/test_acme_thing.py",
    }
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text())
    assert not any("{{" in path.read_text() for path in folder.rglob("*.py"))


def test_every_kind_that_can_be_checked_can_be_started():
    """Aggregation functions are one line each: their example is an aggregator's."""
    started = {starter.kind for starter in STARTERS.values()}

    assert started == set(CHECKABLE) - {"aggregation_functions"}
    assert started <= {kind.key for kind in KINDS}


@pytest.mark.parametrize(
    "name",
    ["", "1st", "two words", "class", "match", "json", "inseq-mine", "été", "../up", "a--b", "-x", "plugin"],
)
def test_what_is_no_name_for_a_package_is_refused(tmp_path: Path, name: str):
    """The name becomes a package, an entry point and an id; what cannot be all three fails later, and worse."""
    with pytest.raises(InvalidArgumentError, match="NAME"):
        write_plugin(name, "method", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(tmp_path: Path):
    """Two plugins that give one name are a conflict for whoever installs both."""
    with pytest.raises(AlreadyRegisteredError, match="'saliency' exists: inseq-captum"):
        write_plugin("saliency", "method", tmp_path)


def test_nothing_is_written_over(tmp_path: Path):
    """Somebody's work may be in that folder, or a file may have the name."""
    (tmp_path / "acme-thing").write_text("mine")

    with pytest.raises(InvalidArgumentError, match="exists, and nothing is ever written over"):
        write_plugin("acme_thing", "method", tmp_path)
    assert (tmp_path / "acme-thing").read_text() == "mine"


def test_an_unknown_kind_is_refused_with_those_that_exist(tmp_path: Path):
    """From Python; the command line offers them."""
    with pytest.raises(InvalidArgumentError, match="adapter, aggregator, method, step-function, viewer"):
        write_plugin("acme-thing", "metod", tmp_path)
