"""Packages that are installed for one test: a .dist-info folder and modules on sys.path, without pip."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import importlib_metadata
import pytest

from inseq_core.hooks import PluginHost

_NUMBERS = itertools.count()


@attrs.frozen
class Site:
    """A folder on sys.path that packages are put into."""

    folder: Path

    def install(
        self, distribution: str, plugin: str, version: str | None = "1.0", name: str = "acme", path: str = ""
    ) -> str:
        """A distribution with one plugin module; gives the name of the module.

        Args:
            plugin: source of the module.
            version: None leaves METADATA out.
            name: of the entry point.
            path: value of the entry point, ``{module}`` in it is the module; the module itself by default.
        """
        module = f"fake_plugin_{next(_NUMBERS)}"
        (self.folder / f"{module}.py").write_text(textwrap.dedent(plugin), encoding="utf-8")
        value = path.format(module=module) or module
        self.describe(distribution, version, f"[inseq]\n{name} = {value}\n")
        return module

    def describe(self, distribution: str, version: str | None, entry_points: str) -> None:
        """The metadata of a distribution, alone."""
        folder = self.folder / f"{distribution.replace('-', '_')}-{version or '0'}.dist-info"
        folder.mkdir(exist_ok=True)
        if version is not None:
            text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            (folder / "METADATA").write_text(text, encoding="utf-8")
        (folder / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        importlib.invalidate_caches()

    def host(self) -> PluginHost:
        """A host of the plugins in this folder alone."""
        points = [
            point
            for distribution in importlib_metadata.distributions(path=[str(self.folder)])
            for point in distribution.entry_points.select(group="inseq")
        ]
        return PluginHost(entry_points=points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Where a test installs packages; everything is gone after it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for variable in ("INSEQ_DISABLE_PLUGINS", "INSEQ_TRACE_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)
    before: Mapping[str, object] = dict(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - set(before):
        if name.startswith("fake_plugin_"):
            del sys.modules[name]


WORKING = """
import inseq_core as ic

@ic.hookimpl
def inseq_attribution_methods():
    yield ic.MethodSpec(name="acme_method", factory="acme.method:Method", summary="Nothing but a name.")
"""


@pytest.fixture
def working() -> str:
    """Source of a plugin in order, which gives the method ``acme_method``."""
    return WORKING
