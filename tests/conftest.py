"""What all tests share: one thread for tiny models, and which rooms take their time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a second thread costs tiny matrices more than it gives

HERE = Path(__file__).parent

SLOW_ROOMS = (
    "attention",
    "conformance",
    "docs",
    "explained",
    "hf",
    "matrix",
    "onnx",
    "packaging",
    "perturbation",
    "user",
)
"""Folders whose tests try every architecture, run documents, or install packages: `make fast-test` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in a slow room."""
    for item in items:
        parts = Path(item.path).relative_to(HERE).parts if HERE in Path(item.path).parents else ()
        if parts and parts[0] in SLOW_ROOMS:
            item.add_marker(pytest.mark.slow)
