"""What the workers run: tasks of many fates."""

from __future__ import annotations

import asyncio
import logging
import os
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NoReturn

from docket import ConcurrencyLimit, CurrentDocket, Docket, Perpetual, Retry

import taskctx
from tests.processes.read_access import emit
from tests.processes.read_access.words import CARRIED, shown
from tests.secrets import secret

IN_WORKER = os.environ.get("ROLE") == "worker"
SOON = timedelta(milliseconds=50)

carried: ContextVar[Any] = ContextVar("carried", default=None)
number: ContextVar[Any] = ContextVar("read_access_number", default=None)
taskctx.carry(carried, name=CARRIED, type=dict[str, list[str]])
taskctx.carry(number, name="read_access_number", type=int | None if IN_WORKER else Any)  # type: ignore[arg-type]

log = logging.getLogger("app")


def look() -> None:
    """Use the caller as an application does."""
    token = taskctx.get_access_token()
    log.debug("%r for %r with %r", taskctx.get_task_context(), token, taskctx.TaskContextSnapshot.capture())


async def succeed(argument: str) -> str:
    look()
    return shown("result")


async def fail(argument: str) -> NoReturn:
    look()
    raise RuntimeError(shown("complaint"))


async def fail_to_capture(docket: Docket = CurrentDocket()) -> None:
    """A CaptureError: a carried value without a JSON form."""
    number.set({secret("carried"): object()})
    await taskctx.add(docket, succeed)("")


async def fail_to_save(docket: Docket = CurrentDocket()) -> None:
    """A SaveError: the context is too large."""
    with taskctx.bind_caller(headers={"x-large": secret("too-large") * 10_000}):
        await taskctx.add(docket, succeed)("")


async def fail_to_bind() -> None:
    """An InvalidType: a credential in the wrong place."""
    with taskctx.bind_caller(access_token={"token": secret("token"), "client_id": [secret("token")]}):
        """Never gets here."""


async def fail_to_read() -> None:
    """A SnapshotError: a stored form with a credential and a fault in it."""
    taskctx.TaskContextSnapshot.from_json(f'{{"session_id": ["{secret("session")}"]}}')


async def fail_to_name(docket: Docket = CurrentDocket()) -> None:
    """An InvalidArgument."""
    await taskctx.add(docket, succeed, key="")("")


async def retry(retry: Retry = Retry(attempts=3, delay=SOON)) -> None:
    look()
    raise RuntimeError(shown("complaint"))


async def perpetuate(count: int, perpetual: Perpetual = Perpetual(every=SOON)) -> None:
    look()
    perpetual.perpetuate(count - 1)
    if not count:
        perpetual.cancel()


async def queue_up(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
    look()
    await asyncio.sleep(0.05)


async def submit_another(docket: Docket = CurrentDocket()) -> None:
    look()
    await taskctx.add(docket, succeed)(shown("argument"))


async def hang() -> None:
    """Ends by being cancelled."""
    look()
    await asyncio.Event().wait()


WITHOUT_ARGUMENTS = [
    fail_to_capture,
    fail_to_save,
    fail_to_bind,
    fail_to_read,
    fail_to_name,
    retry,
    queue_up,
    submit_another,
]
collection = [succeed, fail, perpetuate, hang, *WITHOUT_ARGUMENTS]

if IN_WORKER:
    emit.set_up("worker")
