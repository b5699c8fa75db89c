"""Every distribution of the repository has the same shape, one version, and says what it needs.

The idea: read what the repository declares (each pyproject.toml, the lists in the root) and what it contains
(folders, imports), two independent sources, and compare them.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FOLDERS = sorted([*ROOT.glob("inseq_*"), *ROOT.glob("plugins/inseq_*")])
BY_FOLDER = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
UMBRELLA = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXAMPLES = {"inseq-example-method", "inseq-example-step-function"}


def project_of(folder: Path) -> dict[str, Any]:
    """The [project] table of a distribution."""
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def requirements_of(project: dict[str, Any]) -> list[str]:
    """All requirements of a project, those of its extras included."""
    extras = project.get("optional-dependencies", {})
    return [*project.get("dependencies", []), *(line for lines in extras.values() for line in lines)]


def name_in(requirement: str) -> str:
    """The normalized name of the distribution that a requirement asks for."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement).group()).lower()


def packages_of(folder: Path) -> list[Path]:
    """The import packages of a distribution."""
    return sorted(path.parent for path in folder.glob("src/*/__init__.py"))


def imported_names(source: Path) -> Iterator[str]:
    """Top-level names of absolute imports, wherever they stand in the file, except for types only."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return visit(ast.parse(source.read_text()))


@BY_FOLDER
def test_a_distribution_has_the_shape_of_all_others(folder):
    """Knowing one is knowing all, and a stranger can copy any of them."""
    packages = packages_of(folder)

    assert (folder / "README.md").read_text().startswith(f"# {project_of(folder)['name']}\n")
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert packages
    assert all((package / "py.typed").exists() for package in packages)
    assert not (folder / folder.name).exists()  # would shadow the package when run from the root


@BY_FOLDER
def test_a_distribution_shares_version_license_and_python_with_the_umbrella(folder):
    """They are released together; one that lags behind could not be installed beside the others."""
    shared = ("version", "license", "requires-python")

    assert {key: project_of(folder)[key] for key in shared} == {
        key: UMBRELLA["project"][key] for key in shared
    }


@BY_FOLDER
def test_a_distribution_registers_plugin_modules_of_its_own(folder):
    """First-party packages are found as strangers' are: through entry points of the group."""
    modules = list(project_of(folder)["entry-points"]["inseq"].values())

    assert modules
    assert all((folder / "src" / (module.replace(".", "/") + ".py")).exists() for module in modules)


@BY_FOLDER
def test_requirements_among_our_packages_name_the_shared_version(folder):
    """A mix of versions would pass the installer and fail at run time."""
    ours = [line for line in requirements_of(project_of(folder)) if name_in(line).startswith("inseq-")]

    assert all(line.endswith(f"=={UMBRELLA['project']['version']}") for line in ours)


@pytest.mark.parametrize("folder", [ROOT, *FOLDERS], ids=lambda folder: folder.name)
def test_nothing_requires_the_name_inseq(folder):
    """On the index that name is another package, which brings a façade of its own."""
    assert "inseq" not in map(name_in, requirements_of(project_of(folder)))


@BY_FOLDER
def test_every_import_belongs_to_a_declared_requirement(folder):
    """The development environment has everything, so only a clean one would notice a missing line."""
    project = project_of(folder)
    extras = {name_in(line) for line in requirements_of(UMBRELLA["project"])}
    declared = (
        {name_in(line) for line in requirements_of(project)} | extras | {name_in(project["name"]), "pytest"}
    )
    own = {package.name for package in packages_of(folder)}
    ours = {p.name: [project_of(f)["name"]] for f in FOLDERS for p in packages_of(f)}
    providers = {**importlib.metadata.packages_distributions(), **ours}
    imports = {name for source in (folder / "src").rglob("*.py") for name in imported_names(source)}
    foreign = imports - own - set(sys.stdlib_module_names)

    missing = {name for name in foreign if declared.isdisjoint(map(name_in, providers.get(name, [])))}

    assert missing == set()


def test_the_umbrella_requires_every_package_except_the_examples():
    """`pip install inseq` is meant to give what the documentation shows."""
    names = {project_of(folder)["name"] for folder in FOLDERS}
    required = {name_in(line) for line in requirements_of(UMBRELLA["project"])}

    assert {name for name in required if name.startswith("inseq-")} == names - EXAMPLES


def test_the_development_environment_holds_every_package():
    """They require each other, so one that is missing from the list would be looked for on an index."""
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    editable = {re.sub(r"\[.*", "", line.removeprefix("-e ")) for line in lines if line.startswith("-e ")}

    assert editable == {".", *(f"./{folder.relative_to(ROOT).as_posix()}" for folder in FOLDERS)}


def test_the_tools_look_at_every_package():
    """A package that is left out of these lists would be neither typed nor held to the layers."""
    packages = sorted(package.name for folder in FOLDERS for package in packages_of(folder))
    sources = sorted(f"{folder.relative_to(ROOT).as_posix()}/src" for folder in FOLDERS)
    tool = UMBRELLA["tool"]

    assert sorted(tool["mypy"]["packages"]) == packages
    assert sorted(tool["mypy"]["mypy_path"]) == sources
    assert sorted(tool["importlinter"]["root_packages"]) == packages
    assert sorted(tool["coverage"]["run"]["source_pkgs"]) == packages
    assert sorted(tool["ruff"]["lint"]["isort"]["known-first-party"]) == packages


def test_every_plugin_is_held_to_the_rules_for_plugins():
    """The rules name the packages one by one; a new plugin must not slip through."""
    plugins = sorted(p.name for f in FOLDERS if f.name != "inseq_core" for p in packages_of(f))
    contracts = {contract["name"]: contract for contract in UMBRELLA["tool"]["importlinter"]["contracts"]}
    core = next(c for name, c in contracts.items() if name.startswith("The core imports no torch"))

    assert contracts["Plugins do not import each other"]["modules"] == plugins
    assert contracts["Plugins do not import the façade"]["source_modules"] == plugins
    assert set(plugins) < set(core["forbidden_modules"])
