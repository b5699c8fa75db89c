"""Attribution methods that the core itself provides."""

from __future__ import annotations
