"""Cancellation at every await: of a submission, and of a worker's task around its body."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, product
from typing import Any

import pytest

from taskctx import Settings
from taskctx._snapshot.keys import parse_task_key
from tests.conftest import make_worker
from tests.faults.case import Case
from tests.faults.interruption import FirstExecution
from tests.faults.ledger import Whose
from tests.faults.stage import Stage, Submit
from tests.helpers import redis_key, wait_until

pytestmark = pytest.mark.faults

EARLIER, ONCE_MORE = 0, 2
"""Requests for a task: the one that is cancelled is between these."""

LONG = timedelta(seconds=8)
"""A worker that is about to be interrupted leaves alone what others were interrupted in."""


@dataclass(frozen=True)
class Way:
    """A way to submit, perhaps after an earlier submission of the same task."""

    submit: Submit
    earlier: Submit | None = None


def ways_to_add(stage: Stage) -> list[Way]:
    return [
        Way(stage.add),
        Way(stage.add, earlier=stage.add),
        Way(stage.add, earlier=stage.add_and_cancel),
        Way(stage.add_fresh),
        Way(stage.add_batch),
    ]


async def sweep(stage: Stage, way: Way, *, answered: bool, company: int) -> list[int]:
    """Submit again and again, cancelled at one await later each time, until one gets through; gives their numbers."""
    numbers: list[int] = []
    for nth in count(1):
        numbers.append(stage.next_number())
        if way.earlier is not None:
            await stage.as_caller(numbers[-1], EARLIER, way.earlier)
        if not await stage.cancelled(numbers[-1], way.submit, nth, answered=answered, company=company):
            return numbers
    raise AssertionError


async def sweep_all(stage: Stage, ways: list[Way]) -> list[int]:
    """All ways, cancelled before the answer comes and after it, alone and in company."""
    numbers: list[int] = []
    for way, answered, company in product(ways, (False, True), (0, 2)):
        numbers += await sweep(stage, way, answered=answered, company=company)
    return numbers


async def test_submissions_cancelled(case: Case, stage: Stage) -> None:
    """Submissions cancelled at each of their awaits.

    The task is scheduled with its own context or not at all, and the next submission under its key works.
    """
    numbers = await sweep_all(stage, ways_to_add(stage))
    stage.configure(on_save_failure="continue")
    numbers += await sweep_all(stage, ways_to_add(stage))
    scopes = {parts.task_scope for parts in map(parse_task_key, await stage.live()) if parts}
    assert 0 < sum(f"caller-{number}|me" in scopes for number in numbers) < len(numbers)
    await asyncio.gather(*(stage.as_caller(number, ONCE_MORE, stage.add) for number in numbers))
    await stage.work_off()
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran >= len(numbers)


async def test_replacements_cancelled(case: Case, stage: Stage) -> None:
    """Replacements cancelled at each of their awaits.

    The replaced task or the replacement runs, with its own context.
    """
    numbers = await sweep_all(stage, [Way(stage.replace, earlier=stage.add_later)])
    await stage.work_off()
    await asyncio.gather(*(stage.as_caller(number, ONCE_MORE, stage.add) for number in numbers))
    await stage.work_off()
    assert case.ledger.refresh().seen(Whose.ANOTHERS) == 0
    await case.verdict()


async def test_cancelled_submissions_leave_little(case: Case, stage: Stage) -> None:
    """What is left of a cancelled submission.

    It is gone, or has a short life.
    """
    await sweep_all(stage, ways_to_add(stage))
    assert not await orphans(case, stage)


async def test_workers_interrupted(case: Case, stage: Stage) -> None:
    """Workers interrupted at each await of a task.

    As Ctrl-C does it; another worker runs the task with its context, unless it was done.
    """
    for answered in (False, True):
        await sweep_runs(stage, answered=answered)
    interrupted = case.ledger.refresh().accepted
    await stage.work_off()
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == interrupted > 0
    assert await stage.live() == set()


async def test_runs_cancelled(case: Case, stage: Stage) -> None:
    """Running tasks that Docket is told to cancel, at each of their awaits.

    The next submission under the key has its own context.
    """
    numbers = await sweep_runs(stage, by_docket=True)
    await stage.work_off()
    assert await stage.live() == set()
    case.ledger.refresh()
    assert 0 < sum(case.ledger.fates[number].began for number in numbers) < len(numbers)
    await asyncio.gather(*(stage.as_caller(number, ONCE_MORE, stage.add) for number in numbers))
    await stage.work_off()
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert all(case.ledger.fates[number].ended for number in numbers)


async def test_cancelled_runs_leave_little(case: Case, stage: Stage) -> None:
    """What is left of a task that Docket cancelled during or after its restore.

    It is gone, or has a short life.
    """
    numbers = await sweep_runs(stage, by_docket=True)
    await stage.work_off()
    assert stage.restored & {str(number) for number in numbers}
    assert not [key for key in await orphans(case, stage) if key.split(":")[-2] in stage.restored]


async def orphans(case: Case, stage: Stage) -> dict[str, int]:
    """Snapshots that no task has a use for any more, and that will stay for long nevertheless."""
    used = {redis_key(stage.docket, key) for key in await stage.live()}
    return {key: ttl for key, ttl in (await case.ttls()).items() if key not in used and ttl > Settings().completed_ttl}


async def sweep_runs(stage: Stage, *, answered: bool = False, by_docket: bool = False) -> list[int]:
    """Run tasks that are cut off at one await later each time, until one gets through; gives their numbers.

    Args:
        by_docket: with docket.cancel; else as asyncio.run does it on Ctrl-C, all that runs in the process at once.
    """
    numbers: list[int] = []
    # to Docket, a run whose retry is scheduled is not there any more
    for submit in (stage.add,) if by_docket else (stage.add, stage.add_retried):
        for nth in count(1):
            numbers.append(stage.next_number())
            (execution,) = await stage.as_caller(numbers[-1], EARLIER, submit, accepted=not by_docket)
            if not await cut_off(stage, nth, execution.key if by_docket else None, answered=answered):
                break
    return numbers


async def cut_off(stage: Stage, nth: int, key: str | None, *, answered: bool) -> bool:
    """Run a worker whose first task is cut off at its n-th await; False when it does not come that far.

    Another task runs beside it, whose commands travel together with its own.

    Args:
        key: for docket.cancel.
    """
    stage.forget_clock()
    await stage.as_caller(stage.next_number(), EARLIER, stage.add)
    async with make_worker(stage.docket, name=f"doomed-{nth}", redelivery_timeout=LONG) as worker:
        worker_task = asyncio.create_task(worker.run_forever())

        def cancel(task: asyncio.Task[Any]) -> object:
            if key is not None:
                return asyncio.create_task(stage.docket.cancel(key))
            return worker_task.cancel(), task.cancel()

        first = FirstExecution(nth, cancel, answered=answered, hold=key is not None)
        with first.watched():
            await wait_until(lambda: first.done)
        worker_task.cancel()
        await asyncio.wait([worker_task])
    return first.reached
