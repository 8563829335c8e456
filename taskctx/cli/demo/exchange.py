"""Sending the requests, and comparing what their tasks report, at the same time."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import httpx
from pydantic import TypeAdapter

from ..processes import ProcessError
from . import child, server, tasks
from .callers import Request, make_requests
from .checks import ContextLost, Ledger
from .cluster import Cluster, Problem, Program
from .sighting import Sighting

AT_A_TIME = 8
"""Requests under way."""

ACCEPTED = 202
READ_EVERY = 0.1
STALLED = 30.0
"""Seconds in which nothing is sent or reported, after which the reports still missing are taken to be lost."""

Progress = Callable[[int, int], None]
"""Told how many requests are sent and how many runs seen."""

_SIGHTINGS = TypeAdapter(list[Sighting])


class Exchange(ABC):
    """One of two demos: what is started for it, what is sent there, and how.

    Attributes:
        sent: requests that were accepted.
    """

    program: ClassVar[Program]

    def __init__(self, cluster: Cluster, client: httpx.AsyncClient, ledger: Ledger) -> None:
        self._cluster, self._client, self._ledger = cluster, client, ledger
        self.sent = 0

    @staticmethod
    @abstractmethod
    def make_requests(count: int, signing_key: bytes) -> list[Request]: ...

    @abstractmethod
    async def send(self, request: Request) -> None: ...

    async def read(self) -> None:  # noqa: B027 - there is nothing to read where ``send`` has the answer
        """Compare the reports that have come in since."""

    async def run(self, requests: Sequence[Request], progress: Progress) -> None:
        """Send every request and compare every report, until all are in.

        Raises:
            ContextLost: at the first report that differs, or when reports stay away.
            Problem: a request was not accepted.
            ProcessError: a process ended.
        """
        waiting = iter(requests)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_A_TIME):
                    group.create_task(self._send_all(waiting))
                await self._read_all(progress)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send_all(self, waiting: Iterator[Request]) -> None:
        for request in waiting:
            with self._explained(f"request {request.number} was not accepted"):
                await self.send(request)

    async def _read_all(self, progress: Progress) -> None:
        before, heard = (0, 0), time.monotonic()
        while not self._ledger.complete:
            await asyncio.sleep(READ_EVERY)
            self._cluster.processes.check()
            with self._explained("the server stopped answering"):
                await self.read()
            now = (self.sent, self._ledger.runs_seen)
            progress(*now)
            if now != before:
                before, heard = now, time.monotonic()
            elif time.monotonic() - heard > STALLED:
                raise self._ledger.lost()

    @contextmanager
    def _explained(self, what: str) -> Generator[None]:
        """Whatever a client raises, it may quote what was sent."""
        try:
            yield
        except (ContextLost, Problem, ProcessError):
            raise
        except Exception as error:  # noqa: BLE001
            self._cluster.processes.check()
            raise Problem(f"{what} ({type(error).__name__})") from None


def _docket_worker(name: str, docket_name: str, metrics_port: int) -> list[str]:
    """The command that anybody would start a worker with; the URL may hold a password, so it is in the environment."""
    command = ["-m", "docket", "worker", "--name", name, "--docket", docket_name]
    command += ["--tasks", f"{tasks.__name__}:tasks", "--dependencies", "taskctx:worker_dependencies"]
    command += [
        "--concurrency",
        str(child.CONCURRENCY),
        "--metrics-port",
        str(metrics_port),
        "--logging-level",
        "WARNING",
    ]
    return command


class DocketExchange(Exchange):
    """A server and workers of Docket's own, and HTTP requests."""

    program = Program(f"{server.__name__}:make", _docket_worker)
    make_requests = staticmethod(make_requests)
    _index = 0

    async def send(self, request: Request) -> None:
        message = self._client.build_request(
            "POST",
            f"{self._cluster.server_url}/tasks/{request.kind}",
            params={"number": request.number, "failures": request.failures},
            headers=request.headers,
        )
        self._ledger.sent(request.number, message.headers)
        response = await self._client.send(message)
        if response.status_code != ACCEPTED:
            raise Problem(f"the server answered request {request.number} with {response.status_code}, not 202")
        self.sent += 1

    async def read(self) -> None:
        response = await self._client.get(f"{self._cluster.server_url}/reports", params={"since": self._index})
        sightings = _SIGHTINGS.validate_json(response.content)
        for sighting in sightings:
            self._ledger.seen(sighting)
        self._index += len(sightings)
