"""Sends the requests, and compares the reports of their tasks at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import httpx

from ..processes import ProcessError
from . import child, server, tasks
from .callers import Request, make_requests
from .checks import ContextLost, Ledger
from .cluster import Cluster, DemoError
from .progress import Screen
from .sighting import Sighting

AT_A_TIME = 8
"""The most requests at a time."""

READ_EVERY = 0.1
STALLED = 30.0
"""Seconds without a request or a report after which the missing reports count as lost."""


class Exchange:
    """HTTP requests to the demo's own server, with Docket's workers.

    Attributes:
        app: the factory of the server's application, in uvicorn's notation.
        worker: the command that starts a worker, after ``python -m``, with fields in braces.
        sent: the number of accepted requests.
    """

    app: ClassVar[str] = f"{server.__name__}:make"
    # like any Docket worker; the queue's URL may hold a password, so it is in the environment
    worker: ClassVar[str] = (
        f"docket worker --name {{name}} --docket {{docket}} --tasks {tasks.__name__}:tasks"
        f" --dependencies taskctx:worker_dependencies --concurrency {child.CONCURRENCY}"
        " --metrics-port {metrics_port} --logging-level WARNING"
    )
    make_requests: ClassVar[Callable[[int, bytes], list[Request]]] = staticmethod(make_requests)

    def __init__(self, cluster: Cluster, client: httpx.AsyncClient, ledger: Ledger) -> None:
        self._cluster, self._client, self._ledger = cluster, client, ledger
        self._index: int = 0
        self.sent: int = 0

    async def send(self, request: Request) -> None:
        """Send a request, and note its headers in the ledger."""
        url = f"{self._cluster.server_url}/tasks/{request.kind}"
        numbers = {"number": request.number, "failures": request.failures}
        message = self._client.build_request("POST", url, params=numbers, headers=request.headers)
        self._ledger.sent(request.number, message.headers)
        response = await self._client.send(message)
        if not response.is_success:
            raise DemoError(f"the server answered request {request.number} with {response.status_code}")

    async def read(self) -> None:
        """Compare the reports that are new since the last call."""
        response = await self._client.get(f"{self._cluster.server_url}/reports", params={"since": self._index})
        for report in response.json():
            self._ledger.seen(Sighting.model_validate(report))
            self._index += 1

    async def run(self, requests: Sequence[Request], screen: Screen) -> None:
        """Send every request and compare every report, until all reports have come.

        Raises:
            ContextLost: a report differs, or reports are missing.
            DemoError: a request was not accepted.
            ProcessError: a process ended.
        """
        waiting = iter(requests)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_A_TIME):
                    group.create_task(self._send_all(waiting))
                await self._read_all(screen)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send_all(self, waiting: Iterator[Request]) -> None:
        for request in waiting:
            with self._explained(f"request {request.number} was not accepted"):
                await self.send(request)
            self.sent += 1

    async def _read_all(self, screen: Screen) -> None:
        before, heard = (0, 0), time.monotonic()
        while not self._ledger.complete:
            await asyncio.sleep(READ_EVERY)
            self._cluster.processes.check()
            with self._explained("the server stopped answering"):
                await self.read()
            now = (self.sent, self._ledger.runs_seen)
            screen.seen(*now)
            if now != before:
                before, heard = now, time.monotonic()
            elif time.monotonic() - heard > STALLED:
                raise self._ledger.lost()

    @contextmanager
    def _explained(self, what: str) -> Generator[None]:
        """Replace the errors of HTTP clients: they may quote sent values."""
        try:
            yield
        except (ContextLost, DemoError, ProcessError):
            raise
        except Exception as error:  # noqa: BLE001
            self._cluster.processes.check()
            raise DemoError(f"{what} ({type(error).__name__})") from None
