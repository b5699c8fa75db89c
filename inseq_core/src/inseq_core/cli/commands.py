"""Sub-commands by what is typed: hyphens and underscores are the same on the command line.

For the registry ``attribute-dataset`` and ``attribute_dataset`` are two names. Here they are one, and two
plugins that give both are in conflict.
"""

from __future__ import annotations

from inseq_core.errors import PluginConflictError
from inseq_core.hooks import commands
from inseq_core.hooks.discovery import DISABLE_VARIABLE
from inseq_core.hooks.provenance import Provenance
from inseq_core.hooks.registry import Entry
from inseq_core.hooks.specs import CommandSpec

Entries = tuple[Entry[CommandSpec], ...]


def command_typed(name: str) -> Entry[CommandSpec] | None:
    """The command of a name in either spelling; None where there is none.

    Raises:
        PluginConflictError: two plugins provide it.
    """
    found = _by_spelling().get(_hyphens(name), ())
    names = {entry.name for entry in found}
    if len(names) > 1:
        raise PluginConflictError(f"{spelling_conflict(found)}\n  {_way_out(found)}")
    return commands().get(names.pop()) if names else None


def spelling_conflicts() -> dict[str, Entries]:
    """With hyphens -> those that provide it, for commands that are provided in both spellings."""
    return {name: found for name, found in _by_spelling().items() if len({entry.name for entry in found}) > 1}


def spelling_conflict(found: Entries) -> str:
    """What is wrong with them, in a sentence."""
    sources = " and ".join(f"{entry.name!r} of {entry.provenance}" for entry in found)
    return f"The commands {sources} are the same to whoever types them."


def _way_out(found: Entries) -> str:
    plugins = [entry.provenance.plugin for entry in found if not _is_at_hand(entry.provenance)]
    switches = " or ".join(f"{DISABLE_VARIABLE}={plugin}" for plugin in plugins)
    return f"Disable all but one: {switches}" if switches else "Choose another name."


def _is_at_hand(source: Provenance) -> bool:
    """Ours, which nobody wants to do without, or of this session."""
    return source.is_session or source.distribution == "inseq-core"


def _by_spelling() -> dict[str, Entries]:
    found: dict[str, Entries] = {}
    for entry in commands().entries():
        name = _hyphens(entry.name)
        found[name] = (*found.get(name, ()), entry)
    return found


def _hyphens(name: str) -> str:
    return name.replace("_", "-")
