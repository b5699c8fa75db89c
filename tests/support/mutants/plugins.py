"""Plugins that are broken in one way each, as they would be installed: modules on a path, with entry points."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import importlib_metadata
from support.mutants.record import Mutant

from inseq_core.hooks import PluginHost, use_host
from inseq_core.testing.subjects import subjects

SOUND = """
import inseq_core as ic

@ic.hookimpl
def inseq_attribution_methods():
    yield ic.MethodSpec(
        name="sound", factory="inseq_core.methods.dummy:Dummy", summary="Nothing.", paper="none", passes="0"
    )
"""
OTHER = SOUND
"""A second distribution, where a test wants one."""


@contextlib.contextmanager
def installed(*sources: str, more: dict[str, str] | None = None) -> Iterator[PluginHost]:
    """Distributions mutant-0, mutant-1 … with one plugin module each, found by a host of their own.

    Args:
        sources: of the plugin modules.
        more: other modules beside them, by name.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i, source in enumerate(sources):
            module = f"mutant_plugin_{root.name.replace('-', '_')}_{i}"
            (root / f"{module}.py").write_text(source, encoding="utf-8")
            info = root / f"mutant_{i}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mutant-{i}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[inseq]\nmutant{i} = {module}\n")
        for name, source in (more or {}).items():
            (root / f"{name}.py").write_text(source, encoding="utf-8")
        before, path = os.environ.get("PYTHONPATH"), list(sys.path)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, before]))
        sys.path.insert(0, folder)
        try:
            points = [
                point
                for distribution in importlib_metadata.distributions(path=[folder])
                for point in distribution.entry_points.select(group="inseq")
            ]
            with use_host(PluginHost(entry_points=points)) as host:
                yield host
        finally:
            sys.path[:] = path
            for name in [
                name for name in sys.modules if name.startswith("mutant_plugin_") or name in (more or {})
            ]:
                del sys.modules[name]
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


def plugin() -> Any:
    """The first of the installed plugins under test; asked for inside of ``around``."""
    return subjects("mutant0", "plugins")[0].looked_at


def around(*sources: str, **options: Any) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """The ``with`` block in which a plugin is looked at."""
    return lambda: installed(*sources, **options)


PLUGINS = (
    Mutant(
        check="it_is_ready",
        defect="raises when it is imported",
        make=plugin,
        around=around("raise OSError('no')\n"),
    ),
    Mutant(
        check="it_is_ready",
        defect="a misspelt hook",
        make=plugin,
        around=around(SOUND.replace("inseq_attribution_methods", "inseq_atribution_methods")),
    ),
    Mutant(
        check="it_is_ready",
        defect="a spec that is refused",
        make=plugin,
        around=around(SOUND.replace('summary="Nothing."', 'summary=""')),
    ),
    Mutant(
        check="it_provides_something", defect="a module without hooks", make=plugin, around=around("x = 1\n")
    ),
    Mutant(
        check="its_names_are_free",
        defect="a name that another plugin gives",
        make=plugin,
        around=around(SOUND, OTHER.replace("Nothing.", "Something else.")),
    ),
    Mutant(
        check="everything_resolves",
        defect="a lazy path that leads nowhere",
        make=plugin,
        around=around(SOUND.replace("dummy:Dummy", "dummy:Dumy")),
    ),
    Mutant(
        check="listing_is_light",
        defect="imports a model library at the top of its module",
        make=plugin,
        around=around("import tensorflow\n" + SOUND, more={"tensorflow": ""}),
    ),
)
