"""One finding of the doctor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """The severity of a finding; the worst of all findings is the exit code.

    ``SKIPPED`` marks a check that could not be done: it does not count.
    """

    SKIPPED = -1
    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        check: a short name of the check.
        what: the observation.
        why: why the observation matters; empty when all is well.
        do: what to do about it; empty when all is well.
        docket: the docket that the finding is about; None when it is about all dockets.
    """

    check: str
    severity: Severity
    what: str
    why: str = ""
    do: str = ""
    docket: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return {
            "check": self.check,
            "severity": self.severity.name.lower(),
            "docket": self.docket,
            "what": self.what,
            "why": self.why,
            "what_to_do": self.do,
        }


def ok(check: str, what: str, docket: str | None = None) -> Finding:
    return Finding(check, Severity.OK, what, docket=docket)


def not_looked(check: str, what: str, docket: str | None = None) -> Finding:
    return Finding(check, Severity.SKIPPED, what, docket=docket)


def worst(findings: Iterable[Finding]) -> Severity:
    return max((Severity.OK, *(finding.severity for finding in findings)))


@dataclass(frozen=True, slots=True)
class Section:
    """Findings that belong together, under a title."""

    title: str
    findings: Sequence[Finding]
