"""A submitter that cannot reach the Redis server.

Orders on stdin: ``faults`` has it try to submit from then on, ``good`` has it stop.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from docket import Docket
from opentelemetry import trace
from prometheus_client import start_http_server

import taskctx
from tests import secrets
from tests.stack import child, workload
from tests.stack.server import REQUESTS


async def main() -> None:
    trying = asyncio.Event()
    async with Docket(name=REQUESTS, url=os.environ["DOCKET_URL"]) as docket:
        taskctx.configure(docket_names=[REQUESTS])
        endpoint, _ = start_http_server(int(os.environ["METRICS_PORT"]), "127.0.0.1")
        async with asyncio.TaskGroup() as group:
            submitting = group.create_task(_submit(docket, trying))
            async for order in child.orders():
                if order == "faults":
                    trying.set()
                else:
                    trying.clear()
            submitting.cancel()
        endpoint.shutdown()


async def _submit(docket: Docket, trying: asyncio.Event) -> None:
    while await trying.wait():
        with (
            trace.get_tracer("tests").start_as_current_span("request"),
            taskctx.bind_caller(access_token=secrets.token(), headers=secrets.headers()),
            suppress(taskctx.SaveError),
        ):
            await taskctx.add(docket, workload.summarize)()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
