"""What ``taskctx doctor`` prints, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from taskctx.cli.doctor.finding import Finding, Section, Severity
from taskctx.cli.doctor.report import print_sections

LONG = "32 tasks failed on worker-2 because the context could not be restored, while other workers completed 65"


def printed(*, terminal: bool) -> list[str]:
    console = Console(width=60, file=io.StringIO(), force_terminal=terminal, record=True)
    print_sections(console, [Section("docket reports", [Finding("restores", Severity.ERROR, LONG)])])
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_terminal_shows_a_long_finding_in_its_column() -> None:
    """What has no place on the line goes on below the finding's own beginning."""
    _, first, *below = printed(terminal=True)
    column = first.index("32 tasks")
    more = [line for line in below if line.startswith(" " * column)]
    assert " ".join([first[column:], *(line.strip() for line in more)]) == LONG
    assert more


def test_elsewhere_a_finding_is_one_line() -> None:
    """Where the output is no terminal, a search finds the whole finding on one line."""
    assert [line for line in printed(terminal=False) if LONG in line]


def test_a_name_does_not_steer_the_terminal() -> None:
    """Also where a sentence says what to do; names of dockets are whatever is on the server."""
    console = Console(file=io.StringIO(), record=True)
    name = "evil\x1b[31m"
    print_sections(console, [Section(name, [Finding("dockets", Severity.ERROR, name, f"{name} is.", f"Use {name}.")])])
    text = console.export_text()
    assert "\x1b" not in text
    assert text.count(r"evil\x1b[31m") == 4


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_cut_off_where_there_is_little_room(*, terminal: bool) -> None:
    """A key or an address is there to be copied: it goes on below."""
    name = "redis-key-" * 9
    console = Console(width=40, file=io.StringIO(), force_terminal=terminal, record=True)
    print_sections(console, [Section("", [Finding("orphans", Severity.ERROR, name, name, name)])])
    shown = "".join(console.export_text().split())
    assert shown.count("redis-key-") == 3 * 9
    assert "orphans" in shown
