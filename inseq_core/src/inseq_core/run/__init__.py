"""The story of one ``attribute()`` call: request, prepare, rows, method, step scores, assemble."""

from __future__ import annotations
