"""In a child: what grows.  Tasks that wait, workers that share them, registries."""

from __future__ import annotations

import time
import tracemalloc
from itertools import cycle, islice
from typing import Any, cast

from docket import Docket

from taskctx._caller.registries import WeakRegistry

from .orders import Chunk, Drain, Drained, Drop, Dropped, Fill, Filled, Looked, Lookups, Phases
from .stage import Lookout, Stage, at_a_time, delete_keys

BATCH = 1_000

FIRST_ALONE = 1_000_000_000
"""Of tasks that were submitted in batches, which have one caller, only the first looks who it is."""


async def run_fill(stage: Stage, order: Fill) -> Filled:
    """Submit in batches, and leave the tasks to whoever comes."""
    task = Lookout(stage.path, 1).task
    async with stage.docket(order.url, order.docket) as docket:
        docket.register(task)
        before = await _memory(docket)
        for start in range(0, order.tasks, BATCH):
            await stage.path.submit_many(docket, task, range(start, min(start + BATCH, order.tasks)))
        return Filled(grown=(await _memory(docket) - before) / order.tasks)


async def _memory(docket: Docket) -> int:
    async with docket.redis() as redis:
        return (await cast("Any", redis).info("memory"))["used_memory"]


async def run_chunk(stage: Stage, order: Chunk) -> Phases:
    """Submit to the end of the queue and run from its head, so that as many wait afterwards as before."""
    lookout = Lookout(stage.path, FIRST_ALONE, enough=order.tasks)
    task = lookout.task
    async with stage.docket(order.url, order.docket) as docket:
        docket.register(task)
        await stage.warm(docket, order.at_a_time)
        callers = [(number, stage.path.caller(number, None)) for number in range(1, order.tasks + 1)]
        submitted = await stage.time(
            lambda: at_a_time(order.at_a_time, lambda each: stage.path.submit(docket, task, each[0], each[1]), callers)
        )
        drained = await stage.drain(docket, order.at_a_time, lookout, empty=False)
    lookout.check()
    return Phases(into=submitted / order.tasks, out=drained / order.tasks, looked=lookout.looked)


async def run_drain(stage: Stage, order: Drain) -> Drained:
    """Take part until the docket is empty."""
    lookout = Lookout(stage.path, FIRST_ALONE)
    async with stage.docket(order.url, order.docket) as docket:
        docket.register(lookout.task)
        async with stage.worker(docket, order.at_a_time) as worker:
            began, cpu = time.monotonic(), time.process_time()
            await worker.run_until_finished()
            lookout.check()
            return Drained(ran=lookout.ran, began=began, ended=lookout.last, cpu=time.process_time() - cpu)


async def run_drop(stage: Stage, order: Drop) -> Dropped:
    """Leave nothing of a docket behind."""
    async with stage.docket(order.url, order.docket) as docket:
        await delete_keys(docket)
    return Dropped()


class _Server:
    """Something that can be held weakly."""


async def run_lookups(_stage: Stage, order: Lookups) -> Looked:
    """Look up every entry in turn; all of them are found."""
    things = [_Server() for _ in range(order.entries)]
    ids = [f"task-{number}" for number in range(order.entries)]
    registry = WeakRegistry("server")
    tracemalloc.start()
    try:
        for task_id, thing in zip(ids, things, strict=True):
            registry.register(task_id, thing)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    began = time.perf_counter_ns()
    for task_id in islice(cycle(ids), order.lookups):
        registry.find(task_id)
    took = time.perf_counter_ns() - began
    if len(registry) != len(things):
        raise RuntimeError("the registry lost entries")
    return Looked(nanoseconds=took / order.lookups, bytes=taken / order.entries)
