"""Running checks: all those of a subject, to a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from inseq_core.testing.catalogue import catalogue, known_check_ids
from inseq_core.testing.checks import Check, CheckFailure, NotApplicable
from inseq_core.testing.report import FAILED, FIXED, KNOWN, PASSED, SKIPPED, Finding, Report
from inseq_core.testing.subjects import describe, kinds_of, subject_of


def run_checks(
    subject: Any,
    kind: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    known_failures: Mapping[str, str] | None = None,
) -> Report:
    """Run every check of something, and say what came of each.

    Args:
        subject: a registered name, a spec record (``MethodSpec`` …) that need not be registered, or an entry.
        kind: "methods", "step_functions" …; by default, every kind that has the name.
        arguments: of the subject, in every run; needed where a parameter has no default.
        known_failures: check id -> why it fails; one that passes is reported as a failure.

    Returns:
        the report; ``report.passed``, ``print(report)``.

    Raises:
        UnknownNameError: nothing has the name.
        InvalidArgumentError: a known failure without a reason, or of no check.
    """
    findings: list[Finding] = []
    for each in (kind,) if kind is not None else kinds_of(subject):
        findings += findings_of(subject_of(subject, each, arguments), each, known_failures or {})
    return Report(findings)


def findings_of(subject: Any, kind: str, known_failures: Mapping[str, str]) -> Sequence[Finding]:
    """What came of each check of a kind on a subject."""
    known = known_check_ids(kind, known_failures)
    return [finding_of(check, subject, known.get(check.id, "")) for check in catalogue()[kind]]


def finding_of(check: Check, subject: Any, known: str = "") -> Finding:
    """What came of one check.

    Args:
        known: why it is known to fail; "" where it is not.
    """
    began = time.perf_counter()
    outcome, detail = PASSED, ""
    try:
        check(subject)
    except NotApplicable as reason:
        outcome, detail = SKIPPED, str(reason)
    except CheckFailure as failure:
        outcome, detail = (KNOWN, f"{known} ({failure})") if known else (FAILED, str(failure))
    if known and outcome in (PASSED, SKIPPED):
        outcome, detail = FIXED, f"it is announced as failing ({known}): take it out of known_failures"
    return Finding(
        subject=describe(subject),
        check=check.id,
        claim=check.claim,
        outcome=outcome,
        detail=detail,
        seconds=time.perf_counter() - began,
    )


def check_method(method: Any, **options: Any) -> Report:
    """Run every check of an attribution method.

    Args:
        method: its name, or its ``MethodSpec``.
        **options: ``arguments`` and ``known_failures``, as in ``run_checks``.

    Raises:
        NonConformance: a check failed; the message is the report.
    """
    return run_checks(method, "methods", **options).raise_for_failures()
