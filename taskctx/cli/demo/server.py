"""The server process: the application on a port that the system chooses, and a worker of its own beside it.

Prints its URL.  Its configuration is in the environment: a command line can be read by others.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import uvicorn
from docket import Docket, Worker
from redis.exceptions import RedisError

import taskctx

from . import tasks
from .app import make_app
from .sighting import SERVER

URL: Final = "TASKCTX_DEMO_URL"
DOCKET: Final = "TASKCTX_DEMO_DOCKET"
SIGNING_KEY: Final = "TASKCTX_DEMO_SIGNING_KEY"
WORKER_METRICS_PORT: Final = "TASKCTX_DEMO_WORKER_METRICS_PORT"
WORKER_CONCURRENCY: Final = "TASKCTX_DEMO_WORKER_CONCURRENCY"

HOST: Final = "127.0.0.1"
CONCURRENCY: Final = 3
"""Of the worker in this process: it is to run some of the tasks, and leave most to the others."""


def serve() -> None:
    docket = Docket(name=os.environ[DOCKET], url=os.environ[URL])
    app = make_app(docket, bytes.fromhex(os.environ[SIGNING_KEY]), lambda _: _working(docket))
    with socket.create_server((HOST, 0)) as listener:
        print(f"http://{HOST}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the demo reads it
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


@asynccontextmanager
async def _working(docket: Docket) -> AsyncGenerator[None]:
    """The docket is open and a worker runs; afterwards nothing of it is left on the server."""
    async with docket:
        docket.register_collection(f"{tasks.__name__}:tasks")
        async with Worker(
            docket, name=SERVER, concurrency=CONCURRENCY, dependencies=taskctx.worker_dependencies
        ) as worker:
            running = asyncio.create_task(worker.run_forever())
            try:
                yield
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
        # a server away, or one that does not let us, costs the keys' time to live and nothing else
        with suppress(RedisError, OSError, TimeoutError):
            await sweep(docket)


async def sweep(docket: Docket) -> None:
    """Delete the docket's keys."""
    async with docket.redis() as redis:
        keys = [key async for key in redis.scan_iter(match=docket.key("*"), count=1000)]
        for key in keys:
            await redis.delete(key)


if __name__ == "__main__":
    serve()
