"""Sending the requests, and reading what their tasks report, at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
from pydantic import TypeAdapter

from . import processes
from .callers import Request
from .checks import Ledger
from .cluster import Cluster
from .outcome import Problem
from .sighting import Sighting

AT_A_TIME = 8
"""Requests under way."""

ACCEPTED = 202
READ_EVERY = 0.1
STALLED = 30.0
"""Seconds without a report after which those still missing are taken to be lost."""

Progress = Callable[[int, int], None]
"""Told how many requests are sent and how many runs seen."""

_SIGHTINGS = TypeAdapter(list[Sighting])


async def exchange(
    cluster: Cluster, client: httpx.AsyncClient, requests: Sequence[Request], ledger: Ledger, progress: Progress
) -> None:
    """Send every request and compare every report, until all are in.

    Raises:
        ContextLost: at the first report that differs, or when reports stay away.
        Problem: a request was not accepted, or a process ended.
    """
    courier = _Courier(cluster, client, ledger, progress)
    waiting = iter(requests)
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(processes.watch(cluster.processes))
            senders = [group.create_task(courier.send(waiting)) for _ in range(AT_A_TIME)]
            await courier.read(senders)
            watching.cancel()
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


class _Courier:
    def __init__(self, cluster: Cluster, client: httpx.AsyncClient, ledger: Ledger, progress: Progress) -> None:
        self._cluster, self._client, self._ledger, self._progress = cluster, client, ledger, progress
        self._sent = 0

    async def send(self, waiting: Iterator[Request]) -> None:
        """Send what nobody else has sent yet."""
        for request in waiting:
            message = self._client.build_request(
                "POST",
                f"{self._cluster.server_url}/tasks/{request.kind}",
                params={"number": request.number, "failures": request.failures},
                headers=request.headers,
            )
            self._ledger.sent(request.number, message.headers)
            response = await self._ask(message)
            if response.status_code != ACCEPTED:
                raise Problem(f"the server answered request {request.number} with {response.status_code}, not 202")
            self._sent += 1
            self._progress(self._sent, self._ledger.runs_seen)

    async def read(self, senders: Sequence[asyncio.Task[None]]) -> None:
        """Read reports until the ledger is complete."""
        index, heard = 0, time.monotonic()
        while not self._ledger.complete:
            message = self._client.build_request("GET", f"{self._cluster.server_url}/reports", params={"since": index})
            sightings = _SIGHTINGS.validate_json((await self._ask(message)).content)
            for sighting in sightings:
                self._ledger.seen(sighting)
            index += len(sightings)
            self._progress(self._sent, self._ledger.runs_seen)
            if sightings or not all(sender.done() for sender in senders):
                heard = time.monotonic()
            elif time.monotonic() - heard > STALLED:
                raise self._ledger.lost()
            await asyncio.sleep(READ_EVERY)

    async def _ask(self, message: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(message)
        except httpx.TransportError as error:
            for process in self._cluster.processes:
                if process.ended:
                    raise process.problem() from None
            raise Problem(f"the server stopped answering ({type(error).__name__})") from None
