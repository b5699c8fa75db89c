"""Discovery: which plugins are installed.

Reads the entry points of the group ``inseq`` through importlib_metadata, imported here and only when someone
asks. One distribution with broken metadata does not hide the others. Nothing is imported from a plugin in
this module's functions but by ``Candidate.load``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from inseq_core.hooks.hookspecs import PROJECT
from inseq_core.hooks.provenance import Failure, Provenance

DISABLE_VARIABLE = "INSEQ_DISABLE_PLUGINS"
TRACE_VARIABLE = "INSEQ_TRACE_PLUGINS"


@attrs.frozen(kw_only=True)
class Candidate:
    """An installed plugin that was not imported yet.

    Attributes:
        path: the entry point's value, ``"package.module"`` or ``"package.module:object"``.
        load: imports it and returns the plugin object.
    """

    provenance: Provenance
    path: str
    load: Callable[[], Any] = attrs.field(repr=False, eq=False)


def discover(entry_points: Iterable[Any] | None = None) -> tuple[list[Candidate], list[Failure]]:
    """The installed plugins in a fixed order, and the distributions whose entry points cannot be read.

    Args:
        entry_points: looked at instead of what is installed, for tests and frozen applications.
    """
    failures: list[Failure] = []
    if entry_points is None:
        entry_points, failures = _installed()
    candidates = [
        Candidate(provenance=_provenance_of(point), path=str(getattr(point, "value", "")), load=point.load)
        for point in entry_points
    ]
    candidates.sort(key=lambda c: (canonical(c.provenance.distribution), c.provenance.plugin, c.path))
    return candidates, failures


def _installed() -> tuple[list[Any], list[Failure]]:
    import importlib_metadata

    try:
        return list(importlib_metadata.entry_points(group=PROJECT)), []
    except Exception:
        # One unreadable entry_points.txt anywhere breaks the call above for everyone: look at each by itself.
        return _one_by_one(importlib_metadata.distributions())


def _one_by_one(distributions: Iterable[Any]) -> tuple[list[Any], list[Failure]]:
    points: list[Any] = []
    failures: list[Failure] = []
    seen: set[str] = set()
    for distribution in distributions:
        name, version = _name_and_version(distribution)
        if name and canonical(name) in seen:
            continue
        seen.add(canonical(name))
        try:
            points.extend(distribution.entry_points.select(group=PROJECT))
        except Exception as error:
            if _mentions_group(distribution):
                source = Provenance(plugin="(unreadable)", distribution=name, version=version)
                failures.append(Failure.of(source, "discovery", error))
    return points, failures


def _mentions_group(distribution: Any) -> bool:
    """Whether the unreadable entry points have to do with us."""
    try:
        return f"[{PROJECT}]" in (distribution.read_text("entry_points.txt") or "")
    except Exception:
        return False


def _provenance_of(point: Any) -> Provenance:
    name, version = _name_and_version(getattr(point, "dist", None))
    return Provenance(plugin=str(getattr(point, "name", "")), distribution=name, version=version)


def _name_and_version(distribution: Any) -> tuple[str, str]:
    """Name and version of a distribution, "" for each that its metadata do not have."""
    found = []
    for attribute in ("name", "version"):
        try:
            found.append(str(getattr(distribution, attribute, None) or ""))
        except Exception:  # a .dist-info folder without METADATA
            found.append("")
    return found[0], found[1]


def canonical(name: str) -> str:
    """Names that pip takes for the same are the same here: ``Acme_Inseq`` is ``acme-inseq``."""
    return re.sub(r"[-_.]+", "-", name).strip().lower()


def disabled_by_environment() -> frozenset[str]:
    """What ``INSEQ_DISABLE_PLUGINS`` names: entry points or distributions, separated by commas."""
    return frozenset(filter(None, map(canonical, os.environ.get(DISABLE_VARIABLE, "").split(","))))


def is_disabled(source: Provenance, disabled: Iterable[str]) -> bool:
    """Whether a plugin is named in ``disabled``, by its own name or its distribution's."""
    return bool(
        {canonical(source.plugin), canonical(source.distribution)} & ({*map(canonical, disabled)} - {""})
    )


def is_traced_by_environment() -> bool:
    """Whether ``INSEQ_TRACE_PLUGINS`` asks for hook calls to be printed."""
    return os.environ.get(TRACE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no", "off")
