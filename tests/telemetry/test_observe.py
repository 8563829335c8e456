"""Telemetry's boundary: operations and events reach the observers, and observers can do no harm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import pytest
from docket import Docket, Worker
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.errors import Reason, RestoreError, SaveError
from taskctx.operations import Capture, DocketSeen, Event, Operation, Outcome, RegistryLookup, Restore, Run, Save
from taskctx.telemetry.observe import Observer, docket_seen, notify, observe
from tests import secrets
from tests.helpers import handling
from tests.secrets import MARKER, secret


class Watcher:
    """Notes everything, in a list that several can share."""

    def __init__(self, notes: list[tuple[object, ...]], name: str = "") -> None:
        self.notes, self.name = notes, name

    def on_start(self, operation: Operation) -> str:
        self.notes.append((self.name, "start", operation.outcome))
        return f"state of {self.name}"

    def on_end(self, operation: Operation, state: Any) -> None:
        self.notes.append((self.name, "end", operation.outcome, operation.reason, state))

    def on_event(self, event: Event) -> None:
        self.notes.append((self.name, "event", event))


class Failing:
    """Raises wherever it is told to, with a secret in the text."""

    def __init__(self, *places: str, error: type[Exception] = RuntimeError) -> None:
        self.places, self.error = places, error
        self.calls: list[str] = []

    def on_start(self, operation: Operation) -> None:
        self._fail("on_start")

    def on_end(self, operation: Operation, state: Any) -> None:
        self._fail("on_end")

    def on_event(self, event: Event) -> None:
        self._fail("on_event")

    def _fail(self, place: str) -> None:
        self.calls.append(place)
        if place in self.places:
            raise self.error(secret("text"))


def use(*observers: Observer) -> CollectorRegistry:
    registry = CollectorRegistry()
    taskctx.configure(registry=registry, observers=observers, sweep_interval=0)
    return registry


def test_an_operation_is_ok_unless_told_otherwise() -> None:
    """It has a duration when it ends."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes))
    with observe(Capture(docket_name="orders")) as operation:
        assert operation.duration == 0
    assert operation.duration > 0
    assert notes == [("", "start", Outcome.OK), ("", "end", Outcome.OK, None, "state of ")]


@pytest.mark.parametrize(
    ("tell", "outcome", "reason"),
    [
        (methodcaller("failed", Reason.MISSING), Outcome.FAILED, Reason.MISSING),
        (methodcaller("degraded", Reason.CREDENTIAL_EXPIRED), Outcome.DEGRADED, Reason.CREDENTIAL_EXPIRED),
        (methodcaller("skipped"), Outcome.SKIPPED, None),
    ],
)
def test_an_operation_can_be_told_its_outcome(
    tell: Callable[[Operation], None], outcome: Outcome, reason: Reason | None
) -> None:
    """That is all the core does for telemetry."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes))
    with observe(Restore(docket_name="orders")) as operation:
        tell(operation)
    assert notes[-1] == ("", "end", outcome, reason, "state of ")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SaveError(Reason.TOO_LARGE), Reason.TOO_LARGE),
        (RestoreError(Reason.MISSING), Reason.MISSING),
        (ValueError("boom"), Reason.INTERNAL),
        (KeyboardInterrupt(), Reason.INTERNAL),
    ],
)
def test_an_exception_is_a_failure(error: BaseException, reason: Reason) -> None:
    """The operation has the exception's reason if there is one, and the same exception is raised."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes))
    with pytest.raises(type(error)) as caught, observe(Save(docket_name="orders")):
        raise error
    assert caught.value is error
    assert notes[-1] == ("", "end", Outcome.FAILED, reason, "state of ")


def test_a_reason_already_named_is_kept() -> None:
    """An exception that follows from it does not change it."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes))
    with pytest.raises(RuntimeError), observe(Restore(docket_name="orders")) as operation:  # noqa: PT012
        operation.failed(Reason.MISSING)
        raise RuntimeError
    assert notes[-1] == ("", "end", Outcome.FAILED, Reason.MISSING, "state of ")


def test_cancellation_is_no_failure() -> None:
    """It counts as skipped."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes))
    with pytest.raises(asyncio.CancelledError), observe(Save(docket_name="orders")):
        raise asyncio.CancelledError
    assert notes[-1] == ("", "end", Outcome.SKIPPED, None, "state of ")


def test_observers_end_in_reverse() -> None:
    """The last observer ends first, and each gets its own state."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes, "first"), Watcher(notes, "second"))
    with observe(Capture(docket_name="orders")):
        pass
    assert [(note[0], note[1], note[-1]) for note in notes] == [
        ("first", "start", Outcome.OK),
        ("second", "start", Outcome.OK),
        ("second", "end", "state of second"),
        ("first", "end", "state of first"),
    ]


def test_events_reach_every_observer() -> None:
    """Those have no length."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes, "first"), Watcher(notes, "second"))
    event = RegistryLookup("session", "hit")
    notify(event)
    assert notes == [("first", "event", event), ("second", "event", event)]


def test_a_docket_is_seen_once_by_name_and_again_with_its_tasks() -> None:
    """Submitters know the name, workers the tasks."""
    notes: list[tuple[object, ...]] = []
    use(Watcher(notes))
    docket_seen("orders")
    docket_seen("orders")
    docket_seen("orders", ("report",))
    assert [note[2] for note in notes] == [DocketSeen("orders"), DocketSeen("orders", ("report",))]


async def test_what_an_observer_sees_of_a_task(docket: Docket, worker: Worker) -> None:
    """Capture and save where it is submitted; restore and run in the worker."""
    seen: list[Operation] = []

    class Keeper(Watcher):
        def on_end(self, operation: Operation, state: Any) -> None:
            seen.append(operation)

    use(Keeper([]))

    async def report() -> None: ...

    with taskctx.bind_caller(
        access_token=secrets.token(), headers=secrets.headers(), session_id=secret("session"), request_id="request-1"
    ):
        await taskctx.add(docket, report, key="monthly")()
    await worker.run_until_finished()

    capture, save, restore, run = seen
    assert isinstance(capture, Capture)
    assert isinstance(save, Save)
    assert isinstance(restore, Restore)
    assert isinstance(run, Run)
    assert {operation.outcome for operation in seen} == {Outcome.OK}
    assert {capture.docket_name, save.docket_name, restore.docket_name, run.docket_name} == {docket.name}
    assert (save.docket_task, restore.docket_task, run.docket_task) == ("report",) * 3
    assert (restore.task_id, restore.attempt, restore.fails_task) == ("monthly", 1, False)
    assert list(save.sizes) == [restore.size]
    assert save.ttl == restore.ttl == 86_400
    assert not [operation for operation in seen if MARKER in repr(operation)]


@pytest.mark.parametrize("place", ["on_start", "on_end", "on_event"])
async def test_a_failing_observer_never_fails_a_task(
    place: str, docket: Docket, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported once, by type and without its text; the others see everything."""
    failing, notes = Failing(place), list[tuple[object, ...]]()
    registry = use(failing, Watcher(notes))
    seen: list[str | None] = []

    class Session: ...

    async def report() -> None:
        taskctx.get_task_session("session-1")
        seen.append(taskctx.get_request_id())

    session = Session()
    with caplog.at_level(logging.WARNING, "taskctx"):
        with taskctx.bind_caller(request_id="request-1", session_id="session-1", session=session):
            for _ in range(3):
                await taskctx.add(docket, report)()
        await worker.run_until_finished()

    assert seen == ["request-1"] * 3
    assert failing.calls.count(place) > 1
    assert [record.getMessage() for record in caplog.records if record.name == "taskctx"] == [
        "taskctx telemetry failed and was ignored: Failing raised RuntimeError; tasks are not affected"
    ]
    labels = {"docket_name": docket.name, "outcome": "ok"}
    assert registry.get_sample_value("taskctx_restores_total", labels) == 3
    assert len([note for note in notes if note[1] == "end"]) == 12


def test_an_observer_that_did_not_start_does_not_end() -> None:
    """It has no state to end with."""
    failing = Failing("on_start")
    use(failing)
    with observe(Capture(docket_name="orders")):
        pass
    assert failing.calls == ["on_start"]


def test_an_observer_writes_what_it_needs() -> None:
    """It inherits the other methods; observers without ``on_start`` see the end of an operation first."""
    notes: list[tuple[object, ...]] = []

    class AtTheEnd(Observer):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_end(self, operation: Operation, state: Any) -> None:
            notes.append((self.name, "end", state))

    class ForEvents(Observer):
        def on_event(self, event: Event) -> None:
            notes.append(("events", event))

    class Nothing(Observer): ...

    use(AtTheEnd("first"), Watcher(notes), ForEvents(), Nothing(), AtTheEnd("last"))
    lookup = RegistryLookup("session", "hit")
    with observe(Capture(docket_name="orders")):
        notify(lookup)
    assert notes == [
        ("", "start", Outcome.OK),
        ("", "event", lookup),
        ("events", lookup),
        ("last", "end", None),
        ("first", "end", None),
        ("", "end", Outcome.OK, None, "state of "),
    ]


def test_what_an_observer_inherits_may_be_called() -> None:
    """A subclass may call the inherited methods."""

    class Plain(Observer): ...

    operation = Capture(docket_name="orders")
    plain = Plain()
    assert plain.on_start(operation) is None
    plain.on_end(operation, None)
    plain.on_event(DocketSeen("orders"))


def test_an_observers_attributes_are_its_own() -> None:
    """Whatever their names: taskctx's own observers say by some of these what they want."""

    class Recorder(Observer):
        def __init__(self) -> None:
            self.operations: list[Operation] = []
            self.counters = {Capture: 0}
            self.event_counters: list[Event] = []
            self.reasons_only = True

        def on_end(self, operation: Operation, state: Any) -> None:
            self.operations.append(operation)

        def on_event(self, event: Event) -> None:
            self.event_counters.append(event)

    recorder, lookup = Recorder(), RegistryLookup("session", "hit")
    use(recorder)
    with observe(Capture(docket_name="orders")) as operation:
        notify(lookup)
    assert recorder.operations == [operation]
    assert recorder.event_counters == [lookup]


class RaisingHandler(logging.Handler):
    """As one that sends records elsewhere, and does not catch its own errors."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError


async def test_a_log_handler_that_raises_fails_no_task(docket: Docket, worker: Worker) -> None:
    """Neither the submission nor the task fails."""
    seen: list[str | None] = []

    async def report() -> None:
        seen.append(taskctx.get_request_id())

    taskctx.configure(registry=CollectorRegistry(), max_snapshot_bytes=256, on_save_failure="continue")
    with handling(RaisingHandler(), "taskctx"):
        with taskctx.bind_caller(request_id="request-1", headers={"x-large": "x" * 1_000}):
            await taskctx.add(docket, report)()
        await worker.run_until_finished()
    assert seen == [None]


def test_each_kind_of_error_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Each type of error of each observer is logged once, and again after ``configure``."""
    one, other = Failing("on_start"), Failing("on_start", "on_end", error=ValueError)
    with caplog.at_level(logging.WARNING, "taskctx"):
        for _ in range(2):
            use(one, other)
            for _ in range(3):
                with observe(Capture(docket_name="orders")):
                    pass
    assert [record.args for record in caplog.records] == [("Failing", "RuntimeError"), ("Failing", "ValueError")] * 2
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("places", [("on_start",), ("on_end",), ("on_start", "on_end", "on_event")])
def test_a_failing_observer_never_replaces_an_error(places: tuple[str, ...]) -> None:
    """What was on its way goes on, without the observer's error in its chain."""
    use(Failing(*places))
    error = KeyError("on its way")
    with pytest.raises(KeyError) as caught, observe(Save(docket_name="orders")):
        raise error
    assert caught.value is error
    assert caught.value.__context__ is None


async def test_a_failing_observer_does_not_hide_why_a_task_was_refused(docket: Docket) -> None:
    """The submitter gets the SaveError."""
    failing = Failing("on_start", "on_end", "on_event")
    taskctx.configure(registry=CollectorRegistry(), observers=[failing], max_snapshot_bytes=256)

    async def report() -> None: ...

    with taskctx.bind_caller(headers={"x-large": "x" * 1_000}), pytest.raises(SaveError, match="too_large"):
        await taskctx.add(docket, report)()
    assert failing.calls
