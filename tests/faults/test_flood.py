"""As many tasks as two cores can take, what they need meanwhile, and what is left of them afterwards."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from tests.faults.case import Case
from tests.faults.valkey import Valkey
from tests.processes.support import Process

pytestmark = pytest.mark.faults

CALLERS = 1000
BATCHES = {"batch": 100, "at_a_time": 4, "count": 35_000}
ONE_BY_ONE = {"first": 1_000_000, "keyed": False, "at_a_time": 32, "count": 15_000}
"""Orders: for each of the two floods as many."""

HALF = BATCHES["count"] + ONE_BY_ONE["count"]
WORKER = ("--concurrency", "60", "--redelivery-timeout", "60s", "--logging-level", "WARNING")
SETTINGS = {"TASKCTX_COMPLETED_TTL": "5", "TASKCTX_BACKEND_TIMEOUT": "10"}
BOUND = 600.0
"""Seconds that a flood may take where others use the machine too."""

ARENAS = 3_000_000
"""Bytes that a process may need more in the second flood: one byte in use keeps a page of the allocator's, and which
pages those are, and how many tasks are under way at a time, differs."""

BUFFERS = 500_000
"""Bytes that Valkey may have left more after the second: its clients' buffers, and tables that it has yet to shrink."""

AHEAD = 1.5
"""By how much Valkey may need more in the second: how far submitters get ahead of workers differs."""


@dataclass(frozen=True)
class Needs:
    """Bytes.

    Attributes:
        most: that each process needed at a time, by its id.
        left: in each process afterwards, garbage collected.
        valkey_most: that Valkey needed at a time.
        valkey_left: in Valkey when nothing of ours is left, and Docket's records are taken away.
    """

    most: dict[int, int]
    left: dict[int, int]
    valkey_most: int
    valkey_left: int


async def test_flood(case: Case, server: Valkey) -> None:
    """100,000 tasks of 1,000 callers, full speed.

    Two floods of half as much each, in the same processes: the second needs no more memory than the first.
    """
    case.environment |= SETTINGS
    workers = [(await case.worker(*WORKER)).process for _ in range(2)]
    flooders = [case.flooder(callers=CALLERS, **order) for order in (BATCHES, ONE_BY_ONE)]
    processes = [*workers, *flooders]
    first = await flood(case, server, processes, HALF)
    for flooder in flooders:
        os.kill(flooder.pid, signal.SIGUSR2)
    second = await flood(case, server, processes, 2 * HALF)
    for flooder in flooders:
        await case.finish(flooder)
    row = await case.verdict()
    assert row.ran == row.tasks == 2 * HALF
    assert row.saves_refused == row.restores_failed == {}
    for pid in first.left:
        assert second.most[pid] <= first.most[pid] + ARENAS
        assert second.left[pid] <= first.left[pid] + ARENAS
    assert second.valkey_most <= first.valkey_most * AHEAD
    assert second.valkey_left <= first.valkey_left + BUFFERS


async def flood(case: Case, server: Valkey, processes: list[Process], tasks: int) -> Needs:
    """See a flood through until so many tasks have run, and nothing of ours is left of them."""
    async with server.client() as redis, asyncio.timeout(BOUND):
        before = {process.pid: len(case.ledger.gauges[process.pid]) for process in processes}
        valkey_most = 0
        while case.ledger.refresh().ended < tasks:
            valkey_most = max(valkey_most, await used_by(redis))
            await asyncio.sleep(0.5)
        while ttls := (await case.ttls()).values():
            assert -1 not in ttls
            await asyncio.sleep(0.5)
        # a timer keeps its context, and the caller there, until it would have been due, although it was cancelled
        while any(gauge["registered"] for gauge in await gauged(case, processes)):  # noqa: ASYNC110
            await asyncio.sleep(1)
        await forget_records(redis, case)
        gauges = {pid: case.ledger.gauges[pid][seen:] for pid, seen in before.items()}
        return Needs(
            most={pid: max(gauge["peak"] for gauge in of_process) for pid, of_process in gauges.items()},
            left={pid: of_process[-1]["rss"] for pid, of_process in gauges.items()},
            valkey_most=valkey_most,
            valkey_left=await used_by(redis),
        )


async def gauged(case: Case, processes: list[Process]) -> list[dict[str, int]]:
    """Have each process note what it needs and holds on to."""
    before = {process.pid: len(case.ledger.gauges[process.pid]) for process in processes}
    for pid in before:
        os.kill(pid, signal.SIGUSR1)
    await case.until(lambda ledger: all(len(ledger.gauges[pid]) > count for pid, count in before.items()))
    return [case.ledger.gauges[pid][-1] for pid in before]


async def used_by(redis: Redis) -> int:
    return (await redis.info("memory"))["used_memory"]


async def forget_records(redis: Redis, case: Case) -> None:
    """Take away Docket's records of what ran, which it keeps for a quarter of an hour."""
    keys = [key async for key in redis.scan_iter(match=f"{case.docket_name}:runs:*", count=1000)]
    for at in range(0, len(keys), 1000):
        await redis.delete(*keys[at : at + 1000])
