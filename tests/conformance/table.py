"""The table check → mutant: ``python tests/conformance/table.py`` writes it into docs/conformance.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.mutants import adapters, aggregators, methods, plugins, step_functions  # noqa: E402
from support.mutants.record import Mutant  # noqa: E402

from inseq_core.testing import catalogue  # noqa: E402 (the line above makes a command of this file)
from inseq_core.testing.checks import word_for  # noqa: E402

DOCUMENT = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- checks -->\n", "<!-- end of checks -->\n"

MUTANTS: Mapping[str, tuple[Mutant, ...]] = {
    "plugins": plugins.PLUGINS,
    "methods": methods.METHODS,
    "step_functions": step_functions.STEP_FUNCTIONS,
    "aggregators": aggregators.AGGREGATORS,
    "aggregation_functions": aggregators.FUNCTIONS,
    "viewers": aggregators.VIEWERS,
    "adapters": adapters.ADAPTERS,
}
"""Kind -> its mutants."""


def tables() -> Iterator[str]:
    """One table a kind, as markdown."""
    for kind, checks in catalogue().items():
        yield f"\n## {word_for(kind).capitalize()}s\n\n| check | what holds | what fails it |\n|---|---|---|\n"
        for check in checks:
            defects = "; ".join(mutant.defect for mutant in MUTANTS[kind] if mutant.check == check.id)
            yield f"| `{check.id}` | {check.claim} | {defects} |\n"


def written(document: str) -> str:
    """The document with its tables as they should be."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{''.join(tables())}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
