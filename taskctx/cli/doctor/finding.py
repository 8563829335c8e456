"""What the doctor has to say of one thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad it is; the worst of all findings is the exit code."""

    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One.

    Attributes:
        check: a short name for what was looked at.
        what: what was found.
        why: why it matters; empty when all is well.
        do: what to do about it; empty when all is well.
        docket: the docket it is of, None when it is of all that are here.
        looked: False when there was no way to look.
    """

    check: str
    severity: Severity
    what: str
    why: str = ""
    do: str = ""
    docket: str | None = None
    looked: bool = True

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
    return Finding(check, Severity.OK, what, docket=docket, looked=False)


def worst(findings: Iterable[Finding]) -> Severity:
    return max((finding.severity for finding in findings), default=Severity.OK)


@dataclass(frozen=True, slots=True)
class Section:
    """Findings that belong together, under a title."""

    title: str
    findings: Sequence[Finding]
