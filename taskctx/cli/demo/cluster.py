"""Everything that runs beside the demo: queue, server and workers, started in this order and stopped in reverse."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import uvicorn
from docket import Docket
from redis.exceptions import RedisError

from ..processes import Process, Processes, free_port, listening, stop
from . import child
from .backend import MEMORY, Backend, knock, open_backend, sweep
from .sighting import SERVER

CONCURRENCY = 4
"""Tasks at a time in each worker: few enough that every worker has some."""

CARRYING = ("TASKCTX_", "DOCKET_", "FASTMCP_", "OTEL_", "PROMETHEUS_", "UVICORN_")
KEPT = ("TASKCTX_ENCRYPTION_KEYS", "TASKCTX_KEY_PREFIX")
"""Variables that could change what is carried, or how a process is set up, are not handed on; these do neither."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is run.

    Attributes:
        app: where uvicorn finds what makes the server's application.
        worker: the arguments of ``python`` for a worker, from its name, its docket's, and the port of its metrics.
    """

    app: str
    worker: Callable[[str, str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Member:
    """A process that works on tasks, and where its metrics are."""

    process: Process
    metrics_url: str

    @property
    def name(self) -> str:
        return self.process.name


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was started; the server is the last member."""

    backend: Backend
    server_url: str
    members: list[Member]

    @property
    def processes(self) -> list[Process]:
        own = [self.backend.process] if self.backend.process else []
        return own + [member.process for member in self.members]

    def check(self) -> None:
        """See that everything still runs.

        Raises:
            ProcessError: something does not.
        """
        for process in self.processes:
            if process.ended:
                raise process.error()


async def start_cluster(
    program: Program, stack: AsyncExitStack, directory: Path, *, url: str | None, workers: int, signing_key: bytes
) -> Cluster:
    """Start it all and wait until every worker is ready; ``stack`` stops it, whatever happens.

    Raises:
        Problem: the user's own server does not answer.
        ProcessError: something did not start.
    """
    docket_name = f"taskctx-demo-{secrets.token_hex(4)}"
    password = None
    if url is not None and not url.startswith(MEMORY):
        await knock(url, docket_name)
        password = urlsplit(url).password
        stack.push_async_callback(sweep, url, docket_name)
    processes = stack.enter_context(
        Processes(
            directory,
            {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(CARRYING)},
            secrets=(signing_key.hex(), *((password, unquote(password)) if password else ())),
            own_sessions=True,
        )
    )
    backend = await open_backend(url, docket_name, processes)
    environment = {
        # where Docket's own command looks, and where the demo does
        "DOCKET_URL": backend.url,
        child.URL: backend.url,
        child.DOCKET: docket_name,
        child.DIRECTORY: str(directory),
        child.SIGNING_KEY: signing_key.hex(),
        child.CONCURRENCY: str(CONCURRENCY),
    }

    def start(name: str, arguments: Callable[[int], list[str]]) -> Member:
        port = free_port()
        given = environment | {child.NAME: name, child.METRICS_PORT: str(port)}
        process = processes.start([sys.executable, *arguments(port)], given, name=name)
        return Member(process, f"http://{child.HOST}:{port}/metrics")

    port = free_port()
    server = start(SERVER, lambda _: _serve(program.app, port))
    crew: list[Member] = []
    # at once, and before the server
    stack.callback(lambda: stop([worker.process for worker in crew]))
    for name in () if backend.is_memory else [f"worker-{number + 1}" for number in range(workers)]:
        crew.append(start(name, partial(program.worker, name, docket_name)))
    cluster = Cluster(backend, f"http://{child.HOST}:{port}", [*crew, server])
    await server.process.ready(lambda: listening(port))
    if not backend.is_memory:
        await _all_work(cluster, docket_name)
    return cluster


def _serve(app: str, port: int) -> list[str]:
    command = ["-m", uvicorn.__name__, "--factory", app, "--host", child.HOST, "--port", str(port), "--workers", "1"]
    return [*command, "--log-level", "warning", "--no-access-log", "--timeout-graceful-shutdown", "2"]


async def _all_work(cluster: Cluster, docket_name: str) -> None:
    """Wait until every worker has said on the docket that it works."""

    async def works(name: str) -> bool:
        cluster.check()
        with suppress(RedisError):
            return name in {worker.name for worker in await docket.workers()}
        return False

    async with Docket(name=docket_name, url=cluster.backend.url) as docket:
        for member in cluster.members:
            await member.process.ready(partial(works, member.name))
