"""The plugin host: finds plugins once, asks them what they have, and keeps what went wrong.

A plugin that cannot be imported, names a hook that does not exist, or raises when it is asked becomes a
``Failure``: told once as a warning, listed by ``inseq plugins``, added to the error of whoever asks for
something unknown, and of no consequence for anyone else.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import pluggy

from inseq_core.errors import InseqError, NotReadyWarning, PluginError, closest, listed
from inseq_core.hooks import hookspecs
from inseq_core.hooks.discovery import (
    DISABLE_VARIABLE,
    Candidate,
    canonical,
    disabled_by_environment,
    discover,
    is_disabled,
    is_traced_by_environment,
)
from inseq_core.hooks.known import KNOWN
from inseq_core.hooks.provenance import SESSION, Failure, Provenance
from inseq_core.hooks.registry import (
    ADAPTERS,
    AGGREGATION_FUNCTIONS,
    AGGREGATORS,
    COMMANDS,
    KINDS,
    METHODS,
    MODEL_CONFIGS,
    MODELS,
    STEP_FUNCTIONS,
    VIEWERS,
    Entry,
    Kind,
    Registry,
)
from inseq_core.hooks.specs import (
    AdapterSpec,
    AggregationFunctionSpec,
    AggregatorSpec,
    CommandSpec,
    MethodSpec,
    ModelConfigSpec,
    ModelSpec,
    StepFunctionSpec,
    ViewerSpec,
)

HOOKS: tuple[str, ...] = tuple(name for name in vars(hookspecs) if name.startswith("inseq_"))
"""Names of all hooks."""


@attrs.frozen(kw_only=True)
class PluginReport:
    """What there is to say about one plugin.

    Attributes:
        name, distribution, version: as in ``Provenance``.
        path: value of its entry point.
        status: ``"ready"``, ``"failed"`` (nothing or not everything of it works) or ``"disabled"``.
        provides: kind (``"methods"`` …) -> names.
        observes: hooks that it implements beyond those that list things.
        failures: what of it failed, and why.
    """

    name: str
    distribution: str = ""
    version: str = ""
    path: str = ""
    status: str = "ready"
    provides: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    observes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


class PluginHost:
    """Everything that plugins provide.

    Nothing is looked for before the first question. Made by hand only in tests; everybody else calls
    ``get_host``.

    Args:
        entry_points: instead of the installed ones (``importlib_metadata.EntryPoint`` or the like).
        disabled: names of plugins or distributions to leave out, instead of ``INSEQ_DISABLE_PLUGINS``.
        trace: print hook calls to stderr, instead of what ``INSEQ_TRACE_PLUGINS`` says.
    """

    def __init__(
        self,
        *,
        entry_points: Iterable[Any] | None = None,
        disabled: Iterable[str] | None = None,
        trace: bool | None = None,
    ) -> None:
        self._entry_points = None if entry_points is None else tuple(entry_points)
        self._disabled = (
            disabled_by_environment() if disabled is None else frozenset(map(canonical, disabled))
        )
        self._trace = is_traced_by_environment() if trace is None else trace
        self._manager: pluggy.PluginManager | None = None
        self._candidates: tuple[Candidate, ...] = ()
        self._sources: dict[str, Provenance] = {}
        self._failures: list[Failure] = []
        self._told = 0
        self._is_loading = False
        self._lock = threading.RLock()
        self._registries: dict[str, Registry[Any]] = {kind.key: self._registry(kind) for kind in KINDS}

    # What plugins provide ------------------------------------------------------------------------------------------

    @property
    def methods(self) -> Registry[MethodSpec]:
        """Attribution methods."""
        return self._registries[METHODS.key]

    @property
    def adapters(self) -> Registry[AdapterSpec]:
        """Frameworks."""
        return self._registries[ADAPTERS.key]

    @property
    def models(self) -> Registry[ModelSpec]:
        """Models that plugins carry."""
        return self._registries[MODELS.key]

    @property
    def step_functions(self) -> Registry[StepFunctionSpec]:
        """Step functions."""
        return self._registries[STEP_FUNCTIONS.key]

    @property
    def aggregators(self) -> Registry[AggregatorSpec]:
        """Aggregators."""
        return self._registries[AGGREGATORS.key]

    @property
    def aggregation_functions(self) -> Registry[AggregationFunctionSpec]:
        """Aggregation functions."""
        return self._registries[AGGREGATION_FUNCTIONS.key]

    @property
    def viewers(self) -> Registry[ViewerSpec]:
        """Viewers."""
        return self._registries[VIEWERS.key]

    @property
    def commands(self) -> Registry[CommandSpec]:
        """Sub-commands of the ``inseq`` program."""
        return self._registries[COMMANDS.key]

    @property
    def model_configs(self) -> Registry[ModelConfigSpec]:
        """Module names of model types, registered at run time."""
        return self._registries[MODEL_CONFIGS.key]

    def registry(self, key: str) -> Registry[Any]:
        """The registry of a kind (``"methods"``, ``"step_functions"`` …)."""
        return self._registries[key]

    # Plain hooks ---------------------------------------------------------------------------------------------------

    @property
    def hook(self) -> pluggy.HookRelay:
        """pluggy's own callers, without isolation: an exception of one plugin ends the call."""
        return self._load().hook

    def choose_framework(self, model: Any) -> str | None:
        """The framework that the first plugin with an opinion names for ``model``; None where none has one."""
        for source, caller in self._callers("inseq_choose_framework"):
            try:
                answer = caller(model=model)
                if answer is None:
                    continue
                if answer in self.adapters:
                    return str(answer)
                self._keep(
                    Failure.of(source, "inseq_choose_framework", f"gave {answer!r}, which is no framework")
                )
            except Exception as error:
                self._keep(Failure.of(source, "inseq_choose_framework", error))
        self._tell()
        return None

    def before_attribute(self, request: Any) -> None:
        """Let every plugin look at a request, and veto it.

        Raises:
            InseqError: the veto of a plugin.
            PluginError: a plugin raised anything else; a check that crashed did not pass.
        """
        for source, caller in self._callers("inseq_before_attribute"):
            try:
                caller(request=request)
            except InseqError:
                raise
            except Exception as error:
                raise PluginError(
                    f"inseq_before_attribute of {source} failed: {type(error).__name__}: {error}\n"
                    f"  To do without this plugin: {DISABLE_VARIABLE}={source.plugin}"
                ) from error

    def after_attribute(self, request: Any, output: Any) -> None:
        """Let every plugin look at a result; one that raises is kept as a failure, and the result is not lost."""
        for source, caller in self._callers("inseq_after_attribute"):
            try:
                caller(request=request, output=output)
            except Exception as error:
                self._keep(Failure.of(source, "inseq_after_attribute", error))
        self._tell()

    # What is there, and what went wrong ----------------------------------------------------------------------------

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Everything that was set aside so far; plugins are asked lazily, so more may come."""
        self._load()
        return tuple(self._failures)

    def plugins(self) -> tuple[PluginReport, ...]:
        """A report on each plugin; asks every plugin for everything."""
        manager = self._load()
        provided = [(kind.key, entry) for kind in KINDS for entry in self._registries[kind.key].entries()]
        listing = {kind.hook for kind in KINDS}
        # By plugin and distribution: what cannot be read has no entry point.
        paths = {candidate.provenance: candidate.path for candidate in self._candidates}
        paths.update({failure.source: paths.get(failure.source, "") for failure in self._failures})
        paths.update({source: paths.get(source, "") for source in self._sources.values()})
        keys = {source: key for key, source in self._sources.items()}
        reports = []
        for source, path in sorted(paths.items(), key=lambda item: (item[0].distribution, item[0].plugin)):
            failures = tuple(failure for failure in self._failures if failure.source == source)
            plugin = manager.get_plugin(keys[source]) if source in keys else None
            callers = (manager.get_hookcallers(plugin) or []) if plugin is not None else []
            reports.append(
                PluginReport(
                    name=source.plugin,
                    distribution=source.distribution,
                    version=source.version,
                    path=path,
                    status="disabled"
                    if is_disabled(source, self._disabled)
                    else "failed"
                    if failures
                    else "ready",
                    provides=_names_by_kind(
                        (key, entry) for key, entry in provided if entry.provenance == source
                    ),
                    observes=tuple(sorted({caller.name for caller in callers} - listing)),
                    failures=failures,
                )
            )
        session = _names_by_kind((key, entry) for key, entry in provided if entry.provenance == SESSION)
        if session:
            reports.append(PluginReport(name=SESSION.plugin, provides=session))
        return tuple(reports)

    def register_plugin(self, plugin: Any, source: Provenance) -> None:
        """Add a live plugin object, for tests and for ``check_plugin``; before any registry is used.

        Raises:
            PluginError: the object is no plugin, or a hook of it is misspelt.
        """
        self._register(self._load(), plugin, source)

    # Inside --------------------------------------------------------------------------------------------------------

    def _registry(self, kind: Kind[Any]) -> Registry[Any]:
        return Registry(kind, lambda: self._gather(kind), lambda name: self._absence(kind, name))

    def _load(self) -> pluggy.PluginManager:
        with self._lock:
            if self._manager is None:
                if self._is_loading:
                    raise PluginError(
                        "A plugin asked for what plugins provide while it was being imported.\n"
                        "  Ask inside a function, not at the top of the module."
                    )
                self._is_loading = True
                try:
                    self._manager = self._discover()
                finally:
                    self._is_loading = False
        self._tell()
        return self._manager

    def _discover(self) -> pluggy.PluginManager:
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        if self._trace:
            manager.add_hookcall_monitoring(_print_call, _print_nothing)
        candidates, failures = discover(self._entry_points)
        self._candidates = tuple(candidates)
        self._sources.clear()
        self._failures[:] = failures
        for candidate in candidates:
            if is_disabled(candidate.provenance, self._disabled):
                continue
            try:
                with _stdout_to_stderr():
                    plugin = candidate.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit() at import is the plugin's affair, not ours
                self._failures.append(Failure.of(candidate.provenance, "import", error))
                continue
            try:
                self._register(manager, plugin, candidate.provenance)
            except PluginError as error:
                self._failures.append(Failure.of(candidate.provenance, "registration", error))
        return manager

    def _register(self, manager: pluggy.PluginManager, plugin: Any, source: Provenance) -> None:
        key = f"{source.distribution}:{source.plugin}"
        if key in self._sources:
            raise PluginError(f"{source} is registered already.")
        for known, other in self._sources.items():
            if manager.get_plugin(known) is plugin:
                raise PluginError(
                    f"It is the same object as the plugin of {other}: one of the two is left over."
                )
        try:
            if plugin is None:
                raise TypeError("its entry point leads to None, not to a module or an object with hooks")
            hash(plugin)  # pluggy keeps plugins in sets
            forgotten = [name for name in HOOKS if _is_unmarked(plugin, name)]
            if forgotten:
                raise TypeError(f"{forgotten[0]} is not marked with @inseq_core.hookimpl")
            manager.register(plugin, name=key)
        except KeyboardInterrupt:
            raise
        except pluggy.PluginValidationError as error:
            raise PluginError(_newer_arguments(error)) from error
        except BaseException as error:
            raise PluginError(str(error) or type(error).__name__) from error
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            pending = [hook.name for hook in manager.get_hookcallers(plugin) or () if not hook.has_spec()]
            manager.unregister(plugin)
            raise PluginError(_no_such_hook(pending)) from error
        self._sources[key] = source

    def _callers(self, hook: str) -> Iterator[tuple[Provenance, Any]]:
        """One caller a plugin that implements ``hook``, in the order in which pluggy would ask them."""
        manager = self._load()
        everyone = set(manager.get_plugins())
        for implementation in reversed(getattr(manager.hook, hook).get_hookimpls()):
            plugin = implementation.plugin
            yield (
                self._sources[implementation.plugin_name],
                manager.subset_hook_caller(hook, everyone - {plugin}),
            )

    def _gather(self, kind: Kind[Any]) -> list[Entry[Any]]:
        if kind.hook is None:
            return []
        entries: list[Entry[Any]] = []
        for source, caller in self._callers(kind.hook):
            before = len(entries)
            try:
                with _stdout_to_stderr():
                    for record in _records(caller(), kind):
                        if isinstance(record, kind.spec):
                            entries.append(Entry(spec=record, provenance=source, kind=kind))
                        else:
                            given = f"{type(record).__name__} {record!r}"[:200]
                            reason = f"gave {given} where a {kind.spec.__name__} belongs"
                            self._keep(Failure.of(source, kind.hook, reason))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._keep(Failure.of(source, kind.hook, error))
            if self._trace:
                names = ", ".join(entry.name for entry in entries[before:])
                print(f"inseq:   {source} gave {names or 'nothing'}", file=sys.stderr)
        self._tell()
        return entries

    def _keep(self, failure: Failure) -> None:
        if failure not in self._failures:
            self._failures.append(failure)

    def _tell(self) -> None:
        """Warn about what failed since the last time; last of all, so that a warning made an error leaves us whole."""
        new, self._told = self._failures[self._told :], len(self._failures)
        for failure in new:
            warnings.warn(f"{failure}\n  See: inseq plugins", NotReadyWarning, stacklevel=4)

    def _absence(self, kind: Kind[Any], name: object) -> tuple[Mapping[str, str], str]:
        """For an unknown name: what could be installed, and what is installed but does not work."""
        self._load()
        installed = {canonical(c.provenance.distribution): c.provenance for c in self._candidates}
        known = KNOWN.get(kind.key, {})
        installable = {
            name: package for name, package in known.items() if canonical(package) not in installed
        }
        sentences = []
        home = installed.get(canonical(known.get(str(name), "")))
        if home is not None and is_disabled(home, self._disabled):
            sentences.append(f"{home} provides it, and is disabled by {DISABLE_VARIABLE}.")
        concerned = [f for f in self._failures if f.stage == kind.hook or f.stage not in HOOKS]
        concerned.sort(key=lambda failure: home is None or failure.source != home)
        sentences += [f"{failure}." for failure in concerned[:3]]
        return installable, "\n  ".join(sentences)


def _records(given: Any, kind: Kind[Any]) -> Iterator[Any]:
    """The records in pluggy's list of results: iterables of records, or single ones."""
    for result in given:
        if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
            yield result
        else:
            yield from result


def _names_by_kind(provided: Iterable[tuple[str, Entry[Any]]]) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for key, entry in provided:
        names[key] = (*names.get(key, ()), entry.name)
    return names


def _is_unmarked(plugin: Any, name: str) -> bool:
    """Whether a plugin defines a function with a hook's name and forgot to mark it."""
    function = getattr(plugin, name, None)
    if not callable(function) or getattr(function, "__module__", None) == hookspecs.__name__:
        return False
    return getattr(function, f"{hookspecs.PROJECT}_impl", None) is None


def _no_such_hook(pending: list[str]) -> str:
    parts = []
    for name in pending:
        near = closest(name, HOOKS)
        parts.append(f"no hook is named {name!r}" + (f" (did you mean {near!r}?)" if near else ""))
    return f"{'; '.join(parts)}; it is misspelt, or the plugin was written for a newer inseq-core"


def _newer_arguments(error: pluggy.PluginValidationError) -> str:
    detail = " ".join(str(error).split())
    return f"a hook has another signature in this version of inseq-core: {detail}"


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What a plugin prints while it is imported or asked may not end up in the output of a command."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _print_call(hook: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
    asked = listed([implementation.plugin_name for implementation in implementations]) or "nobody"
    print(f"inseq: {hook}({', '.join(arguments)}) asked of {asked}", file=sys.stderr)


def _print_nothing(outcome: Any, hook: str, implementations: Any, arguments: Mapping[str, Any]) -> None:
    """Results are printed where they are read."""


_HOST: PluginHost | None = None
_HOST_LOCK = threading.Lock()


def get_host() -> PluginHost:
    """The plugin host of this process, made when it is first asked for."""
    global _HOST
    with _HOST_LOCK:
        if _HOST is None:
            _HOST = PluginHost()
        return _HOST


@contextlib.contextmanager
def use_host(host: PluginHost) -> Iterator[PluginHost]:
    """A ``with`` block in which ``get_host`` gives ``host``, for tests."""
    global _HOST
    with _HOST_LOCK:
        before, _HOST = _HOST, host
    try:
        yield host
    finally:
        with _HOST_LOCK:
            _HOST = before
