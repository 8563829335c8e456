"""What taskctx relies on in the MCP SDK.  Runs with the newest, and with 1.x in a venv of its own: ``make test-mcp-1``."""
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

import taskctx
from taskctx.asgi import TaskContextMiddleware
from tests.secrets import secret
from tests.serving import serving

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer

PROTOCOL = "2025-06-18"


class Verifier:
    """Accepts every token; the client's name is the part before the dash."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id=token.partition("-")[0], scopes=[])


def plain(token: str) -> str:
    """A token as it may be in a log: the SDK's and httpx's have what tools return."""
    return token.removesuffix(secret(""))


class Client:
    """Sends requests of one session, each with a token of its own."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._session: dict[str, str] = {}

    async def send(self, token: str, method: str, **params: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", "x-request-id": f"request of {plain(token)}"} | self._session
        number = {} if method.startswith("notifications/") else {"id": 1}
        message = {"jsonrpc": "2.0", "method": method, "params": params} | number
        return await self._http.post("/mcp", headers=headers, json=message)

    async def open(self, token: str) -> None:
        client = {"name": "tests", "version": "1"}
        answer = await self.send(token, "initialize", protocolVersion=PROTOCOL, capabilities={}, clientInfo=client)
        self._session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": PROTOCOL}
        await self.send(token, "notifications/initialized")

    async def call(self, token: str, tool: str) -> Any:
        """What a tool returned; None where the session is not this caller's."""
        answer = await self.send(token, "tools/call", name=tool, arguments={})
        if answer.status_code == 404:
            return None
        [event] = [line for line in answer.text.splitlines() if line.startswith("data: {")]
        return json.loads(json.loads(event.removeprefix("data: "))["result"]["content"][0]["text"])


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    """A stateful server of the SDK's with two tools, under the middleware."""
    url: Any = "http://127.0.0.1"
    mcp = MCPServer(
        "tests",
        token_verifier=Verifier(),
        auth=AuthSettings(issuer_url=url, resource_server_url=url, required_scopes=[], validate_token_resource=False),
    )

    @mcp.tool()
    def see() -> str:
        token = taskctx.get_access_token()
        return json.dumps([token and plain(token.token), taskctx.get_task_scope(), taskctx.get_request_id()])

    @mcp.tool()
    def see_in_a_block() -> str:
        with taskctx.bind_caller(request_id="of the block"):
            return see()

    app: Any = mcp.streamable_http_app()
    async with serving(TaskContextMiddleware(app)) as base_url:
        headers = {"accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(base_url=base_url, headers=headers) as http:
            yield Client(http)


async def test_a_tool_has_the_token_of_the_request_that_calls_it(client: Client) -> None:
    """It does not have the token of the request that opened the session."""
    first, second = secret("ada-1"), secret("ada-2")
    await client.open(first)
    assert await client.call(second, "see") == ["ada-2", "ada", "request of ada-2"]
    assert await client.call(first, "see") == ["ada-1", "ada", "request of ada-1"]


async def test_another_callers_request_is_never_the_first_ones(client: Client) -> None:
    """Where the SDK does not refuse it, as it does since 1.30, a tool sees who asks."""
    bobs = secret("bob-1")
    await client.open(secret("ada-1"))
    assert await client.call(bobs, "see") in (None, ["bob-1", "bob", "request of bob-1"])


async def test_a_block_in_a_tool_counts_first(client: Client) -> None:
    """What it does not give is of the request that calls the tool."""
    second = secret("ada-2")
    await client.open(secret("ada-1"))
    assert await client.call(second, "see_in_a_block") == ["ada-2", "ada", "of the block"]
