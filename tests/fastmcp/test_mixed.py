"""Servers and workers of which only one is instrumented."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastmcp.server import dependencies
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.fastmcp import instrument, uninstrument
from taskctx.settings.keyring import generate_key
from tests.fastmcp.conftest import Service
from tests.fastmcp.installed import PATCHED, only_3, only_4, theirs
from tests.fastmcp.server import ADA, TASK, mark

GETTERS: dict[str, Callable[[], object]] = {
    "token": dependencies.get_access_token,
    "headers": dependencies.get_http_headers,
    "request": dependencies.get_http_request,
    "scope": theirs.get_task_scope,
}


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


@pytest.fixture
async def sealed_and_not_instrumented(service: Service) -> Any:
    """The result of a tool in a worker that is not instrumented; the keyring has sealed its snapshot."""
    taskctx.configure(registry=CollectorRegistry(), encryption_keys=f"now:{generate_key()}")

    async def run(tool: str) -> Any:
        task = await service.submit(tool)
        uninstrument()
        await service.work()
        return await service.result(task)

    return run


@only_4
async def test_a_worker_that_is_not_instrumented_fails_what_the_keyring_sealed(
    sealed_and_not_instrumented: Any,
) -> None:
    """Where a value that is not text would have the tool run anonymous."""
    assert "Failed to resolve dependencies" in await sealed_and_not_instrumented("see")


@only_3
@pytest.mark.parametrize("getter", ["token", "headers", "request", "scope"])
async def test_whoever_asks_what_the_keyring_sealed_fails(
    service: Service, sealed_and_not_instrumented: Any, getter: str
) -> None:
    """On FastMCP 3 each getter raises in a worker that is not instrumented, so no task takes its caller for anonymous."""
    ran: list[str] = []

    async def asks() -> str:
        ran.append("began")
        answered = GETTERS[getter]()
        ran.append("got an answer")
        return str(answered)

    service.docket.register(asks, names=["tool:asks@"])
    service.mcp.tool(asks, task=TASK)
    assert "got an answer" not in await sealed_and_not_instrumented("asks")
    assert ran == ["began"]


@only_3
async def test_a_tool_with_a_context_fails_before_its_body(sealed_and_not_instrumented: Any) -> None:
    """FastMCP makes the context with the snapshot's session."""
    assert "Failed to resolve dependencies" in await sealed_and_not_instrumented("whose_server")


def test_instrumenting_twice_is_once() -> None:
    """And undoing it puts back what was there."""
    ours: list[Any] = [vars(owner)[name] for owner, name in PATCHED]
    instrument()
    assert [vars(owner)[name] for owner, name in PATCHED] == ours
    uninstrument()
    before: list[Any] = [vars(owner)[name] for owner, name in PATCHED]
    assert not set(map(id, before)) & set(map(id, ours))
    uninstrument()
    assert [vars(owner)[name] for owner, name in PATCHED] == before


@pytest.mark.parametrize("key", ["not-a-key", "weird:client:task:tool:name", "anon:a:tool:b", ""])
async def test_the_dependency_can_be_awaited(key: str) -> None:
    """Outside of a worker, as FastMCP's own: nothing happens."""
    await theirs.restore_task_snapshot(key=key)
