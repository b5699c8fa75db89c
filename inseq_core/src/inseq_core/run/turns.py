"""Threads take turns.

A call of ``attribute()`` works with hooks inside the model's modules, with the flags of its parameters, and with
settings of the process (random state, kernels of attention, warnings). Two calls at once, also of two loaded
models that share modules, would see each other's; so the second waits for the first.
"""

from __future__ import annotations

import threading

one_at_a_time = threading.RLock()
"""Held while a model works. The same thread may take it again: a step function may call ``attribute()``."""
