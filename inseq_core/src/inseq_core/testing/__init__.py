"""The conformance kit, and toy models solved by hand: what tests of plugins use.

With pytest, one test id a check::

    test_contract = inseq_core.testing.parametrize_with_checks("my_method")

Without it, or on the command line as ``inseq check my_method``::

    print(inseq_core.testing.run_checks("my_method"))

Nothing is imported before it is used: the kit needs torch only for what needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.testing.checks import Check as Check
    from inseq_core.testing.checks import CheckFailure as CheckFailure
    from inseq_core.testing.every_check import catalogue as catalogue
    from inseq_core.testing.pytest_support import parametrize_with_checks as parametrize_with_checks
    from inseq_core.testing.report import NonConformance as NonConformance
    from inseq_core.testing.report import Report as Report
    from inseq_core.testing.run import check_aggregator as check_aggregator
    from inseq_core.testing.run import check_method as check_method
    from inseq_core.testing.run import check_model_adapter as check_model_adapter
    from inseq_core.testing.run import check_plugin as check_plugin
    from inseq_core.testing.run import check_step_function as check_step_function
    from inseq_core.testing.run import check_viewer as check_viewer
    from inseq_core.testing.run import run_checks as run_checks

_NAMES = {
    "inseq_core.testing.every_check": ("catalogue",),
    "inseq_core.testing.checks": ("Check", "CheckFailure"),
    "inseq_core.testing.pytest_support": ("parametrize_with_checks",),
    "inseq_core.testing.report": ("NonConformance", "Report"),
    "inseq_core.testing.run": (
        "check_aggregator",
        "check_method",
        "check_model_adapter",
        "check_plugin",
        "check_step_function",
        "check_viewer",
        "run_checks",
    ),
}

_TABLE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_TABLE)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _TABLE)
