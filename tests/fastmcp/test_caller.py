"""Who the caller is, in the server and in the worker."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.server.middleware import Middleware, MiddlewareContext

import taskctx
from taskctx._caller.carried import stop_carrying
from taskctx.logs import TaskContextFilter
from tests.fastmcp.conftest import Service
from tests.fastmcp.installed import has_legs
from tests.fastmcp.server import ADA, BOB, LOCALE, mark
from tests.helpers import handling

SAME = ("token", "scope", "task", "session")


@pytest.mark.parametrize("token", [ADA, BOB])
async def test_a_task_sees_the_caller_of_the_tool(service: Service, token: str) -> None:
    """Token, headers, scope, request id and baggage, as any task of taskctx's does."""
    seen = await service.run(token=token)

    assert seen["token"] == mark(token)
    assert (seen["tenant"], seen["request_id"], seen["baggage"]) == ("acme", "r-1", "acme")
    assert seen["scope"] == ("mcp-app|ada" if token == ADA else "mcp-app|bob")
    assert seen["task"] is not None


@pytest.mark.parametrize("tool", ["see", "see_now"])
async def test_taskctx_and_fastmcp_say_the_same(service: Service, tool: str) -> None:
    """In a task, and in a tool that runs at once."""
    if tool == "see":
        seen = await service.run(tool)
    else:
        async with service.client() as client:
            seen = (await client.call_tool(tool)).data

    assert seen["same_token"]
    assert seen["headers"]
    assert seen["token"] == mark(ADA)
    for name in SAME:
        assert seen[name] == seen[f"their_{name}"], name


async def test_each_request_has_its_own_caller(service: Service) -> None:
    """A request sees its own token, whatever the earlier requests had."""
    for token in (ADA, BOB, ADA):
        async with service.client(token) as client:
            assert (await client.call_tool("see_now")).data["token"] == mark(token)


async def test_a_plain_docket_task_carries_the_mcp_caller(service: Service) -> None:
    """One that a tool submits with taskctx.add, run by FastMCP's own worker."""
    seen = await service.run("submit_plain")

    assert seen["token"] == mark(ADA)
    assert (seen["scope"], seen["key_scope"]) == ("mcp-app|ada", "mcp-app|ada")
    assert (seen["tenant"], seen["request_id"]) == ("acme", "r-1")


async def submit_plain_of_child(service: Service, *middleware: Middleware) -> dict[str, object]:
    """What a plain task sees that the tool of a mounted server submitted, in a request without an id of its own."""
    seen: dict[str, object] = {}
    child = FastMCP("a child")

    async def plain() -> None:
        task = taskctx.get_task_context()
        assert task is not None
        seen["scope"], seen["request_id"] = taskctx.get_task_scope(), taskctx.get_request_id()
        seen["has_session"] = taskctx.get_task_session_id() is not None
        seen["is_of_child"] = taskctx.get_task_server(task.task_id) is child

    async def order() -> None:
        await taskctx.add(service.docket, plain)()

    child.tool(order)
    service.mcp.mount(child, namespace="plain")
    for each in middleware:
        service.mcp.add_middleware(each)
    async with service.client(headers={}) as client:
        await client.call_tool("plain_order")
    await service.work()
    return seen


async def test_a_request_without_an_id_has_its_messages(service: Service) -> None:
    """A number in the protocol, and text in the snapshot of a plain task."""
    seen = await submit_plain_of_child(service)

    assert isinstance(seen.pop("request_id"), str)
    assert seen == {"scope": "mcp-app|ada", "has_session": True, "is_of_child": True}


@contextmanager
def logged(name: str) -> Generator[None]:
    """Lines of this logger have the ids of their request."""
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(TaskContextFilter())
    with handling(handler, name, logging.DEBUG):
        yield


class Logging(Middleware):
    """A log line for each tool call, before the tool's own server is known."""

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: Any) -> Any:
        logging.getLogger("a_server").info("called")
        return await call_next(context)


@pytest.mark.parametrize(("logger", "middleware"), [("fastmcp", ()), ("a_server", (Logging(),))])
async def test_a_log_line_takes_nothing_from_its_request(service: Service, logger: str, middleware: Any) -> None:
    """One that FastMCP writes before it knows the session, and one that is written around a mounted server's tool."""
    with logged(logger):
        seen = await submit_plain_of_child(service, *middleware)

    assert (seen["has_session"], seen["is_of_child"]) == (True, True)


@has_legs
async def test_a_leg_that_is_entered_again_has_the_same_caller(service: Service) -> None:
    """Answering a task's question starts a Docket task of another key, with the first one's snapshot."""
    task = await service.submit("ask")
    await service.work()
    await service.answer(task)
    await service.work()
    seen = await service.result(task)

    assert seen["token"] == mark(ADA)
    assert seen["task"] == seen["their_task"] == [task.task_id, "mcp-app|ada"]
    assert seen["session"] is not None
    assert seen["session"] == seen["their_session"]


async def test_a_mounted_childs_tool_finds_its_server(service: Service) -> None:
    """Both where the server is known, and where a worker has to look it up by the tool's name."""
    assert await service.run("child_whose_server") == ["the child", "the child"]


async def test_carried_variables_ride_along(service: Service) -> None:
    """What was set around the tool call is set in its task."""
    taskctx.carry(LOCALE)
    try:
        assert (await service.run())["locale"] == "locale-acme"
    finally:
        stop_carrying("fastmcp_locale")
    assert (await service.run())["locale"] is None


async def test_identify_is_not_for_its_requests(service: Service) -> None:
    """The error says what to use in its place, and not to add the middleware, which would not help."""
    said: list[str] = []

    async def named() -> None:
        with pytest.raises(taskctx.ConfigurationError) as caught:
            taskctx.identify(request_id="r-2")
        said.append(str(caught.value))

    service.mcp.tool(named)
    async with service.client() as client:
        await client.call_tool("named")
    (text,) = said
    assert "FastMCP says who their caller is. Use bind_caller" in text
    assert "TaskContextMiddleware" not in text
