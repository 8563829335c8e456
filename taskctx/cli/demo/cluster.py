"""Everything that runs beside the demo: queue, server and workers, started in this order and stopped in reverse."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from . import processes, tasks
from . import server as server_process
from .backend import Backend, open_backend
from .outcome import Problem
from .processes import STARTUP, Process, free_port
from .sighting import SERVER

ATTEMPTS = 3
"""How often a worker is given another port: one that was free may be taken before the worker has it."""

CONCURRENCY = 4
"""Tasks at a time in each worker: few enough that every worker has some."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process that works on tasks, and where its metrics are."""

    process: Process
    metrics_url: str

    @property
    def name(self) -> str:
        return self.process.name


StartWorker = Callable[[str, str, str, Path], Awaitable[Member]]
"""Takes a worker's name, its queue's URL and name, and the demo's directory."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is run: the server's module, and how a worker is started."""

    server: str
    start_worker: StartWorker


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was started; the server is the last member."""

    program: Program
    backend: Backend
    server_url: str
    members: list[Member]
    directory: Path

    @property
    def processes(self) -> list[Process]:
        own = [self.backend.process] if self.backend.process else []
        return own + [member.process for member in self.members]


async def start_cluster(
    program: Program,
    client: httpx.AsyncClient,
    stack: AsyncExitStack,
    directory: Path,
    *,
    url: str | None,
    workers: int,
    signing_key: bytes,
) -> Cluster:
    """Start it all and wait until every worker is ready; ``stack`` stops it, whatever happens.

    Raises:
        Problem: something did not start.
    """
    docket_name = f"taskctx-demo-{secrets.token_hex(4)}"
    backend = await open_backend(url, docket_name, directory, stack)
    environment = {
        server_process.URL: backend.url,
        server_process.DOCKET: docket_name,
        server_process.SIGNING_KEY: signing_key.hex(),
    }
    server = await processes.start(SERVER, [program.server], directory, environment)
    stack.push_async_callback(server.stop)
    members: list[Member] = []
    stack.push_async_callback(lambda: processes.stop([member.process for member in members]))
    if not backend.is_memory:
        for number in range(1, workers + 1):
            worker = await program.start_worker(f"worker-{number}", backend.url, docket_name, directory)
            members.append(worker)
    server_url = await server.announcement()
    members.append(Member(server, f"{server_url}/metrics"))
    cluster = Cluster(program, backend, server_url, members, directory)
    await _ready(cluster, client, docket_name)
    return cluster


async def _start_worker(name: str, url: str, docket_name: str, directory: Path) -> Member:
    """The command that anybody would start a worker with; what differs is in the environment."""
    port = free_port()
    arguments = ["docket", "worker", "--name", name, "--docket", docket_name]
    arguments += ["--tasks", f"{tasks.__name__}:tasks", "--dependencies", "taskctx:worker_dependencies"]
    arguments += ["--concurrency", str(CONCURRENCY), "--metrics-port", str(port), "--logging-level", "WARNING"]
    # not on the command line, because a URL may hold a password
    process = await processes.start(name, arguments, directory, {"DOCKET_URL": url})
    return Member(process, f"http://127.0.0.1:{port}/metrics")


DOCKET_PROGRAM = Program(server_process.__name__, _start_worker)


async def _ready(cluster: Cluster, client: httpx.AsyncClient, docket_name: str) -> None:
    """Wait until every worker has said on the docket that it works."""
    names = {member.name for member in cluster.members}
    restarts = 0
    try:
        async with asyncio.timeout(STARTUP):
            while not names <= await _working(cluster, client):
                for index, member in enumerate(cluster.members):
                    if not member.process.ended:
                        continue
                    if not _port_was_taken(member.process) or restarts == ATTEMPTS:
                        raise member.process.problem()
                    restarts += 1
                    cluster.members[index] = await cluster.program.start_worker(
                        member.name, cluster.backend.url, docket_name, cluster.directory
                    )
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Problem(f"the workers were not ready within {STARTUP:.0f} seconds: is the machine very busy?") from None


async def _working(cluster: Cluster, client: httpx.AsyncClient) -> set[str]:
    try:
        response = await client.get(f"{cluster.server_url}/workers")
    except httpx.TransportError:
        return set()
    return set(response.json()) if response.is_success else set()


def _port_was_taken(process: Process) -> bool:
    return os.strerror(errno.EADDRINUSE).lower() in process.last_words().lower()
