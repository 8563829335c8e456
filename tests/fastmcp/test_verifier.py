"""What a server's own verifier takes for a token is none, or has no JSON form."""

# pyright: reportUnknownVariableType=false
from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.auth import AccessToken, TokenVerifier

import taskctx
from tests.fastmcp.conftest import Service, serving
from tests.fastmcp.installed import CurrentDocket, add_tasks, call_tool_task, run_tool
from tests.fastmcp.server import TASK
from tests.secrets import secret

TOKEN = secret("token-of-a-wrong-shape")


class Verifier(TokenVerifier):
    """Takes whatever it is asked for a good token, and says who that is in a way of its own."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._make = make

    async def verify_token(self, token: str) -> Any:
        return self._make()


async def see() -> str | None:
    return taskctx.get_task_scope()


async def submit_plain(docket: Docket = CurrentDocket()) -> None:
    await taskctx.add(docket, see)()


async def submit_from_a_task(docket: Docket = CurrentDocket()) -> None:
    await taskctx.add(docket, see)()


Serve = Callable[..., Any]


@pytest.fixture
async def serve(backend_url: str) -> AsyncGenerator[Serve]:
    """A server with this verifier."""
    async with AsyncExitStack() as stack:

        async def start(make: Callable[[], Any], workers: int = 0) -> Service:
            name = f"test-{uuid4()}"
            server = FastMCP(name, auth=Verifier(make))
            add_tasks(server, backend_url, name, workers)
            server.tool(see, task=TASK)
            server.tool(submit_plain)
            server.tool(submit_from_a_task, task=TASK)
            return await stack.enter_async_context(serving(server))

        yield start


def without_json() -> AccessToken:
    """As of a verifier that puts an object of its own among the claims."""
    return AccessToken(token=TOKEN, client_id="mcp-app", scopes=[], claims={"sub": "ada", "user": object()})


async def call(service: Service, tool: str) -> Any:
    async with service.client(token=TOKEN, headers={}) as client:
        if tool == "see":
            return await call_tool_task(client, tool)
        return await client.call_tool(tool)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(without_json, id="a claim without JSON form"),
        pytest.param(lambda: AccessToken.model_construct(token=TOKEN, client_id=7, scopes=[]), id="a client by number"),
        pytest.param(
            lambda: SimpleNamespace(token=TOKEN, client_id="mcp-app", scopes=[], expires_at=None), id="no model"
        ),
    ],
)
async def test_nothing_is_submitted(serve: Serve, caplog: pytest.LogCaptureFixture, make: Callable[[], Any]) -> None:
    """Its call fails before anything is stored or scheduled, and no line takes it for a bug of taskctx's."""
    service = await serve(make)
    with pytest.raises(Exception, match=r"(?i)error"):
        await call(service, "see")

    assert (await service.docket.snapshot()).total_tasks == 0
    async with service.docket.redis() as redis:
        assert [key async for key in redis.scan_iter(match=service.docket.key("fastmcp:*"))] == []
    assert not [record for record in caplog.records if record.name == "taskctx"]


async def test_the_server_is_told_what_is_at_fault(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """In taskctx's words, which quote nothing, where its client is told or the server's log has it."""
    service = await serve(without_json)
    with caplog.at_level(logging.ERROR), pytest.raises(Exception) as raised:
        await call(service, "see")

    told = f"{raised.value}{[record.exc_info and record.exc_info[1] for record in caplog.records]}"
    assert "access_token must have the attributes of taskctx.AccessToken" in told
    assert "is at fault in: a value that is not JSON" in told


async def test_nor_is_a_plain_task(serve: Serve) -> None:
    """One that a tool submits in the request itself: its error is the tool's."""
    service = await serve(without_json)
    with pytest.raises(ToolError, match="is at fault in: a value that is not JSON"):
        await call(service, "submit_plain")
    assert (await service.docket.snapshot()).total_tasks == 0


async def test_nor_is_one_by_a_task_whose_client_reads_two_ways(serve: Serve) -> None:
    """FastMCP runs tasks of a client called "a|b"; one that is submitted there would be that of subject b of client a."""
    service = await serve(lambda: AccessToken(token=TOKEN, client_id="a|b", scopes=[]), workers=1)
    async with service.client(token=TOKEN, headers={}) as client:
        with pytest.raises(ToolError, match="client_id contains"):
            await run_tool(client, "submit_from_a_task")
