"""Threads take turns.

A call of ``attribute()`` works with hooks inside the model's modules, with the flags of its parameters, and with
settings of the process (random state, kernels of attention, warnings). Two calls at once, also of two loaded
models that share modules, would see each other's; so the second waits for the first.
"""

from __future__ import annotations

import os
import threading
from typing import Any


class Turn:
    """A lock that the same thread may take again, and that nobody holds in a process that was forked off."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: Any) -> None:
        self._lock.release()


one_at_a_time = Turn()
"""Held while a model works. The same thread may take it again: a step function may call ``attribute()``."""
