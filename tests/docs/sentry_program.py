"""Two tasks with what ``docs/how-to/sentry.md`` prints; ``test_sentry.py`` runs it beside the printed module.

Prints as JSON what was sent, in each way of running the worker: ``scope`` as the page has it, ``none`` without its
dependency, ``asyncio`` with Sentry's own integration in its place.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingImports=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any, ClassVar

import sentry_sdk
from docket import Docket, Worker
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.asyncio import enable_asyncio_integration
from sentry_sdk.transport import Transport

import taskctx
from tests.helpers import end_on_memory
from tests.secrets import secret


class Collecting(Transport):
    """Keeps what it would send."""

    sent: ClassVar[list[Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sent.extend(json.loads(item.get_bytes()) for item in envelope.items)


async def first() -> None:
    sentry_sdk.set_tag("set_by", "first")
    raise RuntimeError("first")


async def second() -> None:
    raise RuntimeError("second")


async def main(way: str) -> None:
    if way == "asyncio":
        enable_asyncio_integration()
    import sentry_tasks  # noqa: PLC0415 - the page's, which inits Sentry

    sentry_sdk.init(dsn="http://key@127.0.0.1/1", transport=Collecting, traces_sample_rate=1.0)
    if way == "asyncio":
        enable_asyncio_integration()
    dependencies: Any = sentry_tasks.worker_dependencies if way == "scope" else taskctx.worker_dependencies
    async with Docket(name="sentry", url="memory://sentry") as docket:
        for function, name in ((first, "ada"), (second, "bob")):
            token = taskctx.AccessToken(token=secret("token"), client_id=name)
            with sentry_sdk.start_transaction(name=f"request of {name}"), taskctx.bind_caller(access_token=token):
                await taskctx.add(docket, function)()
            soon = timedelta(milliseconds=5)
            async with Worker(
                docket, dependencies=dependencies, minimum_check_interval=soon, scheduling_resolution=soon
            ) as worker:
                await worker.run_until_finished()
    sentry_sdk.flush()
    sys.stdout.write(json.dumps(Collecting.sent))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    end_on_memory()
