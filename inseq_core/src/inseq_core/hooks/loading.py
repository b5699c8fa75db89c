"""Loading: from entry points to plugins that pluggy knows, each in isolation.

Whatever a plugin does while it is imported or registered (raise, exit, print, misspell a hook, ask for
arguments that a hook does not have) ends as a ``Failure`` of that plugin.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import attrs
import pluggy

from inseq_core.contracts.guard import one_line
from inseq_core.errors import PluginError, closest, listed
from inseq_core.hooks import hookspecs
from inseq_core.hooks.discovery import Candidate, discover, is_disabled
from inseq_core.hooks.provenance import Failure, Provenance

_PREFIX = f"{hookspecs.PROJECT}_"

HOOKS: tuple[str, ...] = tuple(name for name in vars(hookspecs) if name.startswith(_PREFIX))
"""Names of all hooks."""


@attrs.frozen(kw_only=True, eq=False)
class LoadedPlugins:
    """The plugins of a host.

    Attributes:
        manager: pluggy's, with every plugin that works.
        candidates: every installed plugin, also those that failed or are disabled.
        sources: name in the manager -> provenance.
        failures: what was set aside; grows as plugins are asked.
    """

    manager: pluggy.PluginManager
    candidates: tuple[Candidate, ...] = ()
    sources: dict[str, Provenance] = attrs.field(factory=dict)
    failures: list[Failure] = attrs.field(factory=list)

    def register(self, plugin: Any, source: Provenance) -> None:
        """Add a plugin object.

        Raises:
            PluginError: the object is no plugin, is there already, or one of its hooks is not right.
        """
        key = f"{source.distribution}:{source.plugin}"
        if key in self.sources:
            raise PluginError("its distribution has two plugins of this name")
        for known, other in self.sources.items():
            if self.manager.get_plugin(known) is plugin:
                raise PluginError(f"it is the same object as {other}: uninstall one of the two")
        try:
            if plugin is None:
                raise PluginError("its entry point leads to None, not to a module or an object with hooks")
            hash(plugin)  # pluggy keeps plugins in sets
            forgotten = [name for name in HOOKS if _is_unmarked(plugin, name)]
            if forgotten:
                raise PluginError(f"its function {forgotten[0]} is not marked with @inseq_core.hookimpl")
            self.manager.register(plugin, name=key)
        except (KeyboardInterrupt, PluginError):
            raise
        except pluggy.PluginValidationError as error:
            detail = " ".join(str(error).split())
            raise PluginError(
                f"one of its hooks has another signature in this inseq-core: {detail}"
            ) from error
        except BaseException as error:  # objects with attributes that raise, or exit
            raise PluginError(one_line(error)) from error
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            callers = self.manager.get_hookcallers(plugin) or []
            pending = [caller.name for caller in callers if not caller.has_spec()]
            self.manager.unregister(plugin)
            raise PluginError(_no_such_hook(pending)) from error
        self.sources[key] = source

    def callers(self, hook: str) -> Iterator[tuple[Provenance, pluggy.HookCaller]]:
        """A caller for each plugin that implements ``hook``, in the order in which pluggy would ask them."""
        everyone = self.manager.get_plugins()
        for implementation in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            caller = self.manager.subset_hook_caller(hook, everyone - {implementation.plugin})
            yield self.sources[implementation.plugin_name], caller

    def hooks_of(self, source: Provenance) -> tuple[str, ...]:
        """Names of the hooks that a plugin implements."""
        for key, known in self.sources.items():
            if known == source:
                callers = self.manager.get_hookcallers(self.manager.get_plugin(key)) or []
                return tuple(sorted(caller.name for caller in callers))
        return ()


def load_plugins(
    entry_points: Iterable[Any] | None, disabled: Collection[str], is_traced: bool
) -> LoadedPlugins:
    """Find, import and register every plugin that is not disabled.

    Args:
        entry_points: instead of the installed ones.
        disabled: names of plugins or distributions to leave out.
        is_traced: print hook calls to stderr.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    if is_traced:
        manager.add_hookcall_monitoring(_trace_call, _ignore_result)
    candidates, failures = discover(entry_points)
    loaded = LoadedPlugins(manager=manager, candidates=tuple(candidates), failures=failures)
    for candidate in candidates:
        if is_disabled(candidate.provenance, disabled):
            continue
        try:
            with stdout_to_stderr():
                plugin = candidate.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() at import ends the plugin, not the program
            failures.append(Failure.of(candidate.provenance, "import", error))
            continue
        try:
            loaded.register(plugin, candidate.provenance)
        except PluginError as error:
            failures.append(Failure.of(candidate.provenance, "registration", error))
    return loaded


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What a plugin prints while it is imported or asked may not end up in the output of a command."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _is_unmarked(plugin: Any, name: str) -> bool:
    """Whether a plugin defines a function with a hook's name and forgot to mark it."""
    function = getattr(plugin, name, None)
    if not callable(function) or getattr(function, "__module__", None) == hookspecs.__name__:
        return False
    return getattr(function, f"{_PREFIX}impl", None) is None


def _no_such_hook(pending: list[str]) -> str:
    parts = []
    for name in pending:
        # The prefix is every hook's: it says nothing about what was meant.
        near = closest(name.removeprefix(_PREFIX), [hook.removeprefix(_PREFIX) for hook in HOOKS])
        parts.append(f"no hook is named {name!r}" + (f" (did you mean '{_PREFIX}{near}'?)" if near else ""))
    return f"{'; '.join(parts)}; misspelt, or written for a newer inseq-core"


def _trace_call(hook: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
    asked = listed([implementation.plugin_name for implementation in implementations]) or "nobody"
    sys.stderr.write(f"inseq: {hook}({', '.join(arguments)}) asked of {asked}\n")


def _ignore_result(outcome: Any, hook: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
    """Results are printed where they are read: a generator's records are not there yet."""
