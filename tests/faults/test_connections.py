"""Connections that are cut, and replies that come late or in pieces."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from taskctx.errors import Reason
from tests.faults.case import PATIENT, Case
from tests.faults.load import BATCHES, BUSY, PERSISTENT, UNKEYED, Load
from tests.faults.proxy import Proxy, Way, new_random
from tests.faults.valkey import Valkey

pytestmark = pytest.mark.faults

AWAY = {Reason.BACKEND_ERROR, Reason.BACKEND_TIMEOUT}
WRITES = {"SET", "SET NX", "EXPIRE", "EVALSHA"}
KILLS, BETWEEN_KILLS = 100, 0.02
ENOUGH = 50
"""Cuts, each way."""


@pytest.fixture
async def proxy(case: Case, server: Valkey) -> AsyncGenerator[Proxy]:
    """Stands between all processes and the server."""
    async with Proxy(server.port, new_random()).running() as proxy:
        case.url = proxy.url
        yield proxy


async def test_connections_killed(case: Case, server: Valkey) -> None:
    """Random connections killed by Valkey."""
    random = new_random()
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    async with server.client() as redis:
        own, killed = await redis.client_id(), 0
        while killed < KILLS:
            others = [each["id"] for each in await redis.client_list() if int(each["id"]) != own]
            if others:  # or all are gone, and about to come back
                await redis.client_kill_filter(_id=random.choice(others))  # type: ignore[arg-type]
                killed += 1
            await asyncio.sleep(BETWEEN_KILLS)
    await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() <= AWAY
    assert row.restores_failed.keys() <= AWAY


async def test_connections_cut(case: Case, proxy: Proxy) -> None:
    """Connections cut in mid-command and mid-reply.

    Writes that were done and whose answer was lost are sent again, and do no harm.
    """
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    proxy.life = 30
    while not proxy.unanswered.keys() >= WRITES or min(proxy.cuts[way] for way in Way) < ENOUGH:
        await case.progress(10)
    proxy.life = 0
    await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() <= AWAY
    assert row.restores_failed.keys() <= AWAY


async def test_replies_in_pieces(case: Case, proxy: Proxy) -> None:
    """Replies byte by byte."""
    case.environment |= PATIENT
    await case.worker()
    load = await Load.of(case, {}, {"keyed": False}, {"batch": 2, "at_a_time": 2})
    proxy.trickles = True
    await case.progress(100)
    proxy.trickles = False
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}
    assert case.ledger.unsure == 0


async def test_replies_that_stop_halfway(case: Case, proxy: Proxy) -> None:
    """Replies that stop halfway, beyond the bound.

    A reply that comes after its time must not be taken for another command's.
    """
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    proxy.stall = 1.5 * float(case.environment["TASKCTX_BACKEND_TIMEOUT"])
    await load.refused(Reason.BACKEND_TIMEOUT)
    await case.until(lambda ledger: ledger.failed_restores()[Reason.BACKEND_TIMEOUT])
    proxy.stall = 0.0
    await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() == row.restores_failed.keys() == {Reason.BACKEND_TIMEOUT}
