"""FastMCP's own submissions are judged as taskctx's are: counted, warned of, or refused."""

# pyright: reportUnknownVariableType=false

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket
from fastmcp import FastMCP
from fastmcp.server.middleware import Middleware, MiddlewareContext
from prometheus_client import CollectorRegistry

import taskctx
from tests.conftest import our_keys
from tests.fastmcp.conftest import Service, serving
from tests.fastmcp.installed import LINE, REFUSED, CallError, CurrentDocket, add_tasks, call_tool_task
from tests.fastmcp.server import TASK


class Meant(Middleware):
    """A server that is open to everybody: its tool calls are anonymous on purpose."""

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: Any) -> Any:
        with taskctx.anonymous():
            return await call_next(context)


async def child() -> None:
    """Does nothing."""


async def submit_another(docket: Docket = CurrentDocket()) -> str:
    """Says how the submission of another task went."""
    try:
        await taskctx.add(docket, child)()
    except taskctx.CaptureError as error:
        return error.reason.value
    return "submitted"


@pytest.fixture
async def servers(backend_url: str) -> AsyncGenerator[Any]:
    """Makes servers without authentication."""
    async with AsyncExitStack() as stack:

        async def make(*, meant: bool) -> Service:
            name = f"test-{uuid4()}"
            server = FastMCP(name)
            add_tasks(server, backend_url, name, 0)
            if meant:
                server.add_middleware(Meant())
            server.tool(submit_another, task=TASK)
            return await stack.enter_async_context(serving(server))

        yield make


async def submit(service: Service) -> Any:
    async with service.client(token=None, headers={}) as client:
        task = await call_tool_task(client, "submit_another")
        await service.work()
        return (await task.result()).data


def counted(registry: CollectorRegistry, service: Service) -> dict[str, float | None]:
    name = "taskctx_anonymous_submissions_total"
    return {
        meant: registry.get_sample_value(name, {"docket_name": service.docket.name, "meant": meant})
        for meant in ("yes", "no")
    }


async def test_it_is_counted_and_warned_of(
    servers: Any, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The tool's submission by FastMCP, and that of a plain task by the tool."""
    taskctx.configure(registry=registry, on_anonymous="warn")
    service = await servers(meant=False)

    assert await submit(service) == "submitted"

    assert counted(registry, service) == {"yes": 0, "no": 2}
    lines = [record.getMessage() for record in caplog.records if record.name == "taskctx"]
    assert len(lines) == 2
    assert all(line.startswith("A task is submitted without a caller (reason=anonymous ") for line in lines)
    # of its own submissions FastMCP 3 does not say which tool it is
    assert [line.partition("task=")[2].partition(")")[0] for line in lines] == [
        "-" if LINE == 3 else "submit_another",
        "child",
    ]
    assert {record.levelno for record in caplog.records if record.name == "taskctx"} == {logging.WARNING}


@pytest.mark.parametrize("on_save_failure", ["raise", "continue"])
async def test_it_may_be_refused(servers: Any, registry: CollectorRegistry, on_save_failure: Any) -> None:
    """The client gets FastMCP's error for a server that failed, and nothing is stored or scheduled."""
    taskctx.configure(registry=registry, on_anonymous="refuse", on_save_failure=on_save_failure)
    service = await servers(meant=False)

    async with service.client(token=None, headers={}) as client:
        with pytest.raises(CallError, match=REFUSED):
            await call_tool_task(client, "submit_another")

    assert counted(registry, service) == {"yes": 0, "no": 1}
    assert (await service.docket.snapshot()).total_tasks == 0
    async with service.docket.redis() as redis:
        assert [key async for key in redis.scan_iter(match=service.docket.key("*snapshot*"))] == []
    assert await our_keys(service.docket) == []


async def test_it_may_be_meant(servers: Any, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """In a FastMCP middleware; and what the tool's task submits in its turn is meant too."""
    taskctx.configure(registry=registry, on_anonymous="refuse")
    service = await servers(meant=True)

    assert await submit(service) == "submitted"

    assert counted(registry, service) == {"yes": 2, "no": 0}
    assert [record for record in caplog.records if record.name == "taskctx"] == []


async def test_a_tool_that_has_a_caller_is_not_in_question(service: Service, registry: CollectorRegistry) -> None:
    """Its own submission and those of its task."""
    taskctx.configure(registry=registry, on_anonymous="refuse")

    seen = await service.run("see")

    assert seen["scope"] == "mcp-app|ada"
    assert counted(registry, service) == {"yes": 0, "no": 0}
