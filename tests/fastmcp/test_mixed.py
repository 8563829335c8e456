"""Servers and workers of which only one is instrumented."""

from __future__ import annotations

import json

import pytest
from fastmcp_tasks import context as theirs
from fastmcp_tasks import creation, lifespan
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.fastmcp import instrument, uninstrument
from taskctx.settings.keyring import generate_key
from tests.fastmcp.conftest import Service
from tests.fastmcp.server import ADA, mark

PATCHED = [
    (theirs.TaskContextSnapshot, "capture"),
    (theirs.TaskContextSnapshot, "save"),
    (theirs, "restore_task_snapshot"),
    (theirs, "register_task_server"),
    (creation, "register_task_server"),
    (lifespan, "docket_lifespan"),
]


async def test_a_worker_that_is_not_instrumented_reads_what_a_server_that_is_wrote(service: Service) -> None:
    """Our part is one more member of the JSON, which FastMCP ignores."""
    task = await service.submit()
    assert {"taskctx", "access_token_json"} <= json.loads(await service.stored(task)).keys()
    uninstrument()
    await service.work()
    seen = await service.result(task)

    assert seen["their_token"] == mark(ADA)
    assert seen["their_task"] == [task.task_id, "mcp-app|ada"]


async def test_a_worker_that_is_reads_what_a_server_that_is_not_wrote(
    service: Service, registry: CollectorRegistry
) -> None:
    """The caller is there; trace and baggage are not, and that counts as no failure."""
    uninstrument()
    task = await service.submit()
    assert "taskctx" not in json.loads(await service.stored(task))
    instrument()
    await service.work()
    seen = await service.result(task)

    assert (seen["token"], seen["tenant"], seen["baggage"]) == (mark(ADA), "acme", None)
    restored = {"docket_name": service.docket.name, "outcome": "ok"}
    assert registry.get_sample_value("taskctx_restores_total", restored) == 1


async def test_a_worker_that_is_not_instrumented_fails_what_the_keyring_sealed(service: Service) -> None:
    """Where a value that is not text would have the tool run as nobody."""
    taskctx.configure(registry=CollectorRegistry(), encryption_keys=f"now:{generate_key()}")
    task = await service.submit()
    uninstrument()
    await service.work()

    assert "Failed to resolve dependencies" in await service.result(task)


def test_instrumenting_twice_is_once() -> None:
    """And undoing it puts back what was there."""
    ours = [vars(owner)[name] for owner, name in PATCHED]
    instrument()
    assert [vars(owner)[name] for owner, name in PATCHED] == ours
    uninstrument()
    before = [vars(owner)[name] for owner, name in PATCHED]
    assert not set(map(id, before)) & set(map(id, ours))
    uninstrument()
    assert [vars(owner)[name] for owner, name in PATCHED] == before


@pytest.mark.parametrize("key", ["not-a-key", "weird:client:task:tool:name", "anon:a:tool:b", ""])
async def test_the_dependency_can_be_awaited(key: str) -> None:
    """Outside of a worker, as FastMCP's own: nothing happens."""
    await theirs.restore_task_snapshot(key=key)
