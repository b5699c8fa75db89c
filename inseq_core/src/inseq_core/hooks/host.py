"""The plugin host: asks plugins once what they have, and keeps what went wrong.

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

from inseq_core.contracts.guard import FOREIGN, Guard, shown
from inseq_core.errors import NotReadyWarning, PluginError
from inseq_core.hooks import kinds
from inseq_core.hooks.discovery import (
    DISABLE_VARIABLE,
    canonical,
    disabled_by_environment,
    is_disabled,
    is_traced_by_environment,
)
from inseq_core.hooks.kinds import KINDS, Kind, kind_named
from inseq_core.hooks.known import KNOWN
from inseq_core.hooks.loading import HOOKS, LoadedPlugins, load_plugins, stdout_to_stderr
from inseq_core.hooks.provenance import Failure, Provenance
from inseq_core.hooks.registry import Entry, Registry
from inseq_core.hooks.report import PluginReport, reports_on
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


class PluginHost:
    """Everything that plugins provide.

    Nothing is looked for before the first question. Made by hand only in tests; others call ``get_host``.

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
        self._disabled = disabled_by_environment() if disabled is None else frozenset(disabled)
        self._is_traced = is_traced_by_environment() if trace is None else trace
        self._plugins: LoadedPlugins | None = None
        self._told = 0
        self._is_loading = False
        self._lock = threading.RLock()
        self._registries: dict[str, Registry[Any]] = {kind.key: self._registry(kind) for kind in KINDS}

    @property
    def methods(self) -> Registry[MethodSpec]:
        """Attribution methods."""
        return self._registries[kinds.METHODS.key]

    @property
    def adapters(self) -> Registry[AdapterSpec]:
        """Frameworks."""
        return self._registries[kinds.ADAPTERS.key]

    @property
    def models(self) -> Registry[ModelSpec]:
        """Models that plugins carry."""
        return self._registries[kinds.MODELS.key]

    @property
    def step_functions(self) -> Registry[StepFunctionSpec]:
        """Step functions."""
        return self._registries[kinds.STEP_FUNCTIONS.key]

    @property
    def aggregators(self) -> Registry[AggregatorSpec]:
        """Aggregators."""
        return self._registries[kinds.AGGREGATORS.key]

    @property
    def aggregation_functions(self) -> Registry[AggregationFunctionSpec]:
        """Aggregation functions."""
        return self._registries[kinds.AGGREGATION_FUNCTIONS.key]

    @property
    def viewers(self) -> Registry[ViewerSpec]:
        """Viewers."""
        return self._registries[kinds.VIEWERS.key]

    @property
    def commands(self) -> Registry[CommandSpec]:
        """Sub-commands of the ``inseq`` program."""
        return self._registries[kinds.COMMANDS.key]

    @property
    def model_configs(self) -> Registry[ModelConfigSpec]:
        """Module names of model types, registered at run time."""
        return self._registries[kinds.MODEL_CONFIGS.key]

    def registry(self, key: str) -> Registry[Any]:
        """The registry of a kind (``"methods"``, ``"step_functions"`` …).

        Raises:
            UnknownNameError: there is no such kind.
        """
        return self._registries[kind_named(key).key]

    @property
    def hook(self) -> pluggy.HookRelay:
        """pluggy's own callers, without isolation: an exception of one plugin ends the call for all."""
        return self._load().manager.hook

    def choose_framework(self, model: Any) -> str | None:
        """The framework that the first plugin with an opinion names for ``model``; None if none has."""
        hook = "inseq_choose_framework"
        chosen = None
        for source, caller in self._load().callers(hook):
            try:
                answer = caller(model=model)
                if answer in self.adapters:
                    chosen = str(answer)
                    break
                if answer is not None:
                    self._keep(Failure.of(source, hook, f"gave {shown(answer)}, which is no framework"))
            except FOREIGN as error:
                self._keep(Failure.of(source, hook, error))
        self._tell()
        return chosen

    def before_attribute(self, request: Any) -> None:
        """Let every plugin look at a request, and veto it.

        Raises:
            InseqError: the veto of a plugin.
            PluginError: a plugin raised anything else; a check that crashed did not pass.
        """
        for source, caller in self._load().callers("inseq_before_attribute"):
            failed = f"inseq_before_attribute of {source} failed"
            advice = f"To do without this plugin: {DISABLE_VARIABLE}={source.plugin}"
            with Guard(PluginError, failed, advice=advice):
                caller(request=request)

    def after_attribute(self, request: Any, output: Any) -> None:
        """Let every plugin look at a result; one that raises is kept as a failure, the result is not lost."""
        hook = "inseq_after_attribute"
        for source, caller in self._load().callers(hook):
            try:
                caller(request=request, output=output)
            except FOREIGN as error:
                self._keep(Failure.of(source, hook, error))
        self._tell()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Everything that was set aside so far; plugins are asked lazily, so more may come."""
        return tuple(self._load().failures)

    def plugins(self) -> tuple[PluginReport, ...]:
        """A report on each plugin; asks every plugin for everything."""
        plugins = self._load()
        entries = [entry for registry in self._registries.values() for entry in registry.entries()]
        return reports_on(plugins, entries, self._disabled)

    def disabled_but_absent(self) -> tuple[str, ...]:
        """What is disabled by name and not installed: a typing error, perhaps."""
        sources = [candidate.provenance for candidate in self._load().candidates]
        return tuple(sorted(n for n in self._disabled if not any(is_disabled(s, [n]) for s in sources)))

    def register_plugin(self, plugin: Any, source: Provenance) -> None:
        """Add a live plugin object, before anyone asked for a registry; for tests and the conformance kit.

        Raises:
            PluginError: the object is no plugin, or a hook of it is misspelt.
        """
        self._load().register(plugin, source)

    def _registry(self, kind: Kind[Any]) -> Registry[Any]:
        return Registry(kind, lambda: self._gather(kind), lambda name: self._absence(kind, name), self._lock)

    def _load(self) -> LoadedPlugins:
        with self._lock:
            if self._plugins is None:
                if self._is_loading:
                    raise PluginError(
                        "A plugin asked for what plugins provide while it was being imported.\n"
                        "  Ask inside a function, not at the top of the module."
                    )
                self._is_loading = True
                try:
                    self._plugins = load_plugins(self._entry_points, self._disabled, self._is_traced)
                finally:
                    self._is_loading = False
                self._tell()
            return self._plugins

    def _gather(self, kind: Kind[Any]) -> list[Entry[Any]]:
        if kind.hook is None:
            return []
        entries: list[Entry[Any]] = []
        for source, caller in self._load().callers(kind.hook):
            before = len(entries)
            try:
                with stdout_to_stderr():
                    for record in _records(caller()):
                        if isinstance(record, kind.spec):
                            spec = _plain_record(record, kind.spec)
                            entries.append(Entry(spec=spec, provenance=source, kind=kind))
                        else:
                            given = f"{shown(record)} ({type(record).__name__})"
                            reason = f"gave {given[:200]} where a {kind.spec.__name__} belongs"
                            self._keep(Failure.of(source, kind.hook, reason))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # as at import: sys.exit() ends the plugin, not the program
                self._keep(Failure.of(source, kind.hook, error))
            if self._is_traced:
                names = ", ".join(entry.name for entry in entries[before:])
                sys.stderr.write(f"inseq:   {source} gave {names or 'nothing'}\n")
        self._tell()
        return entries

    def _keep(self, failure: Failure) -> None:
        failures = self._load().failures
        if failure not in failures:
            failures.append(failure)

    def _tell(self) -> None:
        """Warn about what is new; called last, so that a warning made an error leaves the host whole."""
        failures = self._plugins.failures if self._plugins is not None else []
        new, self._told = failures[self._told :], len(failures)
        for failure in new:
            warnings.warn(f"{failure}\n  See: inseq plugins", NotReadyWarning, stacklevel=3)

    def _absence(self, kind: Kind[Any], name: object) -> tuple[Mapping[str, str], str]:
        """For an unknown name: what could be installed, and what is installed but does not work."""
        plugins = self._load()
        known = KNOWN.get(kind.key, {})
        installed = {canonical(c.provenance.distribution): c.provenance for c in plugins.candidates}
        installable = {known_name: p for known_name, p in known.items() if canonical(p) not in installed}
        home = installed.get(canonical(known.get(str(name), "")))
        sentences = []
        if home is not None and is_disabled(home, self._disabled):
            sentences.append(f"{home} is installed, but disabled by {DISABLE_VARIABLE}.")
        concerned = [f for f in plugins.failures if f.stage == kind.hook or f.stage not in HOOKS]
        concerned.sort(key=lambda failure: home is None or failure.source != home)
        sentences += [f"{failure}." for failure in concerned[:3]]
        return installable, "\n  ".join(sentences)


def _records(results: Iterable[Any]) -> Iterator[Any]:
    """The records in pluggy's list of results: iterables of records, or single ones."""
    for result in results:
        if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
            yield result
        else:
            yield from result


def _plain_record(record: Any, spec: type[Any]) -> Any:
    """The record as one of the core's own class: a class of a plugin's may do anything whenever it is read."""
    if type(record) is spec:
        return record
    return spec(**{field.name: getattr(record, field.name) for field in attrs.fields(spec)})


class _Process:
    """The one piece of state: the host of this process."""

    host: PluginHost | None = None
    lock = threading.RLock()


def get_host() -> PluginHost:
    """The plugin host of this process, made when it is first asked for."""
    with _Process.lock:
        if _Process.host is None:
            _Process.host = PluginHost()
        return _Process.host


@contextlib.contextmanager
def use_host(host: PluginHost) -> Iterator[PluginHost]:
    """A ``with`` block in which ``get_host`` gives ``host``, for tests."""
    with _Process.lock:
        before, _Process.host = _Process.host, host
    try:
        yield host
    finally:
        with _Process.lock:
            _Process.host = before
