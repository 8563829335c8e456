"""Backlogs, clocks that are wrong, and event loops that stand still."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from taskctx import Settings
from taskctx.operations import Operation, Restore, Save
from tests.faults.case import PATIENT, SETTLING, Case, Worker
from tests.faults.orders import BETWEEN_RUNS, RUNS
from tests.faults.stage import Stage
from tests.faults.stall import Stall
from tests.helpers import wait_until
from tests.processes.support import scrape, value

pytestmark = pytest.mark.faults

COMPLETED_TTL = 1
BACKLOG = 3 * COMPLETED_TTL

SKEW = 5 * 60
FAST, SLOW = f"+{SKEW}", f"-{SKEW}"
NO_MINUTES = 60.0
"""Seconds that no task of ours waits, and that are not minutes; a bound of the metric's buckets."""

BOUND = 0.2
STALL = 2 * BOUND
LONG_BOUND = 1.0
"""For a server that no slow machine keeps from answering in time."""

LONG_STALL = 1.5 * LONG_BOUND


async def test_backlog_longer_than_completed_ttl(case: Case) -> None:
    """A backlog several times as long as completed_ttl.

    Of tasks due at once and later, failing ones that wait for their retry, and perpetual ones between their runs.
    """
    assert BETWEEN_RUNS.total_seconds() > COMPLETED_TTL
    case.environment |= PATIENT | {"TASKCTX_COMPLETED_TTL": str(COMPLETED_TTL)}
    await case.done(
        case.submitter(100, keyed=False),
        case.submitter(100, first=100, ahead=2 * BACKLOG),
        case.submitter(50, first=200, function="failing_work", batch=10),
        case.submitter(50, first=250, function="perpetual_work"),
    )
    await asyncio.sleep(BACKLOG)
    assert len(await case.ttls()) == 300
    await case.worker("--redelivery-timeout", "30s")
    await case.until(lambda ledger: all(ledger.fates[number].ended == RUNS for number in range(200, 300)))
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == 300
    await wait_until(lambda: nothing_left(case))


async def test_clocks_minutes_apart(case: Case) -> None:
    """Clocks five minutes apart: submitter ahead, a worker behind.

    Age and TTLs are the server's business, which no other clock has a part in.
    """
    case.environment |= PATIENT
    await case.done(
        case.submitter(100, environment=clock(FAST)),
        case.submitter(100, first=100, batch=10, environment=clock(FAST)),
        case.submitter(20, first=200, function="failing_work", environment=clock(FAST)),
    )
    assert all(run.when > time.time() + SKEW / 2 for run in await runs(case))
    pending_ttl = Settings().pending_ttl
    assert all(pending_ttl - NO_MINUTES < ttl <= pending_ttl for ttl in (await case.ttls()).values())
    exact, slow = await case.worker(), await case.worker(**clock(SLOW))
    await case.done(case.submitter(200, first=300, pause=0.1, environment=clock(FAST)))
    await case.until(lambda ledger: all(ledger.fates[number].ended == RUNS for number in range(200, 220)))
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == 420
    began = {run.worker: datetime.fromisoformat(run.started_at) for run in await runs(case)}
    assert began[exact.name] - began[slow.name] > timedelta(seconds=SKEW / 2)
    for worker in (exact, slow):
        assert 0 < ages(worker, NO_MINUTES) == ages(worker, float("inf"))
    await wait_until(lambda: all_short(case))


async def test_tokens_expire_by_the_workers_clock(case: Case) -> None:
    """Tokens that have expired by one worker's clock and not by another's.

    With on_expired_token=fail a worker refuses what has expired by its own clock, as the MCP SDK does.
    """
    case.environment |= PATIENT | {"TASKCTX_ON_EXPIRED_TOKEN": "fail"}
    fast, exact, slow = [await case.worker(**each) for each in (clock(FAST), {}, clock(SLOW))]
    now = int(time.time())
    await case.done(
        case.submitter(100, function="persistent_work", expires_at=now - SKEW // 2),
        case.submitter(100, first=100, function="persistent_work", expires_at=now + SKEW // 2),
    )
    await case.until(lambda ledger: ledger.ended == ledger.accepted, timeout=SETTLING)
    row = await case.verdict()
    assert row.saves_refused == {}
    assert row.ran == 200
    assert set(row.restores_failed) == {"credential_expired"}
    ran_by, failed = case.ledger.ran_by, case.ledger.failed_restores
    assert failed(fast.process.pid)
    assert failed(exact.process.pid)
    assert not failed(slow.process.pid)
    assert not ran_by[fast.process.pid]
    assert ran_by[exact.process.pid] <= set(range(100, 200))
    assert ran_by[slow.process.pid] >= set(range(100))


async def test_stalled_workers(case: Case) -> None:
    """Tasks that block their worker's event loop.

    For longer than backend_timeout, while other tasks of that worker are being restored.
    """
    case.environment["TASKCTX_BACKEND_TIMEOUT"] = str(BOUND)
    workers = [await case.worker("--redelivery-timeout", "30s") for _ in range(2)]
    await case.done(
        case.submitter(400, function="persistent_work", environment=PATIENT),
        case.submitter(20, first=400, function="stalling_work", at_a_time=2, seconds=STALL, environment=PATIENT),
    )
    await case.until(lambda ledger: ledger.ended == ledger.accepted, timeout=SETTLING)
    row = await case.verdict()
    assert row.saves_refused == {}
    assert set(row.restores_failed) <= {"backend_timeout"}
    assert row.ran == 420
    assert any(max(case.ledger.restores_took[worker.process.pid]) >= STALL for worker in workers)


async def test_stalled_submitter(case: Case) -> None:
    """Something that blocks the submitter's event loop.

    For longer than backend_timeout, again and again; what is refused is submitted again.
    """
    await case.worker()
    order: dict[str, Any] = {"stall": STALL, "pause": 0.1, "environment": {"TASKCTX_BACKEND_TIMEOUT": str(BOUND)}}
    submitters = [case.submitter(200, **order), case.submitter(200, first=200, batch=5, **order)]
    await case.done(*submitters)
    row = await case.verdict()
    assert row.restores_failed == {}
    assert set(row.saves_refused) <= {"backend_timeout"}
    assert row.ran == 400
    assert all(case.ledger.slow_saves[submitter.pid] > 0 for submitter in submitters)


@pytest.mark.parametrize("kind", [Save, Restore], ids=["save", "restore"])
async def test_stalls_are_not_the_servers(case: Case, stage: Stage, kind: type[Operation]) -> None:
    """Stalls during a save or a restore to which the server answers in time.

    Nothing is refused: the answer is there when the loop goes on.  It stands still again before the next round trip
    can end: the first to use a script must load it.
    """
    await stage.as_caller(stage.next_number(), 0, stage.add)
    stage.configure(Stall(kind, LONG_STALL, times=2), backend_timeout=LONG_BOUND)
    await stage.as_caller(stage.next_number(), 0, stage.add)
    await stage.work_off()
    assert case.ledger.refresh().ended == 2


async def nothing_left(case: Case) -> bool:
    return not await case.ttls()


async def all_short(case: Case) -> bool:
    return all(ttl <= Settings().completed_ttl for ttl in (await case.ttls()).values())


class Run(NamedTuple):
    """What Docket has on record of a task: times by the clocks of its submitter and its worker."""

    when: float
    worker: str
    started_at: str


async def runs(case: Case) -> list[Run]:
    async with Redis.from_url(case.url) as redis:
        keys = [key async for key in redis.scan_iter(f"{case.docket_name}:runs:*", count=1000)]
        records: list[list[Any]] = [await redis.hmget(key, Run._fields) for key in keys]  # pyright: ignore[reportGeneralTypeIssues]
    texts = [[(field or b"").decode() for field in record] for record in records]
    return [Run(float(when), worker, started_at) for when, worker, started_at in texts]


def ages(worker: Worker, bound: float) -> float:
    """How many snapshots the worker restored that were not older than this, as its metrics have it."""
    le = "+Inf" if bound == float("inf") else str(bound)
    return value(scrape(worker.port), "taskctx_snapshot_age_seconds_bucket", le=le) or 0


def clock(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is that many seconds wrong."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
