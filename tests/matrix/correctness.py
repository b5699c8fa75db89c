"""Every method on every architecture against its slow oracle, written into docs/correctness.md.

    .venv/bin/python tests/matrix/correctness.py            run everything and write the tables (some minutes)
    .venv/bin/python tests/matrix/correctness.py gpt2 t5    run some architectures and print them

One table for each family of methods, and one for narrow types. A cell is the largest difference from its oracle,
relative to the largest score; see ``cells``. The exit status is 1 where a cell does not hold what it promises.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from matrix import attention_cells, gradient_cells, layer_cells, precision, removal_cells
from support.tiny_models import ARCHITECTURES, VARIANTS

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
FAMILIES: tuple[ModuleType, ...] = (gradient_cells, layer_cells, attention_cells, removal_cells)


def row_of(family: ModuleType, name: str, wrong: list[str]) -> list[str]:
    """One architecture's cells of a family; what does not hold is added to ``wrong``."""
    cells = []
    for cell in family.CELLS:
        found = cell.on(name)
        cells.append(found.shown if found.is_right else f"**{found.shown}**")
        if not found.is_right:
            wrong.append(f"{cell.label} on {name}: {found.shown}; {found.said}")
    return cells


def precision_rows(wrong: list[str]) -> list[list[str]]:
    """A method's distance from float64 in each narrow type, the worst of a few architectures."""
    rows = []
    for method in precision.METHODS:
        cells = []
        for name, dtype in precision.TYPES.items():
            worst = max(precision.distance(method, a, dtype) for a in precision.ARCHITECTURES)
            is_right = worst <= precision.BOUNDS[name]
            cells.append(f"{worst:.0e}" if is_right else f"**{worst:.0e}**")
            if not is_right:
                wrong.append(f"{method} in {name}: {worst:.0e}, beyond {precision.BOUNDS[name]:g}")
        rows.append([method, *cells])
        print(" ".join(rows[-1]), flush=True)
    return rows


def markdown(title: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table under its title."""
    lines = [f"### {title}", "", f"| {' | '.join(heading)} |", "|" + "---|" * len(heading)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def labels(family: ModuleType) -> list[str]:
    """Headings of a family's columns, with places to break a line."""
    return [cell.label.replace("_", "\\_") for cell in family.CELLS]


def main() -> int:
    """Measure, print, and write if everything was measured."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    names = sys.argv[1:] or [*ARCHITECTURES, *VARIANTS]
    wrong: list[str] = []
    rows: dict[str, list[list[str]]] = {family.TITLE: [] for family in FAMILIES}
    for name in names:
        for family in FAMILIES:
            rows[family.TITLE].append([name, *row_of(family, name, wrong)])
            print(" ".join(rows[family.TITLE][-1]), flush=True)
    if not sys.argv[1:]:
        tables = [markdown(f.TITLE, ["architecture", *labels(f)], rows[f.TITLE]) for f in FAMILIES]
        tables.append(markdown("Narrow types", ["method", *precision.TYPES], precision_rows(wrong)))
        page = ROOT / "docs" / "correctness.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n" + "\n\n".join(tables) + f"\n{END}{rest.partition(END)[2]}")
    for line in wrong:
        print(f"WRONG: {line}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
