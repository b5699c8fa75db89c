"""The built-in step functions: likelihoods and distributions, on arrays of any framework."""

from __future__ import annotations
