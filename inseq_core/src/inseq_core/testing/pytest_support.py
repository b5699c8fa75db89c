"""The checks as tests of pytest: one test id a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inseq_core.testing.catalogue import catalogue, known_check_ids
from inseq_core.testing.checks import Check, CheckFailure, NotApplicable
from inseq_core.testing.subjects import kinds_of, subject_of


def parametrize_with_checks(
    subject: Any,
    kind: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    known_failures: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A test function with one case for each check that applies to something::

        test_contract = parametrize_with_checks("expected_gradients")

    Args:
        subject, kind, arguments: as in ``run_checks``.
        known_failures: check id -> why it fails: a strict expected failure, which fails when it passes.

    Raises:
        UnknownNameError: nothing has the name.
        InvalidArgumentError: a known failure without a reason, or of no check.
    """
    import pytest

    kinds = (kind,) if kind is not None else kinds_of(subject)
    cases = []
    for each in kinds:
        looked_at = subject_of(subject, each, arguments)
        known = known_check_ids(each, known_failures or {})
        for check in applicable(each, looked_at):
            marks = []
            if check.id in known:
                marks.append(pytest.mark.xfail(reason=known[check.id], strict=True, raises=CheckFailure))
            name = check.id if len(kinds) == 1 else f"{each}-{check.id}"
            cases.append(pytest.param(check, looked_at, id=name, marks=marks))

    @pytest.mark.parametrize(("check", "looked_at"), cases)
    def test_contract(check: Check, looked_at: Any) -> None:
        """What the conformance kit asks of a plugin."""
        try:
            check(looked_at)
        except NotApplicable as reason:
            pytest.skip(str(reason))

    return test_contract


def applicable(kind: str, subject: Any) -> list[Check]:
    """The checks that apply to a subject, as far as what it declares tells."""
    return [check for check in catalogue()[kind] if not check.unless(subject)]
