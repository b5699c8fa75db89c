"""Registries: everything of one kind, by name.

A registry is filled when it is first asked, from the specs that plugins gave, and may be added to during the
session. Two plugins that give one name are a conflict that is raised when that name is asked for, never
before, and never settled silently.
"""

from __future__ import annotations

import difflib
import importlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic

import attrs

from inseq_core.contracts.guard import one_line
from inseq_core.errors import (
    AlreadyRegisteredError,
    InvalidArgumentError,
    MissingPackageError,
    PluginConflictError,
    PluginError,
    UnknownNameError,
    unknown_name,
    with_article,
)
from inseq_core.hooks.discovery import DISABLE_VARIABLE
from inseq_core.hooks.kinds import Kind, SpecT
from inseq_core.hooks.known import PACKAGE_OF_MODULE
from inseq_core.hooks.provenance import SESSION, Provenance
from inseq_core.hooks.specs import LazyObject


def _import(path: LazyObject) -> Any:
    if not isinstance(path, str):
        return path
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"{module!r} has no {name!r}.{hint}") from error
    return found


def resolve(path: LazyObject, what: str = "") -> Any:
    """The object at a lazy path ``"package.module:object"``; a live object is returned as it is.

    Args:
        path: the lazy path.
        what: named in the error: what is loaded, and whose it is.

    Raises:
        MissingPackageError: a package that the module imports is not installed.
        PluginError: the path does not lead to anything, or the module cannot be imported.
    """
    try:
        return _import(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may also sys.exit() when it is imported
        what = what or "object"
        missing = _missing_package(error, str(path))
        if missing:
            raise MissingPackageError(
                f"The {what} needs {missing!r}, which is not installed.\n"
                f"  pip install {PACKAGE_OF_MODULE.get(missing, missing)}  (asked for by {path!r})"
            ) from error
        raise PluginError(
            f"The {what} cannot be loaded from {path!r}: {one_line(error)}\n"
            "  Reinstall the package that provides it, or tell its authors."
        ) from error


def _missing_package(error: BaseException, path: str) -> str:
    """The top-level package that is missing; "" where the path itself leads nowhere."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    own = path.partition(":")[0].partition(".")[0]
    # A missing submodule of an installed package is a defect of whoever asks for it, not a missing package.
    return package if package not in (own, "inseq_core") and error.name == package else ""


@attrs.frozen(kw_only=True)
class Entry(Generic[SpecT]):
    """A spec and where it came from.

    Attributes:
        preset: parameters fixed by the name it was asked for by ("captum:DeepLift").
    """

    spec: SpecT
    provenance: Provenance
    kind: Kind[SpecT] = attrs.field(repr=False)
    preset: Mapping[str, Any] = attrs.field(factory=dict, eq=False)

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.spec.name

    def load(self) -> Any:
        """The object behind the spec's lazy path: a class, a function, a command.

        Raises:
            MissingPackageError: a package it needs is not installed.
            PluginError: it cannot be loaded, with distribution, path and cause.
        """
        field = self.spec.LAZY
        if field is None:
            return self.spec
        return resolve(getattr(self.spec, field), f"{self.kind.word} {self.name!r} of {self.provenance}")


def _no_entries() -> Iterable[Entry[Any]]:
    return ()


def _no_help(name: object) -> tuple[Mapping[str, str], str]:
    return {}, ""


class Registry(Generic[SpecT]):
    """Everything of one kind, by name; iterating gives the names in alphabetical order.

    Args:
        kind: what it holds.
        gather: asks the plugins, once, when the registry is first used.
        absence: for an unknown name, what could be installed (name -> distribution) and a last sentence.
        lock: the host's, so that no two threads can wait for each other's.
    """

    def __init__(
        self,
        kind: Kind[SpecT],
        gather: Callable[[], Iterable[Entry[SpecT]]] = _no_entries,
        absence: Callable[[object], tuple[Mapping[str, str], str]] = _no_help,
        lock: threading.RLock | None = None,
    ) -> None:
        self.kind = kind
        self._gather = gather
        self._absence = absence
        self._found: dict[str, tuple[Entry[SpecT], ...]] | None = None
        self._session: dict[str, Entry[SpecT]] = {}
        self._is_filling = False
        self._lock = lock if lock is not None else threading.RLock()

    def names(self) -> list[str]:
        """Names that exist, in alphabetical order; also those in conflict."""
        return sorted({*self._entries(), *self._session})

    def get(self, name: str) -> Entry[SpecT]:
        """The entry of a name.

        Raises:
            UnknownNameError: nothing provides it; says what is near, what exists, and what to install.
            PluginConflictError: two plugins provide it.
        """
        if isinstance(name, str):
            if name in self._session:
                return self._session[name]
            found = self._entries().get(name, ())
            if len(found) == 1:
                return found[0]
            if found:
                raise self._conflict(name, found)
            if ":" in name:
                return self._variant(name)
        raise self.unknown(name)

    def _variant(self, name: str) -> Entry[SpecT]:
        """The entry of "captum:DeepLift": that of "captum", and the parameter that its spec names."""
        family, _, variant = name.partition(":")
        entry = self.get(family) if family in self.names() else None
        parameter = getattr(entry.spec, "variants", "") if entry is not None else ""
        if entry is None or not parameter or not variant:
            raise self.unknown(name)
        return attrs.evolve(entry, preset={parameter: variant})

    def unknown(self, name: object) -> UnknownNameError:
        """The error for a name that does not exist: what is near, what exists, what to install."""
        names = self.names()
        installable, note = self._absence(name)
        return unknown_name(self.kind.word, name, names, installable, note)

    def entries(self) -> tuple[Entry[SpecT], ...]:
        """Every entry by name; both sides of a conflict, and nothing that the session replaced."""
        found = {**self._entries(), **{name: (entry,) for name, entry in self._session.items()}}
        return tuple(entry for name in sorted(found) for entry in found[name])

    def conflicts(self) -> dict[str, tuple[Provenance, ...]]:
        """Name -> those that provide it, for names that more than one plugin provides."""
        return {
            name: tuple(entry.provenance for entry in found)
            for name, found in sorted(self._entries().items())
            if len(found) > 1 and name not in self._session
        }

    def register(self, spec: SpecT, overwrite: bool = False) -> Entry[SpecT]:
        """Add a spec for this session.

        Args:
            spec: the record.
            overwrite: replace what has its name, until ``unregister``.

        Raises:
            AlreadyRegisteredError: the name is taken, and ``overwrite`` is False.
        """
        if not isinstance(spec, self.kind.spec):
            raise InvalidArgumentError(
                f"Cannot register {spec!r} ({type(spec).__name__}) as {self.kind.word}.\n"
                f"  Pass {with_article(self.kind.spec.__name__)}."
            )
        with self._lock:
            if spec.name in self and not overwrite:
                taken = self._session.get(spec.name) or self._entries()[spec.name][0]
                raise AlreadyRegisteredError(
                    f"The {self.kind.word} {spec.name!r} exists: {taken.provenance}.\n"
                    "  Choose another name, or pass overwrite=True to replace it in this session."
                )
            entry = Entry(spec=spec, provenance=SESSION, kind=self.kind)
            self._session[spec.name] = entry
        return entry

    def unregister(self, name: str) -> None:
        """Take back what was registered in this session; what it had replaced comes back.

        Raises:
            UnknownNameError: nothing has the name.
            InvalidArgumentError: a plugin provides it.
        """
        with self._lock:
            if name in self._session:
                del self._session[name]
                return
        provenance = self.get(name).provenance
        raise InvalidArgumentError(
            f"The {self.kind.word} {name!r} was not registered in this session: {provenance} has it.\n"
            f"  To do without the plugin: {DISABLE_VARIABLE}={provenance.plugin}"
        )

    def __contains__(self, name: object) -> bool:
        return name in self._session or name in self._entries()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"<Registry of {self.kind.key}: {', '.join(self.names()) or 'empty'}>"

    def _entries(self) -> dict[str, tuple[Entry[SpecT], ...]]:
        with self._lock:
            if self._found is None:
                if self._is_filling:
                    raise PluginError(
                        f"A plugin asked for the {self.kind.key} while it was being asked for its own.\n"
                        "  A hook that lists things may not look into what it adds to."
                    )
                self._is_filling = True
                try:
                    self._found = _by_name(self._gather())
                finally:
                    self._is_filling = False
            return self._found

    def _conflict(self, name: str, found: tuple[Entry[SpecT], ...]) -> PluginConflictError:
        sources = [entry.provenance for entry in found]
        plugins = [source.plugin for source in sources]
        # Entry points of two distributions may have one name; their distributions cannot.
        handles = (
            plugins if len(set(plugins)) == len(plugins) else [source.distribution for source in sources]
        )
        switches = " or ".join(f"{DISABLE_VARIABLE}={handle}" for handle in dict.fromkeys(handles) if handle)
        return PluginConflictError(
            f"The {self.kind.word} {name!r} is provided more than once: {' and '.join(map(str, sources))}.\n"
            f"  Disable all but one: {switches}"
        )


def _by_name(entries: Iterable[Entry[SpecT]]) -> dict[str, tuple[Entry[SpecT], ...]]:
    """Entries of each name in a fixed order; one that is repeated literally counts once."""
    found: dict[str, tuple[Entry[SpecT], ...]] = {}
    for entry in sorted(entries, key=lambda e: (e.provenance.distribution, e.provenance.plugin)):
        others = found.get(entry.name, ())
        if entry not in others:
            found[entry.name] = (*others, entry)
    return found
