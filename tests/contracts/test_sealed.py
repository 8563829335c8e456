"""Snapshots sealed at rest: what is stored, and processes whose keyrings differ.  For attacks see test_tampering.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from docket import Docket, Worker
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.errors import Reason
from taskctx.settings.keyring import generate_key
from tests import secrets
from tests.conftest import our_keys
from tests.secrets import MARKER

NEW, OLD = f"2026-11:{generate_key()}", f"2026-05:{generate_key()}"

Seen = list[taskctx.AccessToken | None]
Submit = Callable[[str], Awaitable[str]]


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def submit(docket: Docket, seen: Seen) -> Submit:
    """Submits a task by an authenticated caller; gives the Redis key of its snapshot."""

    async def task() -> None:
        seen.append(taskctx.get_access_token())

    async def submit(task_id: str) -> str:
        with taskctx.bind_caller(access_token=secrets.token("reports-app", "ada"), headers=secrets.headers()):
            await taskctx.add(docket, task, key=task_id)()
        return docket.key(f"taskctx:task:auth:reports-app%7Cada:{task_id}:snapshot")

    return submit


async def read(docket: Docket, key: str) -> bytes:
    async with docket.redis() as redis:
        value = await redis.get(key)
    assert value is not None
    return value


def failures(registry: CollectorRegistry, docket: Docket, reason: Reason) -> float | None:
    labels = {"docket_name": docket.name, "reason": reason.value}
    return registry.get_sample_value("taskctx_restore_failures_total", labels)


async def test_sealed_and_restored(
    docket: Docket, worker: Worker, registry: CollectorRegistry, submit: Submit, seen: Seen
) -> None:
    """The task sees its caller; who reads Redis does not."""
    taskctx.configure(registry=registry, encryption_keys=NEW)
    key = await submit("1")
    assert await our_keys(docket) == [key]
    stored = await read(docket, key)
    assert MARKER.encode() not in stored
    assert b"reports-app" not in stored
    await worker.run_until_finished()
    assert seen == [secrets.token("reports-app", "ada")]


async def test_the_span_names_the_key(
    docket: Docket, worker: Worker, registry: CollectorRegistry, span_exporter: InMemorySpanExporter, submit: Submit
) -> None:
    """The restore's span has the id of the key that sealed the snapshot."""
    taskctx.configure(registry=registry, encryption_keys=f"{NEW},{OLD}")
    await submit("1")
    await worker.run_until_finished()
    (restored,) = [span for span in span_exporter.get_finished_spans() if span.name == "taskctx.restore"]
    assert (restored.attributes or {})["taskctx.encryption.key_id"] == "2026-11"


async def test_a_rotation(
    docket: Docket, worker: Worker, registry: CollectorRegistry, submit: Submit, seen: Seen
) -> None:
    """Workers learn the new key first, then it seals; tasks of both keys are restored."""
    taskctx.configure(registry=registry, encryption_keys=OLD)
    await submit("old")
    taskctx.configure(registry=registry, encryption_keys=f"{NEW},{OLD}")
    await submit("new")
    await worker.run_until_finished()
    assert seen == [secrets.token("reports-app", "ada")] * 2


@pytest.mark.parametrize(
    ("keys", "reason"),
    [(None, Reason.DECRYPT_UNKNOWN_KEY), (OLD, Reason.DECRYPT_UNKNOWN_KEY)],
    ids=["a worker without keys", "a worker with another key"],
)
async def test_a_worker_that_lacks_the_key_fails_the_task(
    docket: Docket,
    worker: Worker,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
    submit: Submit,
    seen: Seen,
    keys: str | None,
    reason: Reason,
) -> None:
    """It does not run anonymous, and the log says which variable to look at."""
    taskctx.configure(registry=registry, encryption_keys=NEW)
    await submit("1")
    taskctx.configure(registry=registry, encryption_keys=keys)
    await worker.run_until_finished()
    assert seen == []
    assert failures(registry, docket, reason) == 1
    assert "TASKCTX_ENCRYPTION_KEYS" in caplog.text


async def test_a_worker_told_to_continue_runs_the_task_as_nobody(
    docket: Docket, worker: Worker, registry: CollectorRegistry, submit: Submit, seen: Seen
) -> None:
    """Its operator said so in as many words."""
    taskctx.configure(registry=registry, encryption_keys=NEW)
    await submit("1")
    taskctx.configure(registry=registry, on_restore_failure="continue")
    await worker.run_until_finished()
    assert seen == [None]


async def test_a_migration(
    docket: Docket, worker: Worker, registry: CollectorRegistry, submit: Submit, seen: Seen
) -> None:
    """Snapshots saved before there were keys are read while plaintext is accepted, and new ones are sealed."""
    await submit("before")
    taskctx.configure(registry=registry, encryption_keys=NEW, accept_plaintext=True)
    assert (await read(docket, await submit("after"))).startswith(b"TCX1")
    await worker.run_until_finished()
    assert seen == [secrets.token("reports-app", "ada")] * 2
