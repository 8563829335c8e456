"""Log lines about lost context."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging

import pytest
from docket import Docket, Worker
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.errors import Reason
from taskctx.operations import Capture, ContextInherited, Operation, Outcome, Restore, Save, UnrestoredRead
from taskctx.telemetry.logs import INTERVAL, MAX_TOPICS, LogObserver
from tests import secrets
from tests.secrets import secret


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer(clock: Clock, caplog: pytest.LogCaptureFixture) -> LogObserver:
    caplog.set_level(logging.DEBUG, "taskctx")
    return LogObserver(clock)


def lost(reason: Reason = Reason.MISSING, task: str = "report", docket: str = "orders") -> Restore:
    return Restore(
        docket_name=docket, docket_task=task, task_id="monthly", attempt=2, outcome=Outcome.FAILED, reason=reason
    )


def test_a_lost_context_is_one_line(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """What happened, the reason's word, and the likely cause; the rest is in structured fields."""
    observer.on_end(lost(), None)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"A task runs without its context (reason=missing docket=orders task=report): {Reason.MISSING.explanation}."
    )
    fields = {
        "docket.name": "orders",
        "docket.task": "report",
        "docket.attempt": 2,
        "taskctx.task_id": "monthly",
        "taskctx.outcome": "failed",
        "error.type": "missing",
    }
    assert {name: record.__dict__[name] for name in fields} == fields
    assert record.exc_info is None


@pytest.mark.parametrize(
    ("operation", "level", "start"),
    [
        (lost(), logging.WARNING, "A task runs without its context"),
        (
            Restore(docket_name="orders", outcome=Outcome.FAILED, reason=Reason.MISSING, fails_task=True),
            logging.ERROR,
            "A task fails without its context",
        ),
        (
            Capture(docket_name="orders", docket_task="report", is_anonymous=True, reason=Reason.ANONYMOUS),
            logging.WARNING,
            "A task is submitted without a caller",
        ),
        (
            Restore(docket_name="orders", outcome=Outcome.DEGRADED, reason=Reason.CREDENTIAL_EXPIRED),
            logging.WARNING,
            "A task runs with part of its context",
        ),
        (
            Restore(docket_name="orders", outcome=Outcome.DEGRADED, reason=Reason.CREDENTIAL_EXPIRED, fails_task=True),
            logging.WARNING,
            "A task runs with part of its context",
        ),
        (
            Save(docket_name="orders", outcome=Outcome.FAILED, reason=Reason.TOO_LARGE),
            logging.ERROR,
            "A task's context was not saved",
        ),
        (
            Capture(docket_name="orders", outcome=Outcome.FAILED, reason=Reason.CARRIED_INVALID),
            logging.ERROR,
            "A caller's context was not captured",
        ),
    ],
)
def test_levels(
    operation: Operation, level: int, start: str, observer: LogObserver, caplog: pytest.LogCaptureFixture
) -> None:
    """ERROR where a task did not run or was not scheduled, WARNING where it went on with less."""
    observer.on_end(operation, None)
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(f"{start} (")


def test_the_refresh_hooks_part_is_told(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """The end of the line says what the hook did."""
    reason = Reason.CREDENTIAL_REFRESH_FAILED
    refused = Restore(docket_name="orders", outcome=Outcome.DEGRADED, reason=reason, refresh_failure="raised OSError")
    observer.on_end(refused, None)
    (record,) = caplog.records
    assert record.getMessage().endswith(f"{reason.explanation}. The hook raised OSError.")


@pytest.mark.parametrize(
    "operation",
    [
        Restore(docket_name="orders"),
        Restore(docket_name="orders", outcome=Outcome.SKIPPED),
        Save(docket_name="orders"),
        Save(docket_name="orders", outcome=Outcome.SKIPPED),
        Capture(docket_name="orders", outcome=Outcome.EMPTY),
        Capture(docket_name="orders", outcome=Outcome.PARTIAL),
    ],
)
def test_what_is_not_logged(operation: Operation, observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """What went well, and what was left alone."""
    observer.on_end(operation, None)
    assert caplog.records == []


def test_repetitions_are_counted_and_not_logged(
    observer: LogObserver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The next line says how many it stands for; the one after that starts anew."""
    for _ in range(5):
        observer.on_end(lost(), None)
    clock.now += INTERVAL - 0.001
    observer.on_end(lost(), None)
    assert len(caplog.records) == 1
    clock.now += 0.001
    observer.on_end(lost(), None)
    clock.now += INTERVAL
    observer.on_end(lost(), None)
    first, second, third = (record.getMessage() for record in caplog.records)
    assert second == f"{first} 5 more like this since the last such line."
    assert third == first


def test_different_things_do_not_silence_each_other(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """Another docket, task or reason has a line of its own."""
    different = [
        lost(),
        lost(Reason.MALFORMED),
        lost(task="mail"),
        lost(docket="other"),
    ]
    for operation in different * 3:
        observer.on_end(operation, None)
    assert len(caplog.records) == len(different)


def test_different_operations_do_not_silence_each_other(
    observer: LogObserver, caplog: pytest.LogCaptureFixture
) -> None:
    """An ERROR about a save is not left out because of a WARNING about a restore."""
    reason = Reason.BACKEND_TIMEOUT
    observer.on_end(lost(reason), None)
    observer.on_end(Save(docket_name="orders", docket_task="report", outcome=Outcome.FAILED, reason=reason), None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_a_save_of_which_only_the_id_is_known(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """It stands for the function's name; a line is about all such tasks, so that a storm of them is one."""
    for task_id in ("monthly", "daily"):
        operation = Save(docket_name="orders", task_id=task_id, outcome=Outcome.FAILED, reason=Reason.TOO_LARGE)
        observer.on_end(operation, None)
    (record,) = caplog.records
    assert "(reason=too_large docket=orders task=monthly)" in record.getMessage()
    assert (record.__dict__["taskctx.task_id"], record.__dict__["docket.task"]) == ("monthly", "")


def test_the_memory_of_topics_is_bounded(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """A worker may run for months."""
    for number in range(MAX_TOPICS + 50):
        observer.on_end(lost(task=f"task_{number}"), None)
    assert len(caplog.records) == MAX_TOPICS + 50
    assert len(observer._topics) <= MAX_TOPICS


async def test_a_worker_logs_what_was_lost(
    docket: Docket, worker: Worker, caplog: pytest.LogCaptureFixture, registry: CollectorRegistry
) -> None:
    """Two lost contexts of one task function are one line."""

    async def report() -> None: ...

    for number in range(2):
        await docket.add(report, key=taskctx.build_task_key(None, f"lost-{number}", "task", "report"))()
    await worker.run_until_finished()
    (record,) = [record for record in caplog.records if record.name == "taskctx"]
    assert (record.levelname, record.__dict__["docket.name"]) == ("WARNING", docket.name)


async def test_a_failed_task_is_an_error(
    docket: Docket, worker: Worker, caplog: pytest.LogCaptureFixture, registry: CollectorRegistry
) -> None:
    """Where ``on_restore_failure`` is ``fail``."""
    taskctx.configure(registry=registry, on_restore_failure="fail")

    async def report() -> None: ...

    await docket.add(report, key=taskctx.build_task_key(None, "lost", "task", "report"))()
    await worker.run_until_finished()
    (record,) = [record for record in caplog.records if record.name == "taskctx"]
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("A task fails without its context (reason=missing ")


async def test_an_expired_token_is_a_warning(docket: Docket, worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """The warning has the reason and not the token."""

    async def report() -> None: ...

    with taskctx.bind_caller(access_token=secrets.token(expires_at=1), headers={"X-Tenant": secret("tenant")}):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()
    (record,) = [record for record in caplog.records if record.name == "taskctx"]
    assert record.levelname == "WARNING"
    assert record.__dict__["error.type"] == "credential_expired"


def test_an_inherited_context_is_said_once(observer: LogObserver, caplog: pytest.LogCaptureFixture) -> None:
    """The one line says what to do; the number of such requests is a metric."""
    for _ in range(3):
        observer.on_event(ContextInherited())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "--loop uvloop" in record.getMessage()
    assert "--reset-contextvars" in record.getMessage()


def test_a_finalizer_logs_while_its_thread_is_logging(
    clock: Clock, observer: LogObserver, caplog: pytest.LogCaptureFixture
) -> None:
    """As garbage is collected anywhere: here while the observer looks whether a line about this is due."""

    class Task(str):
        __slots__ = ()

        def __hash__(self) -> int:
            observer.on_event(UnrestoredRead("orders", "other", fails_task=False))
            return hash("report")

        def __eq__(self, other: object) -> bool:
            return str(self) == other

    observer.on_end(lost(task=Task("report")), None)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        "A task asked for its caller and was shown an anonymous one",
        "A task runs without its context",
    ]
