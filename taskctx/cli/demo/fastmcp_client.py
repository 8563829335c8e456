"""What is different with ``--fastmcp``: callers are MCP clients, and a task's report is its tool's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp_tasks import call_tool_task  # pyright: ignore[reportUnknownVariableType] - a Client of anything

from . import processes, server
from .callers import Request, make_requests
from .checks import Ledger
from .cluster import CONCURRENCY, Cluster, Member, Program
from .exchange import AT_A_TIME, STALLED, Progress
from .outcome import ContextLost, Problem
from .processes import PACKAGE, free_port
from .sighting import Kind, Sighting
from .variant import Variant

MOUNTED_EVERY = 4
"""One in so many calls is for the mounted server's tool."""

IN_META = ("traceparent", "tracestate")
"""Where FastMCP looks for a trace: the message's ``_meta``."""


def fastmcp_requests(count: int, signing_key: bytes) -> list[Request]:
    """As those of the other demo, but for anonymous callers, own sessions and kinds of tasks: FastMCP has none."""
    known = [request for request in make_requests(count * 2, signing_key) if request.expected.token is not None]
    return [_as_call(number, request) for number, request in enumerate(known[:count])]


def _as_call(number: int, request: Request) -> Request:
    headers = {name: value for name, value in request.headers.items() if name != "mcp-session-id"}
    expected = request.expected.model_copy(update={"session_id": None})
    runs = frozenset({(1, 1)})
    return replace(request, number=number, kind=Kind.NOW, headers=headers, expected=expected, failures=0, runs=runs)


async def exchange(
    cluster: Cluster, _: httpx.AsyncClient, requests: Sequence[Request], ledger: Ledger, progress: Progress
) -> None:
    """Call a tool for each request, as a task, and compare what it answers.

    Raises:
        ContextLost: at the first answer that differs, or that stays away.
        Problem: a call was not accepted, or a process ended.
    """
    callers = _Callers(cluster, ledger, progress)
    waiting = iter(requests)
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(processes.watch(cluster.processes))
            async with asyncio.TaskGroup() as calls:
                for _number in range(AT_A_TIME):
                    calls.create_task(callers.call(waiting))
            watching.cancel()
    except ExceptionGroup as error:
        raise _first(error) from None


class _Callers:
    def __init__(self, cluster: Cluster, ledger: Ledger, progress: Progress) -> None:
        self._cluster, self._ledger, self._progress = cluster, ledger, progress
        self._sent = 0

    async def call(self, waiting: Iterator[Request]) -> None:
        """Make the calls that nobody else has made yet."""
        for request in waiting:
            try:
                async with asyncio.timeout(STALLED):
                    await self._call(request)
            except (ContextLost, Problem):
                raise
            except TimeoutError:
                raise self._ledger.lost() from None
            except Exception as error:  # noqa: BLE001 - whatever the client raises, it may quote what was sent
                for process in self._cluster.processes:
                    if process.ended:
                        raise process.problem() from None
                raise Problem(f"request {request.number} was not accepted ({type(error).__name__})") from None

    async def _call(self, request: Request) -> None:
        tool = "report" if request.number % MOUNTED_EVERY else "mounted_report"
        headers = {name: value for name, value in request.headers.items() if name not in IN_META}
        meta = {name: value for name, value in request.headers.items() if name in IN_META}
        transport = StreamableHttpTransport(f"{self._cluster.server_url}/mcp", headers=headers)
        async with Client(transport) as client:
            task = await call_tool_task(client, tool, {"number": request.number}, meta=meta, raise_on_error=False)
            own = {name: value for name, value in headers.items() if name.startswith("x-")}
            self._ledger.sent(request.number, own, task_id=task.task_id)
            self._sent += 1
            self._progress(self._sent, self._ledger.runs_seen)
            answer = await task.result()
        if answer.is_error:
            raise ContextLost(f"request {request.number} ({tool}): its task failed")
        self._ledger.seen(Sighting.model_validate(answer.data))
        self._progress(self._sent, self._ledger.runs_seen)


async def start_worker(name: str, url: str, docket_name: str, directory: Path) -> Member:
    """FastMCP's own command for a worker."""
    port = free_port()
    arguments = ["fastmcp_tasks.worker_cli", "worker", str(Path(__file__).with_name("fastmcp_server.py"))]
    environment = {
        server.URL: url,
        server.DOCKET: docket_name,
        server.WORKER_CONCURRENCY: str(CONCURRENCY),
        server.WORKER_METRICS_PORT: str(port),
    }
    process = await processes.start(name, arguments, directory, environment)
    return Member(process, f"http://{server.HOST}:{port}/metrics")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


FASTMCP = Variant(Program(f"{PACKAGE}.fastmcp_server", start_worker), fastmcp_requests, exchange)
