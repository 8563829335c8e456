"""In a child: one turn of a variant.  Tasks are submitted and then run by one worker; or a part of that, by itself."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle, islice
from typing import Any, TypeVar, cast
from uuid import uuid4

from docket import Docket, Worker
from docket.dependencies import current_docket

import taskctx

from .figures import Sample
from .paths import Task, WithoutContext
from .variants import MEMORY

T = TypeVar("T")

POLLING = timedelta(milliseconds=5)
"""How often the worker looks for work.  Docket's own 250 ms would hide the measured times."""

PATIENCE = 300
"""Seconds that the tasks of one leg may take."""

BATCH = 1_000


@dataclass(slots=True)
class Clock:
    """Microseconds on a CPU, by all threads of the process, microseconds that went by, and answers of the server."""

    cpu: float = 0
    wall: float = 0
    trips: float = 0


def sample(into: Clock, out: Clock, number: int) -> Sample:
    """Of so many tasks that were submitted and run, or contexts that were saved and restored: for each."""
    figures = {name: getattr(into, name) + getattr(out, name) for name in ("cpu", "wall", "trips")}
    return {name: value / number for name, value in {**figures, "submit": into.cpu, "drain": out.cpu}.items()}


@dataclass(slots=True)
class Tally:
    """Tasks that ran, and those that saw their own caller."""

    path: WithoutContext
    enough: int
    ran: int = 0
    right: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def task(self) -> Task:
        async def job(number: int) -> None:
            self.ran += 1
            self.right += self.path.sees(number)
            if self.ran == self.enough:
                self.reached.set()

        return job

    def check(self) -> None:
        """Raise a RuntimeError unless every one saw its own caller: a variant that loses callers would be fast."""
        if self.right != self.ran:
            raise RuntimeError(f"{self.ran - self.right} of {self.ran} saw another caller than their own")


@dataclass(frozen=True, slots=True)
class Leg:
    """A path on a server; ``flush`` exports the spans that were recorded."""

    path: WithoutContext
    url: str
    flush: Callable[[], object] = lambda: None

    async def tasks(self, tasks: int, at_a_time: int, name: str = "", *, cold: bool = False) -> Sample:
        """Submit so many tasks and run them, so many at a time, on a docket of their own.

        With the name of a docket on which others wait, as many run as were submitted, from the head of its queue.

        Raises:
            RuntimeError: a task saw another caller than its own.
            TimeoutError: the tasks did not run in time.
        """
        tally = Tally(self.path, tasks)
        task = tally.task
        async with self.docket(name) as docket:
            docket.register(task)
            await warm(docket, 1 if cold else at_a_time)
            requests = [(number, self.path.request(number)) for number in range(tasks)]
            async with self._timed(docket) as submitted:
                await lanes(at_a_time, lambda each: self.path.submit(docket, task, *each), requests)
            async with self.worker(docket, at_a_time) as worker, asyncio.timeout(PATIENCE):
                async with self._timed(docket) as drained:
                    running = asyncio.create_task(worker.run_forever())
                    await tally.reached.wait()
                    while not name and await self._waiting(docket):  # noqa: ASYNC110 - the server sends no notice
                        await asyncio.sleep(0.001)
                # how long the worker takes to stop is not measured: Docket's waits up to 100 ms, whatever it has done
                running.cancel()
                await asyncio.wait([running])
        tally.check()
        return sample(submitted, drained, tasks)

    async def fill(self, tasks: int, name: str) -> Sample:
        """Submit tasks that wait, in batches of one caller each; answers the bytes that the server keeps for each."""
        task = Tally(self.path, tasks).task
        async with self.docket(name) as docket:
            docket.register(task)
            before = await _info(docket, "memory", "used_memory")
            for start in range(0, tasks, BATCH):
                await self.path.submit_many(docket, task, [start] * min(BATCH, tasks - start))
            return {"bytes": (await _info(docket, "memory", "used_memory") - before) / tasks}

    async def alone(self, operations: int, at_a_time: int) -> Sample:
        """Save contexts that were captured before, then restore them, with no task around it."""
        tally = Tally(self.path, operations)
        task = tally.task

        async def restore(number: int) -> None:
            await self.path.restore(docket, number)
            await task(number)

        async with self.docket() as docket:
            here = current_docket.set(docket)
            await warm(docket, at_a_time)
            captured = [(number, self.path.captured(number)) for number in range(operations)]
            async with self._timed(docket) as saved:
                await lanes(at_a_time, lambda each: self.path.save(docket, *each), captured)
            async with self._timed(docket) as restored:
                await lanes(at_a_time, restore, range(operations))
            current_docket.reset(here)
        tally.check()
        return sample(saved, restored, operations)

    async def look_up(self, entries: int, lookups: int) -> Sample:
        """Register so many live servers and look them up in turn: bytes for each, and nanoseconds of a look-up."""
        servers = {f"task-{number}": _Server() for number in range(entries)}
        tracemalloc.start()
        for task_id, server in servers.items():
            taskctx.register_task_server(task_id, server)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        began = time.perf_counter_ns()
        found = sum(taskctx.get_task_server(task_id) is not None for task_id in islice(cycle(servers), lookups))
        took = time.perf_counter_ns() - began
        if found != lookups:
            raise RuntimeError(f"{lookups - found} of {lookups} look-ups found nothing")
        return {"bytes": taken / entries, "nanoseconds": took / lookups}

    async def freeze(self) -> None:
        """Keep the garbage collector from what was imported: a full collection of it, once in a thousand tasks or two,
        takes 50 ms, and with FastMCP 120, and would be most of what a round differs by from the next.
        """
        gc.collect()
        gc.freeze()

    @asynccontextmanager
    async def docket(self, name: str = "") -> AsyncGenerator[Docket]:
        """An open docket; the server is emptied after one without a name."""
        self.path.install()
        url = f"{MEMORY}{uuid4()}" if self.url == MEMORY else self.url
        async with Docket(name=name or f"bench-{uuid4()}", url=url) as docket, self.path.serving(docket):
            yield docket
            if not name and self.url != MEMORY:
                async with docket.redis() as redis:
                    await cast("Any", redis).flushdb()

    def worker(self, docket: Docket, at_a_time: int) -> Worker:
        around = self.path.dependencies
        return Worker(docket, concurrency=at_a_time, minimum_check_interval=POLLING, dependencies=around)

    @asynccontextmanager
    async def _timed(self, docket: Docket) -> AsyncGenerator[Clock]:
        """What the block takes.  Exporting spans counts as CPU time, not as time that went by."""
        gc.collect()
        clock, trips = Clock(), await self._trips(docket)
        cpu, wall = time.process_time(), time.perf_counter()
        yield clock
        clock.wall = (time.perf_counter() - wall) * 1e6
        self.flush()
        clock.cpu = (time.process_time() - cpu) * 1e6
        clock.trips = await self._trips(docket) - trips

    async def _trips(self, docket: Docket) -> float:
        return 0 if self.url == MEMORY else await _info(docket, "stats", "total_writes_processed")

    @staticmethod
    async def _waiting(docket: Docket) -> int:
        """Tasks that the worker has not acknowledged yet: with what follows their bodies they are not done."""
        async with docket.redis() as redis:
            return await redis.xlen(docket.stream_key)


async def warm(docket: Docket, connections: int) -> None:
    """Open as many connections as are used at a time: that is a matter of a process's first seconds."""

    async def one() -> None:
        async with docket.redis() as redis:
            await redis.get(docket.key("nothing"))

    await asyncio.gather(*(one() for _ in range(connections)))


async def lanes(number: int, work: Callable[[T], Awaitable[object]], things: Iterable[T]) -> None:
    """Do the work for each of these, so many of them at once, as concurrent requests would."""
    left = iter(things)

    async def lane() -> None:
        for thing in left:
            await work(thing)

    await asyncio.gather(*(lane() for _ in range(number)))


async def _info(docket: Docket, section: str, name: str) -> float:
    async with docket.redis() as redis:
        return float((await cast("Any", redis).info(section))[name])


class _Server:
    """An object that can be referenced weakly."""
