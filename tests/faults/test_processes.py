"""Processes that die in the middle of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from taskctx import Settings
from tests.faults.case import MANY, PATIENT, Case
from tests.faults.ledger import Whose
from tests.faults.stage import CALLERS, Stage
from tests.processes.support import Process

pytestmark = pytest.mark.faults

TASKS = 500


async def test_workers_killed(case: Case) -> None:
    """Workers killed in mid-task, one after another.

    Docket delivers their tasks again, with the first caller's context.
    """
    workers = [await case.worker() for _ in range(3)]
    load = case.submitter(MANY, seconds=0.2, pause=0.2)
    cut_off: set[int] = set()
    for victim in workers:
        await case.progress(50)
        cut_off |= await case.kill_in_mid_task(victim)
        await case.worker()
    await case.finish(load)
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert all(case.ledger.fates[number].began > 1 for number in cut_off)


async def test_submitters_killed_before_add(case: Case) -> None:
    """Submitters killed between save and add.

    Another submitter of the same key takes the slot over, whatever the request was; a fresh id's snapshot expires.
    """
    case.environment |= PATIENT
    deaths: list[dict[str, Any]] = [
        *({"numbers": [number], "request": request} for number in range(10) for request in (0, 1)),
        *({"numbers": [number], "keyed": False} for number in range(100, 105)),
        *({"first": first, "count": 5, "batch": 5} for first in (200, 205)),
    ]
    await case.doomed(*deaths)
    orphans = await case.ttls()
    assert len(orphans) == 10 + 5 + 2 * 5
    assert all(0 < ttl <= Settings().pending_ttl for ttl in orphans.values())
    assert case.ledger.refresh().accepted == 0
    await case.worker()
    await case.done(
        case.submitter(5),
        case.submitter(5, first=5, callers=4),
        case.submitter(5, first=200, batch=5),
        case.submitter(5, first=205, batch=5, request=1),
    )
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == case.ledger.accepted == 20


async def test_submitters_killed_under_load(case: Case) -> None:
    """Submitters killed at random, their work gone on with.

    What was meant and not accepted is submitted again: Docket may have it already, and then it runs twice, or once.
    """
    case.environment |= PATIENT
    for _ in range(2):
        await case.worker()
    interrupted = 0
    while case.ledger.accepted < TASKS:
        left = [number for number in range(TASKS) if not case.ledger.fates[number].accepted]
        interrupted += await killed_in_mid_load(case, case.submitter(0, numbers=left))
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert interrupted > 0
    assert row.ran == TASKS


async def test_another_request_takes_over(case: Case) -> None:
    """Submitters killed at random, then another request of the same keys.

    Whichever of the requests Docket scheduled, it is its context that the task sees.
    """
    case.environment |= PATIENT
    interrupted = 0
    for request in range(5):
        interrupted += await killed_in_mid_load(case, case.submitter(TASKS, request=request))
    await case.done(case.submitter(TASKS, request=5))
    await case.worker()
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert interrupted > 0
    assert row.ran == TASKS


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="limit (README): a replacement that is cut off after its save has overwritten the context",
)
async def test_submitters_killed_before_replace(case: Case, stage: Stage) -> None:
    """Submitters killed between save and replace.

    What they wanted to replace runs with its own context.
    """
    number = stage.next_number()
    await stage.as_caller(number, 0, stage.add_later)
    await case.doomed({"numbers": [number], "request": 1, "callers": CALLERS, "replace": True})
    await stage.work_off()
    assert case.ledger.refresh().seen(Whose.OWN)
    assert not case.ledger.seen(Whose.ANOTHERS)


async def killed_in_mid_load(case: Case, submitter: Process) -> int:
    """SIGKILL after some more tasks were accepted; gives the number of submissions that were under way."""
    enough = case.ledger.accepted + random.randint(20, 100)
    await case.until(lambda ledger: ledger.accepted >= enough or submitter.ended)
    submitter.kill()
    return sum(not fate.accepted for fate in case.ledger.refresh().fates.values())
