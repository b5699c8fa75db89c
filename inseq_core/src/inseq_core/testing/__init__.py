"""What tests of plugins use: toy models solved by hand, and (with it) the conformance kit."""

from __future__ import annotations
