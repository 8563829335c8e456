"""A server that lets its users do little, says "later", or hangs up on those who are quiet."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import ResponseError

from tests.faults.case import PATIENT, Case
from tests.faults.load import BATCHES, BUSY, PERSISTENT, UNKEYED, Load
from tests.faults.valkey import Valkey

pytestmark = pytest.mark.faults

BEYOND_DOCKET = ("-eval", "-scan", "-time", "-ttl")
"""Commands that taskctx uses and Docket does not need."""

ENDLESS = "local n = 0; while true do n = n + 1 end"
SCRIPTS, A_SCRIPT = 5, 0.4
"""How many scripts another client runs, one after another, and the seconds that each takes."""

HANG_UPS = 20


async def test_permissions_of_docket_alone(case: Case, server: Valkey) -> None:
    """A user who may do what Docket needs and no more.

    Nothing is refused: what taskctx sends beyond that, it does without.
    """
    case.environment |= PATIENT
    async with server.client() as redis:
        await redis.execute_command("ACL", "SETUSER", "default", *BEYOND_DOCKET)
    await case.worker(*BUSY)
    load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
    await load.rush()
    await load.goes_on()
    await load.all_run()
    async with server.client() as redis:
        # the verdict looks for keys and how long they live
        await redis.execute_command("ACL", "SETUSER", "default", "+scan", "+ttl")
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}


async def test_busy_with_a_script(case: Case, server: Valkey) -> None:
    """Valkey is busy with another client's script, again and again.

    Submissions and restores are tried again until it is done.
    """
    case.environment |= PATIENT
    async with server.client() as redis:
        await redis.config_set("busy-reply-threshold", "1")
        await case.worker(*BUSY)
        load = await Load.of(case, PERSISTENT, UNKEYED, BATCHES)
        for _ in range(SCRIPTS):
            script = asyncio.ensure_future(redis.eval(ENDLESS, 0))
            await asyncio.sleep(A_SCRIPT)
            async with server.client() as other:
                await other.script_kill()
            with suppress(ResponseError):
                await script
            await load.goes_on()
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}


async def test_idle_connections_closed(case: Case, server: Valkey) -> None:
    """Connections closed that were idle for a second.

    A submitter that is quiet for longer than that finds its connections closed, every time.
    """
    async with server.client() as redis:
        await redis.config_set("timeout", "1")
        before = (await redis.info("stats"))["total_connections_received"]
    case.environment |= PATIENT
    await case.worker(*BUSY)
    quiet = case.submitter(HANG_UPS, function="persistent_work", at_a_time=2, pause=2.5)
    batches = case.submitter(HANG_UPS, function="persistent_work", first=HANG_UPS, batch=2, at_a_time=2, pause=2.5)
    await case.done(quiet, batches)
    async with server.client() as redis:
        assert (await redis.info("stats"))["total_connections_received"] >= before + HANG_UPS
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}
    assert row.ran == 2 * HANG_UPS
