"""Running checks: all those of a subject, to a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from inseq_core.testing.checks import PLUGINS, Check, CheckFailure, NotApplicable
from inseq_core.testing.every_check import announced, catalogue
from inseq_core.testing.report import FAILED, FIXED, KNOWN, PASSED, SKIPPED, Finding, Report
from inseq_core.testing.subjects import Subject, subjects


def run_checks(
    subject: Any,
    kind: str | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    model: Any = None,
    known_failures: Mapping[str, str] | None = None,
    tell: Callable[[Finding], None] | None = None,
) -> Report:
    """Run every check of something, and say what came of each.

    Args:
        subject: a registered name, the name of a plugin or distribution (checked with everything that it
            provides), a spec record (``MethodSpec`` …) that need not be registered, a loaded model.
        kind: "methods", "step_functions", "plugins" …; by default, every kind that has the name.
        arguments: of the subject, in every run; needed where a parameter has no default.
        model: for frameworks: what to load; by default the models that plugins carry for it.
        known_failures: check id -> why it fails; one that passes is reported as a failure.
        tell: called with each finding as it is made.

    Returns:
        the report; ``report.passed``, ``print(report)``.

    Raises:
        UnknownNameError: nothing has the name.
        InvalidArgumentError: a known failure without a reason, or of no check.
    """
    found = subjects(subject, kind, arguments=arguments, model=model)
    known = announced(tuple(one.kind for one in found), known_failures)
    findings: list[Finding] = []
    for one in found:
        for check in catalogue()[one.kind]:
            findings.append(finding_of(check, one, known.get(check.id, "")))
            if tell is not None:
                tell(findings[-1])
    return Report(findings)


def finding_of(check: Check, subject: Subject, known: str = "") -> Finding:
    """What came of one check.

    Args:
        known: why it is known to fail; "" where it is not.
    """
    began = time.perf_counter()
    outcome, detail = PASSED, ""
    try:
        check(subject.looked_at)
    except NotApplicable as reason:
        outcome, detail = SKIPPED, str(reason)
    except CheckFailure as failure:
        outcome, detail = (KNOWN, f"{known} ({failure})") if known else (FAILED, str(failure))
    if known and outcome in (PASSED, SKIPPED):
        outcome, detail = FIXED, f"it is announced as failing ({known}): take it out of known_failures"
    return Finding(
        subject=subject.title,
        check=check.id,
        claim=check.claim,
        outcome=outcome,
        detail=detail,
        seconds=time.perf_counter() - began,
    )


def check_plugin(plugin: str, **options: Any) -> Report:
    """Check an installed plugin and everything that it provides.

    Args:
        plugin: its entry point, or its distribution.
        **options: ``known_failures``, as in ``run_checks``.

    Raises:
        NonConformance: a check failed; the message is the report.
    """
    return run_checks(plugin, PLUGINS, **options).raise_for_failures()


def check_method(method: Any, **options: Any) -> Report:
    """Check an attribution method.

    Args:
        method: its name, or its ``MethodSpec``.
        **options: ``arguments`` and ``known_failures``, as in ``run_checks``.

    Raises:
        NonConformance: a check failed; the message is the report.
    """
    return run_checks(method, "methods", **options).raise_for_failures()


def check_step_function(function: Any, **options: Any) -> Report:
    """Check a step function: its name, or its ``StepFunctionSpec``. As ``check_method``."""
    return run_checks(function, "step_functions", **options).raise_for_failures()


def check_aggregator(aggregator: Any, **options: Any) -> Report:
    """Check an aggregator: its name, or its ``AggregatorSpec``. As ``check_method``."""
    return run_checks(aggregator, "aggregators", **options).raise_for_failures()


def check_viewer(viewer: Any, **options: Any) -> Report:
    """Check a viewer: its name, or its ``ViewerSpec``. As ``check_method``."""
    return run_checks(viewer, "viewers", **options).raise_for_failures()


def check_model_adapter(adapter: Any, **options: Any) -> Report:
    """Check a model adapter.

    Args:
        adapter: the name of a framework, a loaded model, or its adapter.
        **options: ``model`` (what the framework loads), ``arguments`` (of its loader, and ``examples``: pairs
            of texts and outputs) and ``known_failures``, as in ``run_checks``.

    Raises:
        NonConformance: a check failed; the message is the report.
    """
    return run_checks(adapter, "adapters", **options).raise_for_failures()
