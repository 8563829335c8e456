"""A variable that was meant to be a setting is told of, once, by name."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import settings as _misspelt
from taskctx._runtime import current_settings, use_runtime
from tests.secrets import MARKER


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Forget the variables that an earlier test or the environment of the tests caused to be logged."""
    monkeypatch.setattr(_misspelt, "_told", set[str]())
    caplog.set_level(logging.WARNING, "taskctx")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TASKCTX_PENDNG_TTL", "TASKCTX_PENDING_TTL"),
        ("TASKCTX_ENCRYPTION_KEY", "TASKCTX_ENCRYPTION_KEYS"),
        ("TASKCTX_HEADER_ALLOW", "TASKCTX_HEADERS_ALLOW"),
        ("taskctx_metric", "TASKCTX_METRICS"),
    ],
)
def test_a_misspelt_variable_is_one_line(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the settings are first read; the value is not in it."""
    monkeypatch.setenv(variable, MARKER)
    use_runtime(None)
    for _ in range(2):
        current_settings()
        taskctx.configure(registry=CollectorRegistry())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == f"{variable.upper()} is no setting of taskctx: did you mean {meant}?"


def test_who_takes_the_line_may_use_taskctx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it comes while the runtime is made: a handler may look for a session of its own."""
    found: list[object] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(taskctx.get_task_session("none"))

    monkeypatch.setenv("TASKCTX_METRIC", MARKER)
    monkeypatch.setattr(logging.getLogger("taskctx"), "handlers", [Looks()])
    use_runtime(None)
    current_settings()
    assert found == [None]


def test_several_are_one_line_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Sorted, so that it is the same line in every process."""
    for name in ("TRACINGS", "METRIC", "TRACE_MODES"):
        monkeypatch.setenv(f"TASKCTX_{name}", MARKER)
    taskctx.configure(registry=CollectorRegistry())
    (record,) = caplog.records
    told = ["TASKCTX_METRIC ", "TASKCTX_TRACE_MODES ", "TASKCTX_TRACINGS "]
    assert sorted(told, key=record.message.index) == told


@pytest.mark.parametrize(
    "variable",
    [
        "TASKCTX_PENDING_TTL",
        "taskctx_pending_ttl",
        "TASKCTX_TEST_BACKEND",
        "TASKCTX_DEMO_URL",
        "TASKCTX_DEMO_WORKER_METRICS_PORT",
        "TASKCTX_FAULTS_REPORT",
        "TASKCTX_STACK_SPANS",
        "TASKCTX_",
        "PENDNG_TTL",
    ],
)
def test_what_resembles_no_setting_is_left_alone(
    variable: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Our own tests and demo have variables, and others may."""
    monkeypatch.setenv(variable, "60")
    taskctx.configure(registry=CollectorRegistry())
    assert caplog.records == []


IMPORT = "import taskctx; print('imported', flush=True); taskctx.TaskContextSnapshot.capture()"


def test_an_import_logs_nothing() -> None:
    """Logging is not set up by then; what needs the settings says it, on stderr where it is never set up."""
    environment = {"TASKCTX_PENDNG_TTL": MARKER, "PATH": ""}
    for program, said in (
        ("import taskctx", ""),
        (IMPORT, "TASKCTX_PENDNG_TTL is no setting of taskctx: did you mean"),
    ):
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert ran.stderr.startswith(said)
        assert (ran.stderr == "") == (said == "")
        assert MARKER not in ran.stderr
