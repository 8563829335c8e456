"""What is told of a restore: its age, its life, its key, its task."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from docket import Docket, Retry
from docket.dependencies import current_docket
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._transport import commands
from taskctx._transport.connection import Connection
from taskctx._transport.deadline import BackendError
from taskctx.errors import Reason
from taskctx.operations import FIELDS, DocketSeen, Event, Operation, Outcome, Restore
from taskctx.settings.keyring import generate_key
from tests.contracts.outcomes import work
from tests.helpers import ADA

NOW = 1_800_000_000.0
"""By the server's clock."""

DAY = 86_400


class Watching:
    """Keeps the restores and the events."""

    def __init__(self) -> None:
        self.restores: list[Restore] = []
        self.events: list[Event] = []

    def on_start(self, operation: Operation) -> None:
        """Nothing is known yet."""

    def on_end(self, operation: Operation, state: None) -> None:
        if isinstance(operation, Restore):
            self.restores.append(operation)

    def on_event(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def watching(registry: CollectorRegistry) -> Watching:
    observer = Watching()
    taskctx.configure(registry=registry, observers=[observer])
    return observer


async def restored(
    docket: Docket, watching: Watching, monkeypatch: pytest.MonkeyPatch, stamps: dict[str, Any], remaining: int
) -> tuple[float | None, int | None]:
    """The age and the life that are told of a restored snapshot with these stamps, and with this TTL left to its key."""
    key, fetch = docket.key("taskctx:task:anon:monthly:snapshot"), commands.fetch

    async def fetch_in_time(*arguments: Any, **options: Any) -> commands.Stored | None:
        found = await fetch(*arguments, **options)
        return None if found is None else found._replace(ttl=remaining)

    monkeypatch.setattr(commands, "fetch", fetch_in_time)
    async with docket.redis() as redis:
        await redis.set(key, json.dumps(stamps), ex=60)
    with pretending_to_be_in(docket):
        await taskctx.restore_task_snapshot("anon:monthly:task:report")
    (restore,) = watching.restores
    assert (restore.outcome, restore.ttl_remaining) == (Outcome.OK, remaining)
    return restore.age, restore.ttl


@pytest.mark.parametrize(
    ("stamps", "remaining", "expected"),
    [
        pytest.param({"stored_at": NOW - 50, "ttl": 100}, 50, (50, 100), id="as saved"),
        pytest.param({"stored_at": NOW - 50, "captured_at": NOW - 70, "ttl": 100}, 50, (50, 100), id="server's clock"),
        pytest.param({"captured_at": NOW - 70, "ttl": 100}, 30, (70, 100), id="no stamp of the server's"),
        pytest.param({"ttl": 100}, 30, (None, 100), id="no stamp at all"),
        pytest.param({"stored_at": NOW - 50}, 50, (50, DAY), id="no TTL"),
        pytest.param({"stored_at": NOW + 50, "ttl": 100}, 100, (0, 100), id="the future"),
        pytest.param({"stored_at": NOW - 51, "ttl": 100}, 50, (51, 100), id="a second of rounding"),
        pytest.param({"stored_at": NOW - 51.5, "ttl": 100}, 50, (51.5, DAY), id="renewed"),
        pytest.param({"stored_at": NOW - 50, "ttl": 100}, 2 * DAY, (50, 2 * DAY), id="renewed beyond pending_ttl"),
        pytest.param({"ttl": 100}, 2 * DAY, (None, 100), id="renewed, but without a time"),
        pytest.param({"stored_at": NOW - 102, "ttl": 100}, -1, (102, 100), id="without an end"),
        pytest.param({"stored_at": NOW - 102.5, "ttl": 100}, -1, (102.5, DAY), id="there longer than it was to live"),
    ],
)
async def test_age_and_life(
    docket: Docket,
    watching: Watching,
    monkeypatch: pytest.MonkeyPatch,
    stamps: dict[str, Any],
    remaining: int,
    expected: tuple[float | None, int],
) -> None:
    """By the server's clock where it stamped the snapshot; a renewed one has the life it was renewed to."""

    async def now(connection: Connection) -> float:
        return NOW

    monkeypatch.setattr(Connection, "server_time", now)
    assert await restored(docket, watching, monkeypatch, stamps, remaining) == expected


async def test_without_the_servers_time_there_is_no_age(
    docket: Docket, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no reason to fail."""

    async def away(connection: Connection) -> float:
        raise BackendError(Reason.BACKEND_TIMEOUT)

    monkeypatch.setattr(Connection, "server_time", away)
    assert await restored(docket, watching, monkeypatch, {"stored_at": NOW, "ttl": 100}, 50) == (None, 100)


async def test_what_is_told_of_a_tasks_restore(
    docket: Docket, registry: CollectorRegistry, watching: Watching, span_exporter: InMemorySpanExporter
) -> None:
    """Observers, metrics and spans agree on each attempt's restore."""
    taskctx.configure(registry=registry, encryption_keys=f"k1:{generate_key()}", observers=[watching])
    attempts: list[int] = []

    async def report(retry: Retry = Retry(attempts=2)) -> None:
        attempts.append(retry.attempt)
        if retry.attempt == 1:
            raise RuntimeError

    with ADA.requesting():
        await taskctx.add(docket, report, key="monthly")()
    await work(docket)

    assert attempts == [restore.attempt for restore in watching.restores] == [1, 2]
    for restore in watching.restores:
        assert (restore.docket_name, restore.docket_task, restore.task_id) == (docket.name, "report", "monthly")
        assert (restore.key_id, restore.schema_version, restore.outcome) == ("k1", 1, Outcome.OK)
        assert restore.fields == FIELDS
        assert restore.size is not None
        assert restore.age is not None
        assert 0 <= restore.age < DAY
        assert restore.ttl == DAY
        assert restore.ttl_remaining is not None
        assert 0 < restore.ttl_remaining <= DAY
        assert restore.origin


async def test_what_is_told_of_a_restore_by_hand(docket: Docket, watching: Watching) -> None:
    """There is no task, and the docket was not heard of before."""
    snapshot = taskctx.TaskContextSnapshot(origin_request_id="request-1")
    await snapshot.save(docket, None, "monthly", 60)
    with pretending_to_be_in(docket):
        await taskctx.restore_task_snapshot("anon:monthly:task:report")

    [restore] = watching.restores
    assert (restore.docket_name, restore.docket_task, restore.attempt) == (docket.name, "", 1)
    assert (restore.task_id, restore.key_id, restore.fields) == ("monthly", None, ("request_id", "trace"))
    assert DocketSeen(docket.name) in watching.events


async def test_what_is_told_of_a_key_that_is_not_ours(docket: Docket, watching: Watching) -> None:
    """It was skipped."""
    with pretending_to_be_in(docket):
        await taskctx.restore_task_snapshot("somebody-elses")
    [restore] = watching.restores
    assert (restore.outcome, restore.task_id) == (Outcome.SKIPPED, None)


async def test_where_no_docket_is_current_there_is_nothing_to_restore(watching: Watching) -> None:
    """An error says so, unless the key is not ours."""
    await taskctx.restore_task_snapshot("somebody-elses")
    with pytest.raises(taskctx.TaskContextError, match=r"^no docket is current"):
        await taskctx.restore_task_snapshot("anon:monthly:task:report")
    assert watching.restores == []


async def test_a_key_is_a_string() -> None:
    """Called without one outside of a worker, its default is Docket's marker."""
    with pytest.raises(taskctx.InvalidType, match=r"^a task key must be a string, not "):
        await taskctx.restore_task_snapshot()


@contextmanager
def pretending_to_be_in(docket: Docket) -> Generator[None]:
    token = current_docket.set(docket)
    try:
        yield
    finally:
        current_docket.reset(token)
