"""The demo models, exported once a session, and the same models in torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import inseq
from inseq_demo import demo_en_fr_path, demo_lm_path

DEMOS = {"demo-lm": demo_lm_path, "demo-en-fr": demo_en_fr_path}
ONE_THREAD = {"session_options": {"intra_op_num_threads": 1}}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an exported demo model."""
    from inseq_onnx.export import export

    place = tmp_path_factory.mktemp("exported")

    @functools.cache
    def folder_of(name: str) -> Path:
        return export(DEMOS[name](), place / name).folder

    return folder_of


@pytest.fixture(scope="session")
def both(exported: Callable[[str], Path]) -> Callable[[str], tuple[Any, Any]]:
    """A demo model in torch and as graphs."""

    @functools.cache
    def models_of(name: str) -> tuple[Any, Any]:
        graphs = inseq.load_model(str(exported(name)), model_kwargs=ONE_THREAD)
        return inseq.load_model(name, device="cpu"), graphs

    return models_of
