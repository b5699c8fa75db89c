"""Everything that our own packages register goes through the conformance kit, as a stranger's plugin would.

The idea: ask the registries what there is, so that nothing can be forgotten; what fails for a reason is
announced here, and fails here when it starts to pass.
"""

from __future__ import annotations

import pytest

from inseq_core.hooks import get_host
from inseq_core.testing.every_check import announced
from inseq_core.testing.examples import all_toys
from inseq_core.testing.pytest_support import applicable, contract_test
from inseq_core.testing.subjects import CHECKABLE, Subject, subjects

KNOWN_FAILURES = {
    ("methods", "dummy"): {"its_source_is_named": "it scores nothing, so there is nothing to cite"},
}
"""Kind and name -> check -> why it fails."""


def first_party(kind: str) -> list[str]:
    """Names of a kind that distributions of this repository give."""
    entries = get_host().registry(kind).entries()
    return [entry.name for entry in entries if entry.provenance.distribution.startswith("inseq-")]


def cases(kind: str):
    """Every check of everything of a kind."""
    for name in first_party(kind):
        known = announced((kind,), KNOWN_FAILURES.get((kind, name)))
        for subject in subjects(name, kind):
            model = getattr(subject.looked_at, "model", None)
            shown = name if model is None else f"{name}-{model}"
            for check in applicable(subject):
                yield subject, check, known.get(check.id, ""), f"{shown}-{check.id}"


def toy_cases():
    """Every check of adapters on the toys, whose numbers everything else is compared with."""
    for toy in all_toys():
        (subject,) = subjects(toy.make())
        for check in applicable(subject):
            yield subject, check, "", f"{toy.label.removeprefix('the ').replace(' ', '-')}-{check.id}"


def plugin_cases():
    """Every check of our plugins as a whole."""
    for report in get_host().plugins():
        if report.distribution.startswith("inseq-"):
            one: Subject = subjects(report.name, "plugins")[0]
            for check in applicable(one):
                yield one, check, "", f"{report.name}-{check.id}"


test_methods = contract_test(cases("methods"))
test_step_functions = contract_test(cases("step_functions"))
test_aggregators = contract_test(cases("aggregators"))
test_aggregation_functions = contract_test(cases("aggregation_functions"))
test_viewers = contract_test(cases("viewers"))
test_adapters = pytest.mark.slow(contract_test(cases("adapters")))
test_toys = contract_test(toy_cases())
test_plugins = contract_test(plugin_cases())


def test_every_kind_that_can_be_checked_is_checked_here():
    """A kind that gets checks later must not be forgotten."""
    assert {f"test_{kind}" for kind in CHECKABLE} <= set(globals())


def test_known_failures_name_what_exists():
    """An announcement outlives what it is about."""
    assert {(kind, name) for kind, name in KNOWN_FAILURES if name not in first_party(kind)} == set()
