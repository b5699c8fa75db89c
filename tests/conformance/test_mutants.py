"""For every check there is a broken thing that must fail it, and a sound one that passes.

The idea: a check that nothing can fail proves nothing. The table of checks and mutants in the documentation is
written by ``python tests/conformance/table.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.table import DOCUMENT, MUTANTS, written
from support.mutants import aggregators, methods, plugins, step_functions
from support.mutants.record import Mutant

from inseq_core.testing import catalogue
from inseq_core.testing.checks import CheckFailure, NotApplicable

pytestmark = pytest.mark.filterwarnings("ignore::inseq_core.errors.NotReadyWarning")  # broken plugins say so

ALL = [(kind, mutant) for kind, mutants in MUTANTS.items() for mutant in mutants]


def check_of(kind: str, identifier: str):
    """The check with an id."""
    (found,) = [check for check in catalogue()[kind] if check.id == identifier]
    return found


@pytest.mark.parametrize(
    ("kind", "mutant"), ALL, ids=[f"{kind}-{m.check}-{m.defect.replace(' ', '-')}" for kind, m in ALL]
)
def test_the_check_notices(kind: str, mutant: Mutant):
    """Whoever is told that all is well should be able to believe it."""
    with mutant.around(), pytest.raises(CheckFailure):
        check_of(kind, mutant.check)(mutant.make())


@pytest.mark.parametrize("kind", sorted(catalogue()))
def test_every_check_has_a_mutant(kind: str):
    """A new check comes with what it is for."""
    assert {check.id for check in catalogue()[kind]} == {mutant.check for mutant in MUTANTS[kind]}


@pytest.mark.parametrize(
    ("kind", "make", "around"),
    [
        ("methods", methods.method(), None),
        ("step_functions", step_functions.function(), None),
        ("aggregators", aggregators.aggregator(), None),
        ("aggregation_functions", aggregators.function(), None),
        ("viewers", aggregators.viewer(), None),
        ("plugins", plugins.plugin, plugins.around(plugins.SOUND)),
    ],
    ids=["methods", "step_functions", "aggregators", "aggregation_functions", "viewers", "plugins"],
)
def test_what_the_mutants_are_made_of_is_sound(kind: str, make, around):
    """They fail for the defect that they were given, not for one that all of them share.

    Adapters are made of the toys, which are checked with our own plugins.
    """
    with around() if around else plugins.contextlib.nullcontext():
        subject = make()
        for check in catalogue()[kind]:
            try:
                check(subject)
            except NotApplicable:
                continue


def test_the_documented_table_is_that_of_the_code():
    """Written by hand, it would be out of date by the next check."""
    assert Path(DOCUMENT).read_text(encoding="utf-8") == written(Path(DOCUMENT).read_text(encoding="utf-8"))
