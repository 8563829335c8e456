"""Real FastMCP servers over streamable HTTP, and workers for their tasks."""

# pyright: reportPrivateUsage=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from docket import Depends, Docket, Worker
from fastmcp import Client, FastMCP
from fastmcp.client.transports import StreamableHttpTransport

from taskctx.cli.processes import free_port
from taskctx.fastmcp import instrument, uninstrument
from taskctx.fastmcp._upstream import line
from tests.fastmcp.installed import ToolTask, answer, call_tool_task, from_here, theirs
from tests.fastmcp.server import ADA, make_server
from tests.helpers import wait_until
from tests.secrets import secret

HEADERS = {"X-Tenant": "acme", "X-Request-ID": "r-1", "Cookie": secret("cookie"), "baggage": "tenant=acme"}


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    instrument()
    yield
    uninstrument()


@dataclass(frozen=True)
class Service:
    """A server that leaves its tasks to :meth:`work`, so that a test can do something in between."""

    mcp: FastMCP
    url: str

    @property
    def docket(self) -> Docket:
        docket = self.mcp._docket
        assert docket is not None
        return docket

    @asynccontextmanager
    async def client(
        self, token: str | None = ADA, headers: dict[str, str] = HEADERS, **options: Any
    ) -> AsyncGenerator[Client[Any]]:
        async with Client(StreamableHttpTransport(self.url, headers=headers, auth=token), **options) as client:
            yield client

    async def submit(self, tool: str = "see", token: str = ADA, **options: Any) -> ToolTask:
        async with self.client(token) as client:
            return await call_tool_task(client, tool, **options)

    async def work(self) -> None:
        """Run all due tasks in a worker with FastMCP's dependency: FastMCP's own, or taskctx's where it is instrumented."""
        fast = timedelta(milliseconds=5)
        restore = Depends(theirs.restore_task_snapshot)
        async with Worker(self.docket, dependencies=[restore], minimum_check_interval=fast) as worker:
            await worker.run_until_finished()

    async def result(self, task: ToolTask, token: str = ADA) -> Any:
        """What a task gave, or its error's text."""
        async with self.client(token) as client:
            found = await from_here(client, task).result()
        return found.content[0].text if found.is_error else found.data  # type: ignore[union-attr]

    async def run(self, tool: str = "see", token: str = ADA, **options: Any) -> Any:
        task = await self.submit(tool, token, **options)
        await self.work()
        return await self.result(task, token)

    async def answer(self, task: ToolTask) -> None:
        """Answer what a task asks, whatever it is, and so start its next leg."""
        async with self.client() as client:
            await answer(client, task)

    def snapshot_key(self, task: ToolTask, scope: str = "mcp-app|ada") -> str:
        return line.snapshot_redis_key(self.docket, scope, task.task_id)

    async def stored(self, task: ToolTask) -> bytes:
        async with self.docket.redis() as redis:
            value = await redis.get(self.snapshot_key(task))
        assert value is not None
        return value

    async def store(self, task: ToolTask, value: bytes) -> None:
        async with self.docket.redis() as redis:
            await redis.set(self.snapshot_key(task), value, ex=60)

    async def forget(self, task: ToolTask) -> None:
        async with self.docket.redis() as redis:
            await redis.delete(self.snapshot_key(task))


@pytest.fixture
async def service(backend_url: str) -> AsyncGenerator[Service]:
    async with serving(make_server(backend_url, f"test-{uuid4()}", concurrency=0)) as running:
        yield running


@asynccontextmanager
async def serving(mcp: FastMCP) -> AsyncGenerator[Service]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(mcp.http_app(), port=port, log_config=None, timeout_graceful_shutdown=1))
    run = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: server.started or run.done())
        yield Service(mcp, f"http://127.0.0.1:{port}/mcp")
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await run
