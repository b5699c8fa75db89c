"""What is built, and what a clean environment finds once it is installed.

The idea: build the archives as a release does, look inside, install some of them into an environment that has
nothing else of ours (third-party requirements are linked in from this one: no network), and ask there.
"""

from __future__ import annotations

import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from support.environments import build, closure_of, make_environment, pip, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = sorted([*ROOT.glob("inseq_*"), *ROOT.glob("plugins/inseq_*")])

STRANGER = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "acme-inseq"
        version = "3.2.1"
        dependencies = ["inseq-core"]
        [project.entry-points.inseq]
        acme = "acme_inseq.plugin"
        [tool.hatch.build.targets.wheel]
        packages = ["src/acme_inseq"]
        """,
    "src/acme_inseq/__init__.py": "",
    "src/acme_inseq/plugin.py": """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            return [
                ic.MethodSpec(
                    name="acme_method",
                    factory="acme_inseq.method:Acme",
                    summary="A method from a package that nobody here has heard of.",
                )
            ]
        """,
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """A wheel of every distribution, by folder name."""
    into = tmp_path_factory.mktemp("wheels")
    return {folder.name: build(folder, "wheel", into) for folder in FOLDERS}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Path:
    """The wheel of a plugin that lives outside this repository."""
    folder = tmp_path_factory.mktemp("acme")
    for name, text in STRANGER.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return build(folder, "wheel", tmp_path_factory.mktemp("acme_wheel"))


def test_the_umbrella_archive_does_not_hold_the_repository(tmp_path):
    """It ships no code: without its include list, it would be a second copy of every package."""
    with tarfile.open(build(ROOT, "sdist", tmp_path)) as archive:
        names = {Path(member).relative_to(Path(member).parts[0]).as_posix() for member in archive.getnames()}

    assert names == {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}


def test_the_umbrella_wheel_holds_metadata_alone(tmp_path):
    """A module in it would be installed twice, by it and by the package it belongs to."""
    with zipfile.ZipFile(build(ROOT, "wheel", tmp_path)) as wheel:
        assert {Path(name).parts[0] for name in wheel.namelist()} == {"inseq-0.1.0.dist-info"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_wheel_holds_its_packages_types_and_license_and_no_tests(folder, wheels):
    """What is missing in a wheel is noticed by users first: in the repository everything is in place."""
    sources = {
        path.relative_to(folder / "src").as_posix()
        for path in (folder / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    with zipfile.ZipFile(wheels[folder.name]) as wheel:
        names = {name for name in wheel.namelist() if not Path(name).parts[0].endswith(".dist-info")}
        metadata = {
            Path(name).name for name in wheel.namelist() if Path(name).parts[0].endswith(".dist-info")
        }

    assert names == sources
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= metadata


def test_a_stranger_is_found_by_its_entry_point_and_gone_when_uninstalled(tmp_path, wheels, stranger):
    """The promise to plugin authors, end to end: install a wheel, no registration anywhere, and back."""
    python = make_environment(tmp_path / "fresh", closure_of("inseq-core"))
    pip(python, "install", "--no-index", "--no-deps", wheels["inseq_core"], stranger)
    command = python.with_name("inseq")

    assert "acme_method" in run(command, "plugins", cwd=tmp_path)
    assert "3.2.1" in run(command, "plugins", cwd=tmp_path)

    pip(python, "uninstall", "--yes", "acme-inseq")

    assert "acme" not in run(command, "plugins", cwd=tmp_path)


def test_the_core_alone_imports_and_lists_without_torch(tmp_path, wheels):
    """A machine that only shows saved attributions needs none of the model libraries."""
    python = make_environment(tmp_path / "fresh", closure_of("inseq-core"))
    pip(python, "install", "--no-index", "--no-deps", wheels["inseq_core"])
    found = "from importlib.util import find_spec; print([find_spec(m) for m in ('torch', 'transformers')])"

    assert run(python, "-c", found, cwd=tmp_path).strip() == "[None, None]"
    assert run(python, "-c", "import inseq; print(sorted(dir(inseq)) != [])", cwd=tmp_path).strip() == "True"
    assert "core" in run(python.with_name("inseq"), "plugins", cwd=tmp_path)


def test_all_packages_installed_together_are_ready(tmp_path, wheels):
    """Requirements suffice, and every entry point leads to a module that imports outside the repository."""
    names = {folder.name.replace("_", "-") for folder in FOLDERS}
    python = make_environment(tmp_path / "fresh", closure_of(*names))
    pip(python, "install", "--no-index", "--no-deps", *wheels.values())

    listed = run(python.with_name("inseq"), "plugins", cwd=tmp_path)

    assert {name for name in names if f"{name} 0.1.0  ready" not in listed} == set()
    assert "failed" not in listed
