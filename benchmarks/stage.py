"""What the measurements in a child share: a docket, a task that looks who its caller is, a clock, many at a time."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

from docket import Docket, Worker

from .orders import Phase
from .paths import Path, Task

T = TypeVar("T")

POLLING = timedelta(milliseconds=5)
"""How often workers look for work.  Docket's 250 ms would hide what is measured here."""

PATIENCE = 120
"""Seconds that the tasks of one round may take."""

SCANNED = 1_000
"""Keys that are deleted in one round trip."""


@dataclass(slots=True)
class Stage:
    """One child: its path, and how what was recorded is sent off."""

    path: Path
    flush: Callable[[], None]

    @asynccontextmanager
    async def docket(self, url: str, name: str | None = None) -> AsyncGenerator[Docket]:
        """An open docket, of a name of its own unless one is given, whose keys are deleted in the end if it is."""
        url = f"memory://{uuid4()}" if url == "memory://" else url
        async with Docket(name=name or f"bench-{uuid4()}", url=url) as docket, self.path.serving(docket):
            try:
                yield docket
            finally:
                if name is None:
                    await delete_keys(docket)

    async def warm(self, docket: Docket, connections: int) -> None:
        """Open the connections that so many at a time use: that is a matter of the first seconds, not of each task."""

        async def one() -> None:
            async with docket.redis() as redis:
                await redis.get(docket.key("nothing"))

        await asyncio.gather(*(one() for _ in range(connections)))

    def worker(self, docket: Docket, at_a_time: int) -> Worker:
        dependencies: Any = self.path.dependencies
        return Worker(docket, concurrency=at_a_time, minimum_check_interval=POLLING, dependencies=dependencies)

    async def time(self, work: Callable[[], Awaitable[object]]) -> Phase:
        """How long it took.  Sending off what was recorded meanwhile counts as CPU time, not as time waited."""
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await work()
        wall = time.perf_counter() - wall
        self.flush()
        return Phase(wall=wall, cpu=time.process_time() - cpu)

    async def drain(self, docket: Docket, at_a_time: int, lookout: Lookout, *, empty: bool) -> Phase:
        """Have one worker run tasks until there were enough, or until the last of them is over and done with.

        How long the worker takes to stop is not counted: Docket's waits up to 100 ms there, whatever it has done.

        Raises:
            RuntimeError: the tasks did not run in time.
        """
        async with self.worker(docket, at_a_time) as worker:
            running: list[asyncio.Task[None]] = []

            async def run() -> None:
                running.append(asyncio.create_task(worker.run_forever()))
                await lookout.reached.wait()
                if empty:
                    await _over_and_done_with(docket)

            try:
                async with asyncio.timeout(PATIENCE):
                    return await self.time(run)
            except TimeoutError:
                raise RuntimeError(f"{lookout.ran} of {lookout.enough} tasks ran in {PATIENCE} seconds") from None
            finally:
                for each in running:
                    each.cancel()
                    await asyncio.wait([each])


@dataclass(slots=True)
class Lookout:
    """Counts the tasks that ran, and has every so many-th look who its caller is.

    Attributes:
        enough: the number of tasks at which ``reached`` is set.
        last: when a task ran last, by the machine's monotonic clock.
    """

    path: Path
    every: int
    enough: int = 0
    ran: int = 0
    looked: int = 0
    wrong: int = 0
    last: float = 0.0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def task(self) -> Task:
        async def look(number: int) -> None:
            self.ran += 1
            if number % self.every == 0:
                self.looked += 1
                self.wrong += self.path.seen() != self.path.expected(number)
            self.last = time.monotonic()
            if self.ran == self.enough:
                self.reached.set()

        return look

    def check(self) -> None:
        """That those tasks that looked saw the right caller.

        Raises:
            RuntimeError: not so; the figures of this run would say nothing.
        """
        if self.wrong:
            raise RuntimeError(f"{self.wrong} of {self.looked} tasks saw another caller than theirs")


async def at_a_time(number: int, work: Callable[[T], Awaitable[object]], things: Sequence[T]) -> None:
    """Do the work for each of these, so many of them at once, as concurrent requests would."""
    left: Iterable[T] = iter(things)

    async def lane() -> None:
        for thing in left:
            await work(thing)

    await asyncio.gather(*(lane() for _ in range(number)))


async def _over_and_done_with(docket: Docket) -> None:
    """Wait until what follows the last tasks' bodies is done, and the worker has acknowledged their messages."""
    executing = [each for each in asyncio.all_tasks() if each.get_name().startswith(f"{docket.name} - task:")]
    if executing:
        await asyncio.wait(executing)
    async with docket.redis() as redis:
        while await redis.xlen(docket.stream_key):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.001)


async def delete_keys(docket: Docket) -> None:
    async with docket.redis() as redis:
        keys: list[bytes] = await redis.keys(docket.key("*"))
        for start in range(0, len(keys), SCANNED):
            await redis.delete(*keys[start : start + SCANNED])
