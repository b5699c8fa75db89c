"""Every check, by the kind of thing that it looks at."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from inseq_core.errors import invalid
from inseq_core.testing import (
    checks_adapters,
    checks_aggregators,
    checks_footprint,
    checks_meaning,
    checks_methods,
    checks_plugins,
    checks_step_functions,
    checks_texts,
    checks_viewers,
)
from inseq_core.testing.checks import Check

_ROOMS = (
    checks_plugins,
    checks_methods,
    checks_meaning,
    checks_footprint,
    checks_step_functions,
    checks_aggregators,
    checks_viewers,
    checks_texts,
    checks_adapters,
)


@functools.cache
def catalogue() -> Mapping[str, tuple[Check, ...]]:
    """Kind -> its checks, in the order in which they are run."""
    found: dict[str, tuple[Check, ...]] = {}
    for room in _ROOMS:
        for check in room.CHECKS:
            found[check.kind] = (*found.get(check.kind, ()), check)
    return found


def announced(kinds: tuple[str, ...], known_failures: Mapping[str, str] | None) -> Mapping[str, str]:
    """Announced failures, checked: each names a check of one of the kinds, and gives a reason.

    Raises:
        InvalidArgumentError: one does not.
    """
    ids = [check.id for kind in kinds for check in catalogue().get(kind, ())]
    for identifier, reason in (known_failures or {}).items():
        if identifier not in ids:
            raise invalid("known_failures", identifier, f"the id of a check: {', '.join(dict.fromkeys(ids))}")
        if not isinstance(reason, str) or not reason.strip():
            raise invalid(f"known_failures[{identifier!r}]", reason, "the reason, in a sentence")
    return known_failures or {}
