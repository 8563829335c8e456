"""A runbook's names, queries, commands and log lines are right."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskctx.errors import Reason
from taskctx.operations import Capture, NotScheduled, Outcome, Restore, Save
from taskctx.settings import ENVIRONMENT_PREFIX, Settings
from taskctx.telemetry.logs import LogObserver
from taskctx.telemetry.names import METRICS

from .artifacts import ALERTS, BOOKS, RUNBOOKS, Runbook, check_traceql
from .promql import FOREIGN, labels_of

SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "False positives"]
COMING = {"ENCRYPTION_KEYS", "ACCEPT_PLAINTEXT"}
"""Settings that come with encryption."""

EVERY_BOOK = pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)


def test_every_runbook_belongs_to_an_alert() -> None:
    """None is left over from an alert that is gone."""
    assert set(BOOKS) == {alert["alert"] for alert in ALERTS}


@EVERY_BOOK
def test_a_runbook_has_its_five_sections(book: Runbook) -> None:
    """The sections are in the order in which a person on call needs them."""
    assert book.text.startswith(f"# {book.path.stem}\n")
    assert re.findall(r"^## (.*)$", book.text, re.MULTILINE) == SECTIONS


@EVERY_BOOK
def test_a_runbook_names_its_alerts_severities(book: Runbook) -> None:
    """First of all: is this worth getting up for?"""
    first = book.text.split("\n## ")[0]
    severities = {alert["labels"]["severity"] for alert in ALERTS if alert["alert"] == book.path.stem}
    assert set(re.findall(r"`(critical|warning|info)`", first)) == severities


@EVERY_BOOK
def test_a_runbook_asks_for_metrics_that_exist(book: Runbook) -> None:
    """In its blocks of PromQL, and within sentences."""
    blocks = book.blocks("promql")
    assert blocks
    inline = re.findall(r"`([^`\n]*\b(?:taskctx|docket)_\w+[{\[)][^`\n]*)`", book.text)
    for expression in [*blocks, *inline]:
        labels_of(expression)


@EVERY_BOOK
def test_a_runbook_names_metrics_that_exist(book: Runbook) -> None:
    """Every text in a runbook that looks like a metric's name is one."""
    named = set(
        re.findall(
            r"\b(?:taskctx|docket)_[a-z_]+_(?:total|seconds|bytes|ratio|depth|info|entries|capacity)\b", book.text
        )
    )
    assert named <= {metric.name for metric in METRICS} | set(FOREIGN)


@EVERY_BOOK
def test_a_runbook_asks_for_traces_that_can_exist(book: Runbook) -> None:
    """Spans and attributes are named as we name them."""
    blocks = book.blocks("traceql")
    assert blocks
    for block in blocks:
        check_traceql(block)


@EVERY_BOOK
def test_a_runbook_names_settings_that_exist(book: Runbook) -> None:
    """Each is an environment variable of ours."""
    named = set(re.findall(rf"\b{ENVIRONMENT_PREFIX}([A-Z_]+[A-Z])\b", book.text))
    assert named <= {name.upper() for name in Settings.model_fields} | COMING


@EVERY_BOOK
def test_a_runbook_quotes_log_lines_as_they_are(book: Runbook, caplog: pytest.LogCaptureFixture) -> None:
    """taskctx logs every quoted line, so that a search for it finds it."""
    quoted = set(re.findall(r"`(A [^`]*?) \(reason=(\w+)", book.text))
    assert "(reason=" not in re.sub(r"`A [^`]*?`", "", book.text)
    if not quoted:
        return
    _log_everything(LogObserver())
    logged = [record.getMessage() for record in caplog.records]
    for sentence, reason in quoted:
        reasons = list(Reason) if reason == "REASON" else [reason]
        expected = tuple(f"{sentence} (reason={each} " for each in reasons)
        assert any(line.startswith(expected) for line in logged), sentence


def _log_everything(observer: LogObserver) -> None:
    for reason in Reason:
        operations = [
            Capture(docket_name="orders"),
            Save(docket_name="orders"),
            Restore(docket_name="orders", docket_task="continues"),
            Restore(docket_name="orders", docket_task="fails", fails_task=True),
        ]
        for operation in operations:
            operation.failed(reason)
        degraded = Restore(docket_name="orders", docket_task="degraded")
        degraded.degraded(reason)
        assert degraded.outcome is Outcome.DEGRADED
        anonymous = Capture(docket_name="orders", docket_task="anonymous", reason=reason)
        for operation in [*operations, degraded, anonymous]:
            observer.on_end(operation, None)
        observer.on_event(NotScheduled("orders", "unscheduled", reason))


def _reasons_in_table(name: str) -> set[str]:
    """The words in the first column of a runbook's table; ``decrypt_*`` stands for several."""
    named: set[str] = set()
    for cell in re.findall(r"^ *\| (`[^|]*) \|", BOOKS[name].text, re.MULTILINE):
        for word in re.findall(r"`([a-z_]+\*?)`", cell):
            named |= set(fnmatch.filter(Reason, word)) or {word}
    return named


def test_the_runbook_of_failed_restores_knows_every_reason() -> None:
    """Its table has every reason of a restore, and not those that only a submission has."""
    assert _reasons_in_table("TaskCtxRestoreErrorBudgetBurn") == set(Reason) - {Reason.TOO_LARGE, Reason.ANONYMOUS}


def test_the_runbook_of_unreadable_snapshots_knows_every_reason_that_fires_it() -> None:
    """In its table, and in the query above it."""
    (alert,) = (alert for alert in ALERTS if alert["alert"] == "TaskCtxSnapshotUnreadable")
    (fires,) = set(re.findall(r'reason=~"([a-z_|]+)"', alert["expr"]))
    book = BOOKS["TaskCtxSnapshotUnreadable"]
    assert re.findall(r'reason=~"([a-z_|]+)"', book.blocks("promql")[0]) == [fires]
    assert _reasons_in_table("TaskCtxSnapshotUnreadable") == set(fires.split("|"))


def _docket_commands() -> list[tuple[str, ...]]:
    lines = [line for book in BOOKS.values() for block in book.blocks("sh") for line in block.splitlines()]
    commands = {
        tuple(re.findall(r"^docket ([a-z ]+)", line)[0].split()) for line in lines if line.startswith("docket ")
    }
    return sorted(commands)


@pytest.mark.parametrize("command", _docket_commands(), ids=" ".join)
def test_commands_of_docket_are_there_with_their_options(command: tuple[str, ...]) -> None:
    """Docket's own command line, as installed."""
    help_text = subprocess.run(
        [sys.executable, "-m", "docket", *command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for book in BOOKS.values():
        for line in book.text.splitlines():
            if line.strip().startswith(f"docket {' '.join(command)} "):
                assert all(option in help_text for option in re.findall(r"--[a-z-]+", line)), line


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_links_between_runbooks_lead_to_files(path: Path) -> None:
    """All of them are relative."""
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        assert (RUNBOOKS / target.partition("#")[0]).is_file(), target


def test_the_table_of_runbooks_is_complete() -> None:
    """Each alert with its severities."""
    table = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| ([a-z, ]+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    expected: dict[str, set[str]] = {}
    for alert in ALERTS:
        expected.setdefault(alert["alert"], set()).add(alert["labels"]["severity"])
    assert {name: set(severities.split(", ")) for name, _, severities in table} == expected
    assert all(name == target for name, target, _ in table)
