"""A sample of the correctness matrix: every column on one architecture, every architecture in some column.

The whole matrix is measured by ``correctness.py``, which writes docs/correctness.md.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from matrix import attention_cells, gradient_cells, layer_cells, precision, removal_cells
from matrix.cells import Cell
from support.tiny_models import ARCHITECTURES, VARIANTS

from inseq_core.hooks import methods

PAGE = Path(__file__).resolve().parents[2] / "docs" / "correctness.md"
FAMILIES = (gradient_cells, layer_cells, attention_cells, removal_cells)
COLUMNS: tuple[Cell, ...] = tuple(cell for family in FAMILIES for cell in family.CELLS)
EVERY = (*ARCHITECTURES, *VARIANTS)
TURNS = tuple(a for third in range(3) for a in EVERY[third::3])


def sample() -> list[tuple[Cell, str]]:
    """One architecture for each column, in turn, so that neighbouring columns see different kinds."""
    turns = itertools.cycle(TURNS)
    return [
        (cell, cell.applies[k % len(cell.applies)] if cell.applies else next(turns))
        for k, cell in enumerate(COLUMNS)
    ]


@pytest.mark.parametrize(
    ("cell", "name"), [pytest.param(cell, name, id=f"{cell.label}-{name}") for cell, name in sample()]
)
def test_a_cell_of_the_matrix_is_right(cell: Cell, name: str) -> None:
    """Padded and alone, against an oracle that shares nothing with the engine but ids and draws."""
    found = cell.on(name)

    assert found.is_right, f"{found.shown}: {found.said}"


@pytest.mark.parametrize("dtype", precision.TYPES)
@pytest.mark.parametrize(("method", "name"), [("deeplift", "t5"), ("saliency", "gpt2"), ("alti", "gemma3")])
def test_narrow_types_stay_close_to_float64(method: str, name: str, dtype: str) -> None:
    """On the same weights; what is left is the rounding of the model's own arithmetic."""
    assert precision.distance(method, name, precision.TYPES[dtype]) <= precision.BOUNDS[dtype]


def test_the_sample_leaves_no_architecture_out() -> None:
    """A break of one architecture alone would otherwise wait for the whole matrix."""
    assert {name for _, name in sample()} == set(EVERY)


def test_every_registered_method_has_a_column() -> None:
    """A new method is measured from its first day; ``dummy`` gives no scores."""
    ours = {
        name for name in methods().names() if methods().get(name).provenance.distribution.startswith("inseq-")
    }

    assert {cell.method for cell in COLUMNS} == set(precision.METHODS) == ours - {"dummy"}


def test_the_page_shows_every_column_and_nothing_wrong() -> None:
    """Wrong cells are bold; a column that is not on the page was never measured."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- matrix: begin -->")[2]
    table = text.partition("<!-- matrix: end -->")[0]

    for cell in COLUMNS:
        assert f" {cell.label} |".replace("_", "\\_") in table
    for name in EVERY:
        assert len(re.findall(rf"^\| {name} \|", table, flags=re.MULTILINE)) == len(FAMILIES)
    assert "**" not in table
