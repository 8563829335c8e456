"""A server that runs out of memory, or is emptied."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count

import pytest
from redis.asyncio import Redis

from taskctx.errors import Reason
from tests.faults.case import PATIENT, Case
from tests.faults.load import BATCHES, BUSY, ENDLESS, PERSISTENT, UNKEYED, Load, frozen
from tests.faults.stock import Stock, half_submitted, wiped
from tests.faults.valkey import Valkey
from tests.helpers import wait_until
from tests.processes.support import Process

pytestmark = pytest.mark.faults

SLACK = 200_000
"""Bytes."""

FLUSHES = 3


@pytest.fixture
async def redis(server: Valkey) -> AsyncGenerator[Redis]:
    async with server.client() as redis:
        yield redis


@pytest.fixture(autouse=True)
def patient(case: Case) -> None:
    case.environment |= PATIENT


async def backlog(case: Case) -> None:
    """Tasks that wait for a worker."""
    loads = [case.submitter(200, first=1000 * index, keyed=bool(index), at_a_time=20) for index in range(2)]
    await case.done(*loads)


async def press(redis: Redis, policy: str, enough: Callable[[], Awaitable[bool]]) -> None:
    """Fill the memory until enough has been evicted; afterwards there is memory again."""
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory-policy", policy)
    await redis.config_set("maxmemory", used + SLACK)
    for number in count():
        await redis.set(f"filler:{number}", bytes(5000))
        if await enough():
            break
    await redis.config_set("maxmemory", 0)


def refused(case: Case) -> set[int]:
    return {number for number, fate in case.ledger.refresh().fates.items() if fate.refused}


async def test_evicted_by_volatile_lru(case: Case, redis: Redis) -> None:
    """Pending snapshots evicted (volatile-lru).

    Docket's records and messages have no TTL: exactly the tasks whose snapshot is gone are refused, the others run.
    """
    await backlog(case)

    async def half_is_gone() -> bool:
        stock = await Stock.of(case)
        return len(stock.saved) < len(stock.recorded) / 2

    await press(redis, "volatile-lru", half_is_gone)
    stock = await Stock.of(case)
    gone = stock.recorded - stock.saved
    assert stock.saved
    await case.worker()
    row = await case.verdict()
    assert row.restores_failed == {Reason.MISSING: len(gone)}
    assert refused(case) == gone
    assert row.ran == len(stock.saved)


async def test_evicted_by_allkeys_lru(case: Case, redis: Redis) -> None:
    """Pending tasks and snapshots evicted (allkeys-lru).

    Docket drops a task of which it has no record any more.
    """
    await backlog(case)
    stream = f"{case.docket_name}:stream"

    async def is_old() -> bool:
        return await redis.object("IDLETIME", stream) >= 2  # type: ignore[no-untyped-call]

    async def half_is_gone() -> bool:
        stock = await Stock.of(case)
        await redis.touch(stream)  # what is evicted is not to be the queue itself
        return len(stock.saved) < 200 and len(stock.recorded) < 400

    await wait_until(is_old)
    await redis.touch(stream)
    await press(redis, "allkeys-lru", half_is_gone)
    stock = await Stock.of(case)
    gone = set(case.ledger.ids()) - stock.recorded
    missing = stock.recorded - stock.saved
    assert stock.recorded & stock.saved
    assert missing
    await case.worker()
    row = await case.verdict(gone)
    assert row.restores_failed == {Reason.MISSING: len(missing)}
    assert refused(case) == missing
    assert row.ran == len(stock.recorded & stock.saved)


async def test_memory_full(case: Case, redis: Redis) -> None:
    """Memory full (noeviction)."""
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    for _ in range(2):
        await redis.config_set("maxmemory", 1)
        await load.refused(Reason.BACKEND_ERROR)
        await redis.config_set("maxmemory", 0)
        await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() == {Reason.BACKEND_ERROR}
    assert row.restores_failed == {}


async def test_flushed_under_load(case: Case, redis: Redis) -> None:
    """FLUSHDB under load, again and again.

    It strikes between claim and restore, and between save and add: both are refused as missing.
    """
    await case.worker(*BUSY)
    load = await Load.of(case, {"at_a_time": 30}, {"at_a_time": 30, "keyed": False}, {"batch": 10})
    between, claimed = set[str](), set[str]()
    for rounds in count(1):
        await load.rush()
        between |= await flush_between_save_and_add(case, redis)
        await load.goes_on()
        claimed = ids(case, refused(case)) - between
        if claimed and rounds >= FLUSHES:
            break
    async with load.backlog():
        await redis.flushdb()  # and with it tasks that no worker had yet
        before = set(case.ledger.refresh().fates)
    await load.goes_on()
    await load.finish()
    gone = await wiped(case)
    row = await case.verdict(gone)
    assert gone
    assert gone | refused(case) <= before
    assert between <= ids(case, refused(case))
    assert row.saves_refused == {}
    assert row.restores_failed.keys() == {Reason.MISSING}


async def flush_between_save_and_add(case: Case, redis: Redis) -> set[str]:
    """FLUSHDB at a time when tasks have been saved and not added; gives their ids."""
    while True:
        with frozen(*(submitter.pid for submitter in case.submitters)):
            if found := await half_submitted(case):
                await redis.flushdb()
                return found
        await more_accepted(case, 1)


def ids(case: Case, numbers: set[int]) -> set[str]:
    return {task_id for number, task_id in case.ledger.refresh().ids().items() if number in numbers}


async def test_flushed_while_contested(case: Case, redis: Redis) -> None:
    """FLUSHDB while two submit the same keys.

    No worker runs meanwhile: what is left in the end shows exactly which tasks are to run and which are missing.
    """
    first, second = (case.submitter(ENDLESS, request=request, at_a_time=20, pause=0.2) for request in range(2))
    await abreast(case, first, second)
    missing = set[int]()
    while not missing:
        await redis.flushdb()
        await more_accepted(case, 60)
        stock = await Stock.of(case)
        missing = stock.recorded - stock.saved
    await asyncio.gather(case.finish(first), case.finish(second))
    stock = await Stock.of(case)
    missing, to_run = stock.recorded - stock.saved, stock.recorded & stock.saved
    fates = case.ledger.refresh().fates
    assert any(fates[number].times_accepted > 1 for number in to_run)
    await case.worker()
    row = await case.verdict(set(fates) - stock.recorded)
    assert row.saves_refused == {}
    assert row.restores_failed == {Reason.MISSING: len(missing)}
    assert refused(case) == missing
    assert row.ran == len(to_run)


async def abreast(case: Case, *submitters: Process) -> None:
    """Stop the one that is ahead until the other has caught up."""
    await case.until(lambda ledger: all(ledger.accepted_in[each.pid] for each in submitters))
    behind, ahead = sorted(submitters, key=lambda each: case.ledger.accepted_in[each.pid])
    with frozen(ahead.pid):
        await case.until(lambda ledger: ledger.accepted_in[behind.pid] >= ledger.accepted_in[ahead.pid])


async def more_accepted(case: Case, tasks: int) -> None:
    target = case.ledger.refresh().accepted_in.total() + tasks
    await case.until(lambda ledger: ledger.accepted_in.total() >= target)
