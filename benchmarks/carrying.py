"""In a child: saving and restoring by itself, what that is measured against, and what it takes in the server."""

from __future__ import annotations

import os
from typing import Any, cast

from docket import Docket

from .orders import Carry, Floor, Phases, Weigh, Weight
from .paths import TTL, Kept, place
from .stage import Lookout, Stage, at_a_time


async def run_carry(stage: Stage, order: Carry) -> Phases:
    """Save contexts that were captured before, then restore them.

    Raises:
        RuntimeError: one restored was not the one saved.
    """
    path = stage.path
    wrong = 0

    async def restore(each: tuple[int, Kept]) -> None:
        nonlocal wrong
        await path.restore(each[1])
        if each[0] == 0:
            wrong += path.seen() != path.expected(0)

    async with stage.docket(order.url) as docket:
        await stage.warm(docket, order.at_a_time)
        kept = [path.keep(number) for number in range(order.operations)]
        saved = await stage.time(lambda: at_a_time(order.at_a_time, lambda each: path.save(docket, each), kept))
        restored = await stage.time(lambda: at_a_time(order.at_a_time, restore, list(enumerate(kept))))
    if wrong:
        raise RuntimeError("another caller was restored than the one that was saved")
    return Phases(into=saved / order.operations, out=restored / order.operations, looked=1)


async def run_floor(stage: Stage, order: Floor) -> Phases:
    """SET with a TTL, then GET, on one client of Docket's own connections."""
    value = os.urandom(order.size)
    async with stage.docket(order.url) as docket, docket.redis() as redis:
        client = cast("Any", redis)
        await stage.warm(docket, order.at_a_time)
        keys = [place(docket, f"kept-{number}") for number in range(order.operations)]
        written = await stage.time(lambda: at_a_time(order.at_a_time, lambda key: client.set(key, value, ex=TTL), keys))
        read = await stage.time(lambda: at_a_time(order.at_a_time, client.get, keys))
    return Phases(into=written / order.operations, out=read / order.operations)


async def run_weigh(stage: Stage, order: Weigh) -> Weight:
    """What the server keeps for the snapshots of pending tasks."""
    task = Lookout(stage.path, 1).task
    async with stage.docket(order.url) as docket:
        docket.register(task)
        for number in range(order.tasks):
            await stage.path.submit(docket, task, number, stage.path.caller(number, None))
        keys = [stage.path.redis_key(docket, key) for key in await _pending(docket)]
        if len(keys) != order.tasks:
            raise RuntimeError(f"{len(keys)} tasks are pending, not {order.tasks}")
        weights = [await _weight(docket, key) for key in keys]
    return Weight(
        stored=sum(each.stored for each in weights) / len(weights),
        key=sum(each.key for each in weights) / len(weights),
        usage=sum(each.usage for each in weights) / len(weights),
    )


async def _pending(docket: Docket) -> list[str]:
    async with docket.redis() as redis:
        messages: Any = await redis.xrange(docket.stream_key)
    return [fields[b"key"].decode() for _, fields in messages]


async def _weight(docket: Docket, key: str) -> Weight:
    """A key as long as this one, with a value of one byte, says what the server needs for a key as such."""
    async with docket.redis() as redis:
        client = cast("Any", redis)
        other = "p" * len(key)
        await client.set(other, b"x", ex=TTL)
        try:
            overhead = await client.memory_usage(other) - 1
        finally:
            await client.delete(other)
        return Weight(stored=await client.strlen(key), key=overhead, usage=await client.memory_usage(key))
