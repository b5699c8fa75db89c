"""A package written by ``inseq new-plugin`` works at once: installed from a wheel, its own tests pass, and it is gone
after it was uninstalled.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.environments import attempt, build, make_companion, pip, run

from inseq_core.cli.new_plugin import STARTERS, write_plugin

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """Kind -> the folder of a new plugin of that kind, outside the repository."""
    root = tmp_path_factory.mktemp("new")
    return {kind: write_plugin(f"acme-{kind}", kind, root) for kind in STARTERS}


@pytest.fixture(scope="module")
def python(tmp_path_factory, written) -> Path:
    """The python of an environment in which wheels of all of them are installed."""
    root = tmp_path_factory.mktemp("installed")
    (root / "wheels").mkdir()
    wheels = [build(folder, "wheel", root / "wheels") for folder in written.values()]
    python = make_companion(root / "environment")
    pip(python, "install", "--no-index", "--no-deps", *wheels)
    return python


@pytest.mark.parametrize("kind", sorted(STARTERS))
def test_the_tests_of_a_new_plugin_pass(written, python, kind):
    """The conformance kit among them; a template that fails it would be everybody's first experience."""
    code, output = attempt(
        python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=written[kind], OMP_NUM_THREADS="1"
    )

    assert code == 0, output
    assert "failed" not in output


@pytest.mark.parametrize("kind", sorted(STARTERS))
def test_the_example_in_the_readme_of_a_new_plugin_runs(written, python, kind):
    """It is what its author's users try first."""
    (code,) = [
        block.removeprefix("python\n")
        for block in (written[kind] / "README.md").read_text().split("```")
        if block.startswith("python\n")
    ]

    assert run(python, "-W", "ignore", "-c", code, cwd=written[kind]).strip()


def test_new_plugins_are_found_and_gone_when_uninstalled(written, python, tmp_path):
    """Found by their entry points alone. The last test: it takes them away."""

    def names() -> set[str]:
        listed = run(python, "-m", "inseq", "plugins", "--json", cwd=tmp_path)
        return {plugin["name"] for plugin in json.loads(listed) if plugin["status"] == "ready"}

    new = {f"acme_{kind.replace('-', '_')}" for kind in written}
    assert new <= names()

    pip(python, "uninstall", "--yes", *(f"acme-{kind}" for kind in written))

    assert new.isdisjoint(names())
