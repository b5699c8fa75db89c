"""The checks as tests of pytest: one test id a check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from inseq_core.testing.checks import Check, CheckFailure, NotApplicable
from inseq_core.testing.every_check import announced, catalogue
from inseq_core.testing.subjects import Subject, subjects


def parametrize_with_checks(
    subject: Any,
    kind: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    model: Any = None,
    known_failures: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A test function with one case for each check that applies to something::

        test_contract = parametrize_with_checks("expected_gradients")

    Args:
        subject, kind, arguments, model: as in ``run_checks``.
        known_failures: check id -> why it fails: a strict expected failure, which fails when it passes.

    Raises:
        UnknownNameError: nothing has the name.
        InvalidArgumentError: a known failure without a reason, or of no check.
    """
    found = subjects(subject, kind, arguments=arguments, model=model)
    known = announced(tuple(one.kind for one in found), known_failures)
    return contract_test(
        (one, check, known.get(check.id, ""), _name(one, check, len(found) > 1))
        for one in found
        for check in applicable(one)
    )


def _name(subject: Subject, check: Check, is_one_of_many: bool) -> str:
    if not is_one_of_many:
        return check.id
    model = getattr(subject.looked_at, "model", None)
    shown = f"{subject.looked_at.name}-{model}" if isinstance(model, str) else subject.looked_at.name
    return f"{subject.kind}-{shown}-{check.id}"


def contract_test(cases: Iterable[tuple[Subject, Check, str, str]]) -> Callable[..., None]:
    """A test function of given cases.

    Args:
        cases: subject, check, why it is known to fail ("" where it is not), test id.
    """
    import pytest

    @pytest.mark.parametrize(
        ("check", "looked_at"),
        [
            pytest.param(
                check,
                subject.looked_at,
                id=name,
                marks=[pytest.mark.xfail(reason=known, strict=True, raises=CheckFailure)] if known else [],
            )
            for subject, check, known, name in cases
        ],
    )
    def test_contract(check: Check, looked_at: Any) -> None:
        """What the conformance kit asks of a plugin."""
        try:
            check(looked_at)
        except NotApplicable as reason:
            pytest.skip(str(reason))

    return test_contract


def applicable(subject: Subject) -> list[Check]:
    """The checks that apply to a subject, as far as what it declares tells."""
    return [check for check in catalogue()[subject.kind] if not check.unless(subject.looked_at)]
