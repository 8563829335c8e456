"""The ``case`` of each test, and the report at the end."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket

import taskctx
from taskctx._caller.carried import stop_carrying
from tests.faults.case import Case
from tests.faults.ledger import Pen
from tests.faults.report import Row, as_markdown, as_page
from tests.faults.stage import Stage
from tests.faults.valkey import Valkey
from tests.helpers import LOCALE
from tests.processes.support import Starter

REPORT = "TASKCTX_FAULTS_REPORT"
"""Environment variable: the file that the report goes to."""

_ROW = "taskctx_faults_row"


@pytest.fixture
async def server(start: Starter, tmp_path: Path) -> Valkey:
    """A server of the case's own, that keeps nothing on disk."""
    return await Valkey(start, tmp_path / "valkey").up()


@pytest.fixture
async def case(request: pytest.FixtureRequest, start: Starter, tmp_path: Path, server: Valkey) -> AsyncGenerator[Case]:
    """The case, on that server unless the test moves it; its row goes into the report."""
    case = Case(start, tmp_path, server.url, docket_name=f"faults-{uuid4()}")
    yield case
    if case.row is not None:
        title = (request.function.__doc__ or request.node.name).partition(".")[0]
        row = case.row.model_copy(update={"case": title})
        request.node.user_properties.append((_ROW, row.model_dump_json()))


@pytest.fixture
async def stage(case: Case) -> AsyncGenerator[Stage]:
    """Submitters and workers in this process; every operation of taskctx's that began has ended when it goes."""
    taskctx.carry(LOCALE, type=str | None)  # type: ignore[arg-type]
    async with Docket(name=case.docket_name, url=case.url) as docket:
        stage = Stage(docket, Pen(case.ledger_directory), case.environment["TASKCTX_ENCRYPTION_KEYS"])
        stage.configure()
        yield stage
        assert stage.open_operations == 0
    stop_carrying(LOCALE.name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    rows = [
        Row.model_validate_json(str(text))
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, text in report.user_properties
        if name == _ROW
    ]
    if not rows:
        return
    table = as_markdown(rows)
    terminalreporter.section("faults")
    terminalreporter.write(table)
    if path := os.environ.get(REPORT):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(as_page(rows))
