"""A server that dies, freezes, loads, turns read-only or takes our permissions away."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import RedisError

from taskctx.errors import Reason
from tests.faults.case import PATIENT, Case
from tests.faults.load import BATCHES, BUSY, ENDLESS, ENOUGH, PERSISTENT, UNKEYED, Load, frozen
from tests.faults.stock import wiped
from tests.faults.valkey import ON_DISK, Valkey
from tests.helpers import wait_until

pytestmark = pytest.mark.faults

AWAY = {Reason.BACKEND_ERROR, Reason.BACKEND_TIMEOUT}
SLOW_TO_LOAD = {"key-load-delay": "150", "loading-process-events-interval-bytes": "1024"}
"""Microseconds for each key; in between, it answers that it is loading."""


@pytest.fixture
def bound(case: Case) -> float:
    """Seconds that a save or a restore may take."""
    return float(case.environment["TASKCTX_BACKEND_TIMEOUT"])


async def test_killed_and_restarted_with_its_data(case: Case, server: Valkey) -> None:
    """Valkey killed and restarted, data kept.

    Tasks come alone and in batches, with keys and without.
    """
    server.kill()
    server.options = ON_DISK
    await server.up()
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    for _ in range(2):
        await load.rush()
        server.kill()
        await load.refused()
        await server.up()
        await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() <= AWAY
    assert row.restores_failed.keys() <= AWAY


async def test_killed_and_restarted_empty(case: Case, server: Valkey) -> None:
    """Valkey killed and restarted empty.

    Tasks that were in a worker end with their own context, and what is submitted afterwards runs.
    """
    await case.worker(*BUSY)
    load = await Load.of(case, {"seconds": 0.2}, {"keyed": False})
    cut_off = await killed_in_mid_task(case, server)
    await load.refused()
    old = accepted(case)
    await server.up()
    await load.goes_on()
    await load.finish()
    gone = await wiped(case)
    row = await case.verdict(gone)
    assert gone
    assert gone <= old
    assert all(case.ledger.fates[number].ended for number in cut_off)
    assert row.saves_refused.keys() <= AWAY
    assert row.restores_failed.keys() <= AWAY | {Reason.MISSING}


async def killed_in_mid_task(case: Case, server: Valkey) -> set[int]:
    """Kill the server while the worker has tasks under way, and others wait for it; gives the numbers of the former."""
    while True:
        await case.until(lambda ledger: any(ledger.under_way.values()))
        with frozen(*case.workers):
            if cut_off := set[int]().union(*case.ledger.refresh().under_way.values()):
                # more than the worker was waiting for, which is on its way to it
                enough = len(case.ledger.unsettled()) + ENOUGH
                await case.until(lambda ledger, enough=enough: len(ledger.unsettled()) >= enough)
                server.kill()
                return cut_off


def accepted(case: Case) -> set[int]:
    return {number for number, fate in case.ledger.refresh().fates.items() if fate.accepted}


async def test_slow_to_load(case: Case, server: Valkey) -> None:
    """Valkey restarted, loads for seconds."""
    server.kill()
    server.options = ON_DISK | SLOW_TO_LOAD | {"enable-debug-command": "yes"}
    await server.up()
    async with server.client() as redis:
        await redis.execute_command("DEBUG", "POPULATE", 20_000)  # type: ignore[no-untyped-call]
        await redis.bgrewriteaof()
        await wait_until(lambda: _persistence(server, lambda info: not info["aof_rewrite_in_progress"]))
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED)
    server.kill()
    start = asyncio.create_task(server.up())
    await wait_until(lambda: _persistence(server, lambda info: info["loading"]))
    await load.refused()
    assert await _persistence(server, lambda info: info["loading"]), "it was up before anything was refused"
    await start
    await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() <= AWAY
    assert row.restores_failed.keys() <= AWAY


async def _persistence(server: Valkey, holds: Callable[[dict[str, Any]], object]) -> bool:
    try:
        async with server.client() as redis:
            return bool(holds(await redis.info("persistence")))
    except RedisError:
        return False


async def test_frozen_beyond_the_bound(case: Case, server: Valkey, bound: float) -> None:
    """Valkey frozen for longer than the bound.

    Saves and restores are refused while it is frozen, not when it answers again.
    """
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    while not case.ledger.failed_restores():
        await load.rush()
        with server.frozen():
            await load.refused(Reason.BACKEND_TIMEOUT)
            await asyncio.sleep(bound / 2)  # every restore that was under way has had its time
            case.ledger.refresh()
        await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() == row.restores_failed.keys() == {Reason.BACKEND_TIMEOUT}


async def test_frozen_within_the_bound(case: Case, server: Valkey) -> None:
    """Valkey frozen for less than the bound."""
    bound = 6.0
    case.environment["TASKCTX_BACKEND_TIMEOUT"] = str(bound)
    await case.worker(*BUSY)
    load = await Load.of(case, {"batch": 10}, {"keyed": False, "at_a_time": 50})
    for _ in range(2):
        with server.frozen():
            await asyncio.sleep(bound / 3)
        await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}
    assert case.ledger.unsure == 0


async def test_read_only_for_a_while(case: Case, server: Valkey) -> None:
    """Valkey demoted to a replica, and back."""
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    async with server.client() as redis:
        for _ in range(2):
            await redis.replicaof("127.0.0.1", 1)  # nobody is there to copy from
            await load.refused(Reason.BACKEND_ERROR)
            await redis.replicaof("NO", "ONE")
            await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() <= {Reason.BACKEND_ERROR, Reason.BACKEND_TIMEOUT}
    assert row.restores_failed.keys() <= {Reason.BACKEND_ERROR}


async def test_permissions_withdrawn(case: Case, server: Valkey) -> None:
    """Permission on our keys withdrawn.

    Docket itself may go on: tasks are refused and not run anonymous, and those with a retry run later.
    """
    case.environment |= PATIENT
    await case.worker(*BUSY)
    load = await Load.of(case, {}, PERSISTENT, UNKEYED, BATCHES)
    async with server.client() as redis:
        async with load.backlog():
            await redis.acl_setuser("default", enabled=True, reset_keys=True, keys=_all_keys_but_ours(case))
            waiting = set(case.ledger.refresh().unsettled())
        await load.refused(Reason.BACKEND_ERROR)
        await case.until(lambda ledger: all(ledger.fates[number].settled for number in waiting))
        await redis.acl_setuser("default", enabled=True, reset_keys=True, keys=["*"])
    await load.goes_on()
    await load.finish()
    await case.until(lambda ledger: all(fate.ended for number, fate in ledger.fates.items() if number >= ENDLESS))
    row = await case.verdict()
    refused = {number for number in waiting if case.ledger.fates[number].refused}
    assert {number // ENDLESS for number in refused} == set(range(len(load.submitters)))
    assert not any(case.ledger.fates[number].ended for number in refused if number < ENDLESS)
    assert row.saves_refused.keys() == row.restores_failed.keys() == {Reason.BACKEND_ERROR}


def _all_keys_but_ours(case: Case) -> list[str]:
    """Patterns of the docket's keys.  There is none for "all but", so each allows another first difference."""
    ours = "taskctx:"
    return [f"{case.docket_name}:{ours[:at]}[^{letter}]*" for at, letter in enumerate(ours)]
