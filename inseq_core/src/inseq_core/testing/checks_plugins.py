"""Checks of plugins as a whole: found, in order, light to list, and in nobody's way."""

from __future__ import annotations

import json
import subprocess
import sys

from inseq_core.hooks.discovery import DISABLE_VARIABLE
from inseq_core.hooks.registry import resolve
from inseq_core.testing.checks import PLUGINS, NotApplicable, check_of, demand
from inseq_core.testing.plugins import PluginUnderTest

HEAVY = (
    "torch",
    "transformers",
    "captum",
    "tensorflow",
    "jax",
    "onnxruntime",
    "matplotlib",
    "pandas",
    "sklearn",
)
"""What listing may not import: each takes longer than everything else together."""


@check_of(PLUGINS)
def it_is_ready(plugin: PluginUnderTest) -> None:
    """It was imported and asked for everything, and nothing went wrong.

    A plugin that fails is set aside; its author hears of it here.
    """
    demand(plugin.report.status != "disabled", f"it is disabled by {DISABLE_VARIABLE}")
    reasons = "; ".join(f"{failure.stage}: {failure.reason}" for failure in plugin.report.failures)
    demand(not reasons, reasons)


@check_of(PLUGINS)
def it_provides_something(plugin: PluginUnderTest) -> None:
    """It gives at least one thing, or observes calls.

    An entry point that leads to a module without hooks is a slip.
    """
    demand(bool(plugin.report.provides or plugin.report.observes), "it provides nothing and observes nothing")


@check_of(PLUGINS)
def its_names_are_free(plugin: PluginUnderTest) -> None:
    """No other installed plugin gives a name that it gives.

    Neither of the two can be used then.
    """
    taken = [name for names in plugin.report.conflicts.values() for name in names]
    demand(not taken, f"{', '.join(taken)} is provided by another plugin too")


@check_of(PLUGINS)
def everything_resolves(plugin: PluginUnderTest) -> None:
    """Every lazy path leads to something.

    Listing does not follow them.
    """
    for entry in plugin.entries():
        entry.load()
        for name in ("check", "prepare"):
            path = getattr(entry.spec, name, None)
            if path is not None:
                resolve(path, f"{name} of {entry.name!r}")


@check_of(PLUGINS)
def listing_is_light(plugin: PluginUnderTest) -> None:
    """Listing what it provides imports no model library.

    `inseq -h` and `import inseq` would take seconds.
    """
    if not plugin.report.path:
        raise NotApplicable("it has no module of its own")
    program = (
        "import json, sys\n"
        "from inseq_core.hooks import PluginHost\n"
        "host = PluginHost()\n"
        f"host.plugins()\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False
    )
    demand(done.returncode == 0, done.stderr.strip().splitlines()[-1] if done.stderr else "listing failed")
    heavy = json.loads(done.stdout.strip().splitlines()[-1])
    demand(not heavy, f"listing imports {', '.join(heavy)}: use lazy paths, and import inside functions")


CHECKS = (
    it_is_ready,
    it_provides_something,
    its_names_are_free,
    everything_resolves,
    listing_is_light,
)
