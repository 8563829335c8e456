"""Live sessions and servers: weak, bounded, and safe under threads."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from docket import Docket, Worker
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._caller.registries import WeakRegistry, servers, sessions
from taskctx.errors import InvalidArgument, InvalidType
from tests import secrets
from tests.conftest import our_keys


class Live:
    """A session, or a server."""


Register = Callable[[str, object], None]
Find = Callable[[str], Any]

BOTH = pytest.mark.parametrize(
    ("kind", "register", "find"),
    [
        ("session", taskctx.register_task_session, taskctx.get_task_session),
        ("server", taskctx.register_task_server, taskctx.get_task_server),
    ],
)


class Counts:
    """What the metrics say of one registry."""

    def __init__(self, registry: CollectorRegistry, kind: str) -> None:
        self._registry, self._kind = registry, kind

    def _value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, {"registry": self._kind, **labels})

    @property
    def entries(self) -> float | None:
        return self._value("taskctx_registry_entries")

    @property
    def capacity(self) -> float | None:
        return self._value("taskctx_registry_capacity")

    @property
    def lookups(self) -> dict[str, float | None]:
        return {
            result: self._value("taskctx_registry_lookups_total", result=result) for result in ("hit", "miss", "dead")
        }

    @property
    def evictions(self) -> dict[str, float | None]:
        return {
            cause: self._value("taskctx_registry_evictions_total", cause=cause)
            for cause in ("dead", "capacity", "removed")
        }


@BOTH
def test_a_live_object_is_found(kind: str, register: Register, find: Find, registry: CollectorRegistry) -> None:
    """Under its id only; every lookup is counted."""
    live = Live()
    register("id-1", live)
    assert find("id-1") is live
    assert find("id-2") is None
    counts = Counts(registry, kind)
    assert counts.lookups == {"hit": 1, "miss": 1, "dead": 0}
    assert (counts.entries, counts.capacity) == (1, 10_000)


@BOTH
def test_a_dead_object_is_gone(kind: str, register: Register, find: Find, registry: CollectorRegistry) -> None:
    """Nothing is kept alive; a lookup says "dead", and says so again."""
    live = Live()
    register("id-1", live)
    del live
    gc.collect()
    assert find("id-1") is None
    assert find("id-1") is None
    counts = Counts(registry, kind)
    assert counts.lookups == {"hit": 0, "miss": 0, "dead": 2}
    assert counts.evictions == {"dead": 1, "capacity": 0, "removed": 0}
    assert counts.entries == 0


@BOTH
def test_a_replaced_objects_death_leaves_its_successor(
    kind: str, register: Register, find: Find, registry: CollectorRegistry
) -> None:
    """A dead or replaced session never shadows a live one."""
    first, second = Live(), Live()
    register("id-1", first)
    register("id-1", second)
    del first
    gc.collect()
    assert find("id-1") is second
    counts = Counts(registry, kind)
    assert counts.entries == 1
    assert counts.evictions == {"dead": 0, "capacity": 0, "removed": 0}


@BOTH
def test_an_id_may_come_back_to_life(kind: str, register: Register, find: Find, registry: CollectorRegistry) -> None:
    """A reconnected session is found under its old id, and its end is its own."""
    register("id-1", Live())
    gc.collect()
    assert find("id-1") is None
    again = Live()
    register("id-1", again)
    assert find("id-1") is again
    assert Counts(registry, kind).lookups == {"hit": 1, "miss": 0, "dead": 1}


@BOTH
def test_the_oldest_go_first(kind: str, register: Register, find: Find, registry: CollectorRegistry) -> None:
    """There are never more than the settings allow."""
    taskctx.configure(registry=registry, session_registry_size=3, server_registry_size=3)
    live = [Live() for _ in range(5)]
    for number, each in enumerate(live):
        register(f"id-{number}", each)
    assert [find(f"id-{number}") for number in range(5)] == [None, None, *live[2:]]
    counts = Counts(registry, kind)
    assert counts.evictions == {"dead": 0, "capacity": 2, "removed": 0}
    assert (counts.entries, counts.capacity) == (3, 3)
    assert counts.lookups == {"hit": 3, "miss": 2, "dead": 0}


@BOTH
def test_registering_again_makes_young(kind: str, register: Register, find: Find, registry: CollectorRegistry) -> None:
    """What is used is not the oldest."""
    taskctx.configure(registry=registry, session_registry_size=2, server_registry_size=2)
    first, second, third = Live(), Live(), Live()
    register("id-1", first)
    register("id-2", second)
    register("id-1", first)
    register("id-3", third)
    assert [find(f"id-{number}") for number in (1, 2, 3)] == [first, None, third]
    assert Counts(registry, kind).entries == 2


def test_the_dead_make_room_before_the_oldest() -> None:
    """A live object does not go for the sake of a dead one."""
    taskctx.configure(registry=CollectorRegistry(), session_registry_size=2)
    oldest, youngest = Live(), Live()
    taskctx.register_task_session("oldest", oldest)
    taskctx.register_task_session("dead", Live())
    gc.collect()
    taskctx.register_task_session("youngest", youngest)
    assert taskctx.get_task_session("oldest") is oldest


@BOTH
@pytest.mark.parametrize("thing", [7, "text", (), None, {}])
def test_what_cannot_be_held_weakly_is_refused(kind: str, register: Register, find: Find, thing: object) -> None:
    """The error names the type."""
    with pytest.raises(
        InvalidType, match=f"^an object of type {type(thing).__name__} cannot be referenced weakly.*as a {kind}"
    ):
        register("id-1", thing)
    assert find("id-1") is None


@BOTH
def test_a_wrong_id_is_refused(kind: str, register: Register, find: Find) -> None:
    """Empty, or no string."""
    with pytest.raises(InvalidArgument, match=f"a {kind}'s id must not be empty"):
        register("", Live())
    with pytest.raises(InvalidType, match=f"a {kind}'s id must be a string, not int"):
        register(7, Live())  # type: ignore[arg-type]


def test_nothing_is_left_behind_by_ten_thousand_dead_sessions(registry: CollectorRegistry) -> None:
    """The registry removes dead entries, below its capacity and above it."""
    for number in range(10_000):
        taskctx.register_task_session(f"session-{number}", Live())
    gc.collect()
    assert len(sessions) == 0
    live = {f"session-{number}": Live() for number in range(10_000)}
    for session_id in live:  # noqa: PLC0206 - a name for the session would keep the last one alive
        taskctx.register_task_session(session_id, live[session_id])
    assert len(sessions) == 10_000
    live.clear()
    gc.collect()
    assert len(sessions) == 0
    assert Counts(registry, "session").evictions["dead"] == 20_000


def test_forgetting_takes_only_what_is_meant(registry: CollectorRegistry) -> None:
    """A server registered in the meantime stays."""
    first, second = Live(), Live()
    servers.register("task-1", first)
    servers.register("task-1", second)
    servers.remove("task-1", first)
    servers.remove("task-2", second)
    assert servers.find("task-1") is second
    servers.remove("task-1", second)
    assert servers.find("task-1") is None
    counts = Counts(registry, "server")
    assert counts.evictions == {"dead": 0, "capacity": 0, "removed": 1}
    assert counts.entries == 0


@pytest.mark.parametrize(
    "notice",
    [
        pytest.param(lambda: sessions.find("other"), id="find"),
        pytest.param(lambda: sessions.register("other", LASTING), id="register"),
        pytest.param(lambda: sessions.remove("other", LASTING), id="remove"),
    ],
)
def test_the_gauge_follows_the_dead(notice: Callable[[], object], registry: CollectorRegistry) -> None:
    """The gauge has the new size after any call that notices a dead session."""
    sessions.register("session-1", LASTING)
    sessions.register("session-2", Live())
    gc.collect()
    notice()
    assert Counts(registry, "session").entries == len(sessions)


LASTING = Live()


def test_threads_do_not_disturb_each_other() -> None:
    """Eight threads register, find and forget under few ids while their objects die: no error, and a right size."""
    hammered = WeakRegistry("session")
    errors: list[BaseException] = []
    kept: list[list[Live]] = []
    start = threading.Barrier(8)

    def hammer(seed: int) -> None:
        chance, mine = random.Random(seed), list[Live]()
        kept.append(mine)
        start.wait()
        try:
            for round_ in range(2_000):
                id_ = f"id-{chance.randrange(50)}"
                live = Live()
                # one that only the garbage collector can free
                live.self = live  # type: ignore[attr-defined]
                hammered.register(id_, live)
                found = hammered.find(id_)
                assert found is None or isinstance(found, Live)
                if chance.random() < 0.3:
                    hammered.remove(id_, live)
                if chance.random() < 0.05:
                    mine.append(live)
                if round_ % 500 == 0:
                    gc.collect()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    gc.collect()
    alive = {each for mine in kept for each in mine}
    found = [hammered.find(f"id-{number}") for number in range(50)]
    assert all(each in alive for each in found if each is not None)
    assert len(hammered) == sum(each is not None for each in found)
    kept.clear()
    del alive, found
    gc.collect()
    assert len(hammered) == 0


async def test_a_worker_in_the_same_process_finds_the_bound_session_and_server(docket: Docket, worker: Worker) -> None:
    """``add`` registers what ``bind_caller`` bound: the session by its id, the server by the task's."""
    session, server = Live(), Live()
    seen: list[object] = []

    async def report() -> None:
        task = taskctx.get_task_context()
        session_id = taskctx.get_task_session_id()
        assert task is not None
        assert session_id is not None
        seen.extend((taskctx.get_task_session(session_id), taskctx.get_task_server(task.task_id)))

    with taskctx.bind_caller(access_token=secrets.token(), session_id="session-1", session=session, server=server):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()

    assert seen == [session, server]


async def test_the_live_objects_of_a_batch_are_found_too(docket: Docket, worker: Worker) -> None:
    """``add_many`` and ``replace`` register as ``add`` does."""
    session, server = Live(), Live()
    seen: list[object] = []

    async def report() -> None:
        task = taskctx.get_task_context()
        assert task is not None
        seen.append(taskctx.get_task_server(task.task_id))

    with taskctx.bind_caller(session_id="session-1", session=session, server=server):
        await taskctx.add_many(docket, [docket.call(report)() for _ in range(3)])
    assert taskctx.get_task_session("session-1") is session
    await worker.run_until_finished()

    assert seen == [server] * 3


async def test_a_session_without_an_id_is_not_registered(docket: Docket, registry: CollectorRegistry) -> None:
    """There would be no way to ask for it."""

    async def report() -> None: ...

    with taskctx.bind_caller(session=Live()):
        await taskctx.add(docket, report)()
    assert len(sessions) == 0


async def test_a_duplicate_leaves_the_first_submissions_server(docket: Docket) -> None:
    """The task that runs is the first submission's."""
    first, second = Live(), Live()

    async def report() -> None: ...

    for server in (first, second):
        with taskctx.bind_caller(server=server):
            await taskctx.add(docket, report, key="monthly")()
    assert taskctx.get_task_server("monthly") is first


async def test_a_server_that_cannot_be_registered_leaves_no_snapshot_behind(docket: Docket) -> None:
    """One task or a batch: nothing is scheduled, and nothing stays."""

    async def task() -> None:
        raise AssertionError("must not run")

    with taskctx.bind_caller(server=object()):
        with pytest.raises(InvalidType):
            await taskctx.add(docket, task)()
        with pytest.raises(InvalidType):
            await taskctx.add_many(docket, [docket.call(task)(), docket.call(task)()])
    assert await our_keys(docket) == []
    assert not (await docket.snapshot()).future
