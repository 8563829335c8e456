"""What tasks leave behind that end without their body, and workers that die as they tidy up."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from docket.execution import Execution
from redis.asyncio import Redis

import taskctx
from taskctx import Settings
from tests.faults.case import Case
from tests.faults.orders import Job
from tests.faults.stage import Stage
from tests.helpers import redis_key, wait_until
from tests.processes.support import scrape, value

pytestmark = pytest.mark.faults

TASKS = 200
AHEAD = timedelta(seconds=20)

QUICK = {"TASKCTX_SWEEP_INTERVAL": "1", "TASKCTX_BACKEND_TIMEOUT": "1"}
TURN = 2_000
"""Milliseconds for which no other worker sweeps then: as long as an ``add`` may take."""


async def test_workers_killed_as_they_sweep(case: Case, stage: Stage) -> None:
    """Half of the waiting tasks cancelled, workers killed as they sweep.

    What the cancelled ones left behind gets the life of a finished task's; the others run, with their own context.
    """
    case.environment |= QUICK

    async def add_ahead(job: Job) -> list[Execution]:
        when = datetime.now(UTC) + AHEAD
        return [await taskctx.add(stage.docket, stage.work, when=when, key=str(job.number))(job)]

    async def add_and_cancel(job: Job) -> list[Execution]:
        (execution,) = await add_ahead(job)
        await stage.docket.cancel(execution.key)
        left_behind.add(redis_key(stage.docket, execution.key))
        return []

    left_behind: set[str] = set()
    for nth in range(2 * TASKS):
        await stage.as_caller(stage.next_number(), 0, add_and_cancel if nth % 2 else add_ahead)

    async with Redis.from_url(case.url) as redis:

        async def sweeps() -> bool:
            return await redis.pttl(stage.docket.key("taskctx:sweep:turn")) > TURN - 100

        for _ in range(3):
            worker = await case.worker()
            await wait_until(sweeps)
            case.kill(worker)
    worker = await case.worker()

    async def is_tidied() -> bool:
        ttls = await case.ttls()
        return max(ttls[key] for key in left_behind) <= Settings().completed_ttl

    await wait_until(is_tidied)
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == TASKS
    assert value(scrape(worker.port), "taskctx_sweeps_total", outcome="failed") == 0
