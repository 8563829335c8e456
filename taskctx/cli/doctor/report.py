"""The doctor's output, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..operating.words import counted, plain
from .finding import Finding, Section, Severity, worst

_MARKS = {
    Severity.SKIPPED: ("-", "dim"),
    Severity.OK: ("✓", "green"),
    Severity.WARNING: ("!", "yellow"),
    Severity.ERROR: ("✗", "bold red"),
}
_WIDTH = 13
"""The width of the column with the name of a check."""


def print_sections(console: Console, sections: Sequence[Section]) -> None:
    for section in sections:
        console.print(Text(plain(section.title), "bold"), soft_wrap=True)
        for finding in section.findings:
            _print(console, finding)
        console.print()
    console.print(_verdict(findings_of(sections)), soft_wrap=True)


def sections_as_json(sections: Sequence[Section]) -> str:
    findings = findings_of(sections)
    return json.dumps({"exit_code": int(worst(findings)), "findings": [each.as_json() for each in findings]})


def findings_of(sections: Sequence[Section]) -> list[Finding]:
    return [finding for section in sections for finding in section.findings]


def _print(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.severity]
    head = Text.assemble("  ", (mark, style), " ", (f"{finding.check:<{_WIDTH}}", "bold"))
    if console.is_terminal:
        title = _two_columns()
        title.add_row(head, Text(plain(finding.what)))
        console.print(title)
    else:
        # one finding on one line, so that a search in a log finds it
        console.print(head.append(plain(finding.what), ""), soft_wrap=True)
    reasons = _two_columns(padding=1)
    for name, text in (("why", finding.why), ("do", finding.do)):
        if text:
            reasons.add_row(Text(name, "dim"), Text(plain(text)))
    if reasons.row_count:
        console.print(Padding(reasons, (0, 0, 0, _WIDTH + 4)))


def _two_columns(padding: int = 0) -> Table:
    """A grid that cuts nothing off: a word that is too long for its line goes on below."""
    grid = Table.grid(padding=(0, padding))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _verdict(findings: Sequence[Finding]) -> Text:
    errors, warnings = (sum(each.severity is of for each in findings) for of in (Severity.ERROR, Severity.WARNING))
    if not errors and not warnings:
        return Text("All is well.", "bold green")
    return Text(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}.", "bold red" if errors else "bold yellow")
