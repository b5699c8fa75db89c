"""What the checks found, readable without pytest: one line a check, and the whole message of what failed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from rich.console import Group

PASSED, FAILED, KNOWN, FIXED, SKIPPED = (
    "passed",
    "failed",
    "known failure",
    "no longer fails",
    "not applicable",
)

_STYLES = {PASSED: "green", FAILED: "bold red", KNOWN: "yellow", FIXED: "bold red", SKIPPED: "dim"}


class NonConformance(AssertionError):
    """Checks failed; the message is the report."""


@attrs.frozen(kw_only=True)
class Finding:
    """What came of one check.

    Attributes:
        subject: in words ("attribution method 'saliency'").
        check: id of the check.
        claim: what should hold.
        outcome: "passed", "failed", "known failure" (one that was announced), "no longer fails" (one that was
            announced, and passes) or "not applicable".
        detail: what was found, why it is known, or why there was nothing to look at.
        seconds: how long it took.
    """

    subject: str
    check: str
    claim: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Nothing to do about it."""
        return self.outcome not in (FAILED, FIXED)


@attrs.frozen
class Report:
    """What came of all checks of a subject, or of everything in a plugin."""

    findings: tuple[Finding, ...] = attrs.field(converter=tuple[Finding, ...])

    @property
    def passed(self) -> bool:
        """Everything holds, but for failures that were announced."""
        return all(finding.is_good for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What has to be looked at."""
        return tuple(finding for finding in self.findings if not finding.is_good)

    def raise_for_failures(self) -> Report:
        """The report itself.

        Raises:
            NonConformance: something failed, or an announced failure passes.
        """
        if not self.passed:
            raise NonConformance(f"{self}")
        return self

    def count(self, outcome: str) -> int:
        """Checks with an outcome."""
        return sum(finding.outcome == outcome for finding in self.findings)

    @property
    def summary(self) -> str:
        """``23 passed, 1 failed, 2 not applicable``."""
        counts = [(self.count(outcome), outcome) for outcome in _STYLES]
        return ", ".join(f"{n} {outcome}" for n, outcome in counts if n) or "nothing was checked"

    def by_subject(self) -> Iterator[tuple[str, Sequence[Finding]]]:
        """The findings of each subject."""
        for subject in dict.fromkeys(finding.subject for finding in self.findings):
            yield subject, [finding for finding in self.findings if finding.subject == subject]

    def __str__(self) -> str:
        lines = []
        for subject, findings in self.by_subject():
            width = max(len(finding.check) for finding in findings)
            lines.append(subject)
            for finding in findings:
                lines.append(f"  {finding.check:<{width}}  {finding.outcome}")
                if finding.outcome not in (PASSED, SKIPPED):
                    lines += textwrap.wrap(finding.claim, 96, initial_indent="    ", subsequent_indent="    ")
                    lines += textwrap.wrap(
                        finding.detail, 96, initial_indent="    → ", subsequent_indent="      "
                    )
        return "\n".join([*lines, self.summary])

    def rich(self, verbose: bool = False) -> Group:
        """For a rich console: a table a subject, failures with what was found.

        Args:
            verbose: show checks that passed or did not apply too, with what they claim.
        """
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        parts: list[Any] = []
        for subject, findings in self.by_subject():
            table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold", ratio=1)
            for finding in findings:
                is_quiet = finding.outcome in (PASSED, SKIPPED)
                if is_quiet and not verbose:
                    continue
                said = Text.assemble((finding.check, "bold"), f"\n{finding.claim}")
                if finding.detail:
                    said.append(f"\n→ {finding.detail}", "" if not is_quiet else "dim")
                table.add_row(Text(finding.outcome, _STYLES[finding.outcome]), said)
            parts.append(Text.assemble((subject, "bold"), "  ", Report(findings).summary))
            if table.row_count:
                parts.append(table)
        parts.append(Text(self.summary, "green" if self.passed else "bold red"))
        return Group(*parts)
