"""A label explosion is impossible by construction: what comes from callers never becomes a series."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from types import FunctionType
from uuid import uuid4

import pytest
from docket import Docket
from docket.dependencies import current_docket
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._snapshot.keys import PLAIN_TASK, build_task_key
from taskctx.errors import Reason
from taskctx.operations import DocketSeen, Outcome, Restore, Save
from taskctx.settings import Settings
from taskctx.telemetry.metrics import PrometheusObserver
from taskctx.telemetry.names import MAX_TASK_NAMES, METRICS, OTHER_TASK, TASK_RESTORE_FAILURES, UNKNOWN_KEY, Metric
from tests.conftest import MakeDocket, make_worker
from tests.helpers import redis_key, wait_until
from tests.secrets import secret

MANY = 10_000


def series(registry: CollectorRegistry) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every series that would be scraped."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in registry.collect()
        for sample in family.samples
    }


def test_ten_thousand_task_names_are_a_hundred_series_and_one() -> None:
    """The first hundred registered names have one each; all others are counted together, registered or not."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(Settings(), registry)
    names = [f"task_{number}" for number in range(MANY)]
    observer.on_event(DocketSeen("orders", tuple(names)))
    before = series(registry)
    for name in [*names, *(f"never_registered_{number}" for number in range(MANY))]:
        observer.on_end(
            Restore(docket_name="orders", docket_task=name, outcome=Outcome.FAILED, reason=Reason.MISSING), None
        )
        observer.on_end(Save(docket_name="orders", docket_task=name), None)
    assert series(registry) == before
    tasks = {dict(labels)["docket_task"] for name, labels in before if name == TASK_RESTORE_FAILURES.name}
    assert tasks == {*names[:MAX_TASK_NAMES], OTHER_TASK}
    counted = registry.get_sample_value(
        TASK_RESTORE_FAILURES.name, {"docket_name": "orders", "docket_task": OTHER_TASK}
    )
    assert counted == 2 * MANY - MAX_TASK_NAMES


def test_a_docket_that_is_seen_again_and_again_adds_nothing() -> None:
    """Workers that come and go, each with tasks of other names."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(Settings(), registry)
    observer.on_event(DocketSeen("orders", tuple(f"task_{number}" for number in range(MAX_TASK_NAMES))))
    before = series(registry)
    for number in range(MANY):
        observer.on_event(DocketSeen("orders", (f"late_{number}",)))
    assert series(registry) == before


def test_ten_thousand_callers_add_no_series(registry: CollectorRegistry) -> None:
    """Each with a token, headers, a request id and a session of its own, that are captured and registered."""
    with _bound(0):
        taskctx.TaskContextSnapshot.capture()
    before = series(registry)
    for number in range(MANY):
        with _bound(number):
            taskctx.TaskContextSnapshot.capture()
    assert series(registry) == before


def test_ten_thousand_sessions_and_servers_add_no_series(registry: CollectorRegistry) -> None:
    """Registered, found, missed, dead, and put out for want of room."""
    taskctx.configure(registry=registry, session_registry_size=100, server_registry_size=100)
    before = series(registry)
    living = {number: FunctionType((lambda: None).__code__, {}) for number in range(MANY)}
    for number in range(MANY):
        taskctx.register_task_session(secret(f"session-{number}"), living[number])
        taskctx.register_task_server(f"task-{number}", living[number])
        taskctx.get_task_session(secret(f"session-{number}"))
        taskctx.get_task_session(secret(f"nobody-{number}"))
    living.clear()
    for number in range(MANY):
        taskctx.get_task_server(f"task-{number}")
    assert series(registry) == before
    for result in ("hit", "miss"):
        labels = {"registry": "session", "result": result}
        assert registry.get_sample_value("taskctx_registry_lookups_total", labels) == MANY
    assert registry.get_sample_value("taskctx_registry_lookups_total", {"registry": "server", "result": "dead"}) == 100


async def test_ten_thousand_key_ids_add_no_series(docket: Docket, registry: CollectorRegistry) -> None:
    """Key ids in stored values become no label unless this process has the keys."""
    keys = [build_task_key(None, f"task-{number}", PLAIN_TASK, "greet") for number in range(MANY)]
    async with docket.redis() as redis:
        for number, key in enumerate(keys):
            await redis.set(redis_key(docket, key), _sealed_with(number), ex=60)
    token = current_docket.set(docket)
    try:
        await taskctx.restore_task_snapshot(keys[0])
        before = series(registry)
        for key in keys[1:]:
            await taskctx.restore_task_snapshot(key)
    finally:
        current_docket.reset(token)
    assert series(registry) == before
    restored = {"docket_name": docket.name, "outcome": "failed"}
    assert registry.get_sample_value("taskctx_restores_total", restored) == MANY
    assert {dict(labels).get("key_id") for _, labels in before} <= {None, UNKNOWN_KEY}


async def test_real_tasks_of_many_names_stay_within_the_limit(
    make_docket: MakeDocket, registry: CollectorRegistry
) -> None:
    """Three hundred tasks on a real worker, each losing its context: a hundred names and the rest."""
    docket = await make_docket()
    functions = [_task_named(f"task_{number}") for number in range(3 * MAX_TASK_NAMES)]
    for function in functions:
        docket.register(function)
    for function in functions:
        execution = await taskctx.add(docket, function)()
        async with docket.redis() as redis:
            await redis.delete(redis_key(docket, execution.key))
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    lost = {"docket_name": docket.name, "reason": "missing"}
    await wait_until(lambda: registry.get_sample_value("taskctx_restore_failures_total", lost) == len(functions))
    tasks = [labels for name, labels in series(registry) if name == TASK_RESTORE_FAILURES.name]
    assert len(tasks) == MAX_TASK_NAMES + 1


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_ones_whose_values_are_ours_to_choose(metric: Metric) -> None:
    """Each label is in this list, with the reason why its values are limited."""
    bounded = {
        "docket_name": "dockets are opened by name, in code",
        "docket_task": "at most a hundred, then _other",
        "key_id": "ids of this process's keyring, and unknown",
        **dict.fromkeys(
            (
                "outcome",
                "reason",
                "command",
                "field",
                "result",
                "registry",
                "cause",
                "operation",
                "role",
                "bound",
                "meant",
            ),
            "enum",
        ),
        **dict.fromkeys(("version", "python_version", "docket_version"), "one of each in a process"),
    }
    assert set(metric.labels) <= set(bounded)


def _bound(number: int) -> AbstractContextManager[None]:
    token = taskctx.AccessToken(
        token=secret(f"token-{number}"), client_id=f"client-{number}", claims={"sub": str(number)}
    )
    return taskctx.bind_caller(
        access_token=token,
        headers={f"x-header-{number}": secret(f"header-{number}")},
        request_id=str(uuid4()),
        session_id=secret(f"session-{number}"),
    )


def _sealed_with(number: int) -> bytes:
    return b"\x00tctx\x01" + f"key-{number}".encode().ljust(16, b"\x00") + bytes(64)


def _task_named(name: str) -> Callable[[], Awaitable[None]]:
    async def task() -> None:
        await asyncio.sleep(0)

    task.__name__ = task.__qualname__ = name
    return task
