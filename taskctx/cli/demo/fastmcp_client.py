"""The client side of ``--fastmcp``: callers are MCP clients, and a task's report is its tool's answer."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from .callers import Request, make_requests
from .checks import ContextLost
from .exchange import Exchange
from .fastmcp_lines import WORKER, call_as_task
from .sighting import Kind, Sighting

MOUNTED_EVERY = 4
"""One in so many calls goes to the mounted server's tool."""

IN_META = ("traceparent", "tracestate")
"""Headers that move into the message's ``_meta``, where FastMCP reads the trace."""


class FastMCPExchange(Exchange):
    """A FastMCP server, FastMCP's own workers, and tool calls that run as tasks."""

    app: ClassVar[str] = f"{__package__}.fastmcp_server:mcp.http_app"
    worker: ClassVar[str] = f"{WORKER} {{here}}/fastmcp_server.py"

    @staticmethod
    def make_requests(count: int, signing_key: bytes) -> list[Request]:
        """The other demo's requests, without anonymous callers, own sessions and kinds of tasks: FastMCP has none."""
        known = [request for request in make_requests(count * 2, signing_key) if request.expected.token is not None]
        return [_as_call(number, request) for number, request in enumerate(known[:count])]

    async def send(self, request: Request) -> None:
        tool = "report" if request.number % MOUNTED_EVERY else "mounted_report"
        headers = {name: value for name, value in request.headers.items() if name not in IN_META}
        meta = {name: value for name, value in request.headers.items() if name in IN_META}
        transport = StreamableHttpTransport(f"{self._cluster.server_url}/mcp", headers=headers)
        async with Client(transport) as client:
            task = await call_as_task(client, tool, {"number": request.number}, meta)
            own = {name: value for name, value in headers.items() if name.startswith("x-")}
            self._ledger.sent(request.number, own, task_id=task.task_id)
            answer = await task.result()
        if answer.is_error:
            raise ContextLost(f"request {request.number} ({tool}): its task failed")
        self._ledger.seen(Sighting.model_validate(answer.data))

    async def read(self) -> None:
        """Do nothing: a tool's answer is its task's report."""


def _as_call(number: int, request: Request) -> Request:
    headers = {name: value for name, value in request.headers.items() if name != "mcp-session-id"}
    expected = request.expected.model_copy(update={"session_id": None})
    runs = frozenset({(1, 1)})
    return replace(request, number=number, kind=Kind.NOW, headers=headers, expected=expected, failures=0, runs=runs)
