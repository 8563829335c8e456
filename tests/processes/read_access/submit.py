"""The submitter process: adds tasks as several callers.  ``doomed`` ones lie and wait for what the test does to them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from docket import Docket
from docket.execution import Execution
from opentelemetry import propagate
from opentelemetry.context import attach, detach

import taskctx
from tests.helpers import wait_until
from tests.processes.read_access import emit, tasks
from tests.processes.read_access.words import CALLERS, DOCKET, FOREIGN_DOCKET, Caller, shown, task_id
from tests.secrets import secret

DAMAGED = (
    "missing",
    "tampered",
    "malformed",
    "wrong-fields",
    "wrong-token",
    "plaintext",
    "schema",
    "mismatch",
    "wrong-type",
)
"""Doomed tasks, by what becomes of their snapshots before a worker gets to them."""

ADA, BOB, *_ = CALLERS


@contextmanager
def calling(caller: Caller, expires_at: int | None = None) -> Generator[None]:
    """Be a caller, in every respect, for the length of a ``with`` block."""
    remote = attach(propagate.extract(caller.headers()))
    carried = tasks.carried.set(caller.carried)
    try:
        with taskctx.bind_caller(
            access_token=caller.token(expires_at),
            headers=caller.headers(),
            request_id=caller.request_id,
            session_id=caller.session_id,
        ):
            yield
    finally:
        tasks.carried.reset(carried)
        detach(remote)


async def doomed(docket: Docket, foreign: Docket) -> None:
    with calling(ADA):
        for name in DAMAGED:
            await taskctx.add(docket, tasks.succeed, key=task_id(name))(shown("argument"))
        await taskctx.add(foreign, tasks.succeed, key=task_id("foreign"))(shown("argument"))
        tasks.number.set(secret("carried"))
        await taskctx.add(docket, tasks.succeed, key=task_id("invalid-carried"))(shown("argument"))
    with calling(BOB, expires_at=1):
        await taskctx.add(docket, tasks.succeed, key=task_id("expired"))(shown("argument"))


async def live(docket: Docket, foreign: Docket) -> None:
    for caller in CALLERS:
        with calling(caller):
            await _submit_all(docket, caller.name)
    # nobody's
    await taskctx.add(docket, tasks.succeed, key=task_id("anonymous"))(shown("argument"))
    await docket.add(tasks.succeed, key=task_id("not-ours"))(shown("argument"))


async def _submit_all(docket: Docket, name: str) -> None:
    soon, later = _in(0.3), _in(3600)
    argument = shown("argument")
    for function in (tasks.succeed, tasks.fail):
        await taskctx.add(docket, function)(argument)
        await taskctx.add(docket, function, when=soon)(argument)
    for function in tasks.WITHOUT_ARGUMENTS:
        await taskctx.add(docket, function.__name__)()
    await taskctx.add(docket, tasks.perpetuate, key=task_id("perpetual"))(3)
    # a batch, a duplicate, a replaced one, two cancelled
    await taskctx.add_many(
        docket, [docket.call(tasks.succeed, None, task_id(f"batch-{n}"))(argument) for n in range(5)]
    )
    await taskctx.add(docket, tasks.succeed, when=later, key=task_id("again"))(argument)
    await taskctx.add(docket, tasks.succeed, when=later, key=task_id("again"))(argument)
    await taskctx.replace(docket, tasks.succeed, when=soon, key=task_id("again"))(argument)
    waiting = await taskctx.add(docket, tasks.succeed, when=later)(argument)
    await docket.cancel(waiting.key)
    hanging = await taskctx.add(docket, tasks.hang, key=task_id(f"hang-{name}"))()
    await wait_until(lambda: _runs(hanging), timeout=60)
    await docket.cancel(hanging.key)
    # those that are not saved
    with suppress(taskctx.SaveError), taskctx.bind_caller(headers={"x-large": secret("too-large") * 10_000}):
        await taskctx.add(docket, tasks.succeed)(argument)
    number = tasks.number.set(object())
    with suppress(taskctx.CaptureError):
        await taskctx.add(docket, tasks.succeed)(argument)
    tasks.number.reset(number)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def _runs(execution: Execution) -> bool:
    await execution.sync()
    return execution.state.value == "running"


async def main(phase: str) -> None:
    emit.set_up("submitter")
    url = os.environ["DOCKET_URL"]
    async with Docket(name=DOCKET, url=url) as docket, Docket(name=FOREIGN_DOCKET, url=url) as foreign:
        for each in (docket, foreign):
            for task in tasks.collection:
                each.register(task)
        await {"doomed": doomed, "live": live}[phase](docket, foreign)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
