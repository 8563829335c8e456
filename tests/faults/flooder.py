"""A submitter that floods as often as it is told to, each time with its orders' next tasks; its callers are live."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from docket import Docket
from docket.execution import Execution

from taskctx._caller.caller import current_caller
from tests.faults import tasks
from tests.faults.orders import Job, Order
from tests.faults.submitter import Submitter, note_saves


class Live:
    """A session or a server, that is gone when its request is done."""


@contextmanager
def live() -> Generator[None]:
    """The caller has a session and a server meanwhile."""
    token = current_caller.set(replace(current_caller.get(), session=Live(), server=Live()))
    try:
        yield
    finally:
        current_caller.reset(token)


class Flooder(Submitter):
    async def _add(self, job: Job) -> list[Execution]:
        with live():
            return await super()._add(job)

    async def _add_many(self, jobs: list[Job]) -> list[Execution]:
        with live():
            return await super()._add_many(jobs)


async def forget_contexts(docket: Docket) -> None:
    """Close idle connections: each keeps the context in which it was opened, and whoever was the caller there."""
    pool = docket._redis._connection_pool  # pyright: ignore[reportPrivateUsage]
    assert pool is not None
    await pool.disconnect()


async def main(order: Order) -> None:
    """Submit what is ordered, and again as much at each SIGUSR2, until SIGINT."""
    again: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, again.put_nowait, True)
    loop.add_signal_handler(signal.SIGINT, again.put_nowait, False)
    async with Docket(name=order.docket, url=order.url) as docket:
        for task in tasks.collection:
            docket.register(task)
        while True:
            await Flooder(order, docket).run()
            await forget_contexts(docket)
            if not await again.get():
                break
            order = order.model_copy(update={"first": order.first + order.count})
    note_saves()


if __name__ == "__main__":
    asyncio.run(main(Order.model_validate_json(sys.argv[1])))
