"""The TTL of a snapshot follows its task: long enough for the next run, short once there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from types import TracebackType
from typing import Any

import pytest
from docket import (
    ConcurrencyLimit,
    Cron,
    CurrentExecution,
    Docket,
    ExponentialRetry,
    Perpetual,
    RateLimit,
    Retry,
    Worker,
)
from docket.dependencies import AdmissionBlocked, Dependency, current_docket
from docket.execution import Execution
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._transport import commands
from tests.conftest import MakeDocket, make_worker, our_keys
from tests.contracts.shapes import REDELIVERY, SHAPES, Shape, Stage, shape_name
from tests.helpers import ADA, Caller, redis_key, running, shut_down_in_mid_task, state, ttl, wait_until

PENDING, COMPLETED = 86_400, 900
MINUTE, HOUR, DAY, WEEK = 60, 3_600, 86_400, 7 * 86_400

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=shape_name)


def about(expected: float) -> Any:
    """A TTL that was set to ``expected`` not long ago; we round up to a second, and the server rounds to one."""
    return pytest.approx(expected - MINUTE, abs=MINUTE + 2)


async def shorten(docket: Docket, execution: Execution, seconds: int = 100) -> None:
    """As if the task had waited in the queue for a long time."""
    async with docket.redis() as redis:
        await redis.expire(redis_key(docket, execution.key), seconds)


async def work_until(docket: Docket, execution: Execution, *states: str, **options: Any) -> None:
    """Run a worker until Docket has the task in one of these states, and what it began is finished."""

    async def reached() -> bool:
        return await state(docket, execution) in states

    async with make_worker(docket, **options) as worker, running(worker):
        await wait_until(reached)


# -- before the first run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due_in", "outlives", "expected"),
    [
        (None, None, PENDING),
        (timedelta(days=-1), None, PENDING),
        (timedelta(days=30), None, 30 * DAY + PENDING),
        (None, 120, 120),
        (None, timedelta(minutes=5), 300),
        (None, 1.5, 2),
        (timedelta(days=30), 120, 30 * DAY + 120),
    ],
)
async def test_a_submitted_task(
    docket: Docket, due_in: timedelta | None, outlives: float | timedelta | None, expected: int
) -> None:
    """The snapshot outlives the time when the task is due by ``pending_ttl``, or by the ``ttl`` given."""

    async def task() -> None:
        """Never runs here."""

    when = None if due_in is None else datetime.now(UTC) + due_in
    execution = await taskctx.add(docket, task, when=when, ttl=outlives)()

    assert await ttl(docket, execution) == about(expected)


class ClocksGoBack(tzinfo):
    """A zone whose summer ends tomorrow."""

    _end = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)

    def utcoffset(self, at: datetime | None) -> timedelta:
        return timedelta(hours=1) + self.dst(at)

    def dst(self, at: datetime | None) -> timedelta:
        assert at is not None
        return timedelta(hours=at.replace(tzinfo=None) < self._end)

    def tzname(self, at: datetime | None) -> str:
        return "clocks go back"


async def test_a_task_beyond_a_change_of_the_clocks(docket: Docket) -> None:
    """The hour that the clocks are put back by is waited for too."""

    async def task() -> None:
        """Never runs here."""

    when = (datetime.now(UTC) + timedelta(days=2)).astimezone(ClocksGoBack())
    execution = await taskctx.add(docket, task, when=when, ttl=120)()

    assert await ttl(docket, execution) == about(2 * DAY + 120)


async def test_the_settings_say_how_long(docket: Docket, registry: CollectorRegistry) -> None:
    """``pending_ttl`` before the run, ``completed_ttl`` after it."""
    taskctx.configure(registry=registry, pending_ttl=5 * HOUR, completed_ttl=2 * HOUR)

    async def task() -> None:
        """Nothing to do."""

    execution = await taskctx.add(docket, task)()
    assert await ttl(docket, execution) == about(5 * HOUR)

    await work_until(docket, execution, "completed")
    assert await ttl(docket, execution) == about(2 * HOUR)


async def test_a_batch(docket: Docket) -> None:
    """Each task of a batch has the TTL that its own time asks for."""

    async def task() -> None:
        """Never runs here."""

    later = datetime.now(UTC) + timedelta(days=2)
    now, then = await taskctx.add_many(docket, [docket.call(task)(), docket.call(task, when=later)()], ttl=HOUR)

    assert (await ttl(docket, now), await ttl(docket, then)) == (about(HOUR), about(2 * DAY + HOUR))


async def test_a_saved_snapshot(docket: Docket) -> None:
    """The low-level ``save`` gives what it is told."""
    await taskctx.TaskContextSnapshot.capture().save(docket, None, "by-hand", timedelta(minutes=10))

    async with docket.redis() as redis:
        assert await redis.ttl(docket.key("taskctx:task:anon:by-hand:snapshot")) == about(600)


async def test_a_task_put_off_by_a_replacement(docket: Docket) -> None:
    """``replace`` covers the new time."""

    async def task() -> None:
        """Never runs here."""

    await taskctx.add(docket, task, key="1")()
    execution = await taskctx.replace(docket, task, when=datetime.now(UTC) + timedelta(days=9), key="1")()

    assert await ttl(docket, execution) == about(9 * DAY + PENDING)


async def test_a_duplicate_changes_nothing(docket: Docket) -> None:
    """A duplicate ``add`` neither lengthens nor shortens the first submission's TTL."""

    async def task() -> None:
        """Never runs here."""

    when = datetime.now(UTC) + timedelta(days=9)
    execution = await taskctx.add(docket, task, when=when, key="1")()
    await taskctx.add(docket, task, key="1", ttl=60)()

    assert await ttl(docket, execution) == about(9 * DAY + PENDING)


# -- once it is done ----------------------------------------------------------------------------------------------


@each_shape
async def test_every_shape_of_task_once_it_is_done(
    docket: Docket, span_exporter: InMemorySpanExporter, shape: Shape
) -> None:
    """However many runs it took, what is left is ``completed_ttl``."""
    stage = Stage(docket, span_exporter)

    await shape(stage)

    assert len(stage.seen) == SHAPES[shape]
    for execution in stage.executions:
        assert await ttl(docket, execution) == about(COMPLETED)
    assert len(await our_keys(docket)) == len(stage.executions) + (shape_name(shape) == "child")


async def test_a_task_that_fails_for_good(docket: Docket) -> None:
    """A failure without a retry is an end."""

    async def task() -> None:
        raise RuntimeError("for good")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "failed")

    assert await ttl(docket, execution) == about(COMPLETED)


async def test_a_task_whose_retries_are_used_up(docket: Docket) -> None:
    """The last attempt is an end, though its delay would be long."""

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        if retry.attempt == 2:
            retry.after(timedelta(days=3))
        raise RuntimeError("again")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "failed")

    assert await ttl(docket, execution) == about(COMPLETED)


@pytest.mark.parametrize("declared", [None, Retry(attempts=3, delay=timedelta(days=3))])
async def test_a_task_that_was_cancelled_while_it_ran(docket: Docket, worker: Worker, declared: Any) -> None:
    """``docket.cancel`` of a running task is an end, also of one that would have been retried."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def task(declared: Any = declared) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    execution = await taskctx.add(docket, task)()
    async with running(worker):
        await begun.wait()
        await docket.cancel(execution.key)
        await ended.wait()

    assert await state(docket, execution) == "cancelled"
    assert await ttl(docket, execution) == about(COMPLETED)


async def test_an_end_lengthens_nothing(docket: Docket, worker: Worker) -> None:
    """A TTL that is shorter than ``completed_ttl`` stays as the caller wanted it."""

    async def task() -> None:
        """Nothing to do."""

    execution = await taskctx.add(docket, task, ttl=200)()
    await worker.run_until_finished()

    assert await ttl(docket, execution) == about(200)


async def test_a_snapshot_that_lost_its_ttl(docket: Docket, worker: Worker) -> None:
    """At the end of its task, a snapshot without a TTL gets ``completed_ttl``."""

    async def task() -> None:
        """Nothing to do."""

    execution = await taskctx.add(docket, task)()
    key = redis_key(docket, execution.key)
    async with docket.redis() as redis:
        value = await redis.get(key)
        assert value is not None
        await redis.set(key, value)
    await worker.run_until_finished()

    assert await ttl(docket, execution) == about(COMPLETED)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_dead_task_without_results(make_docket: MakeDocket, fails: bool) -> None:
    """A docket that keeps no record of ended tasks (``execution_ttl=0``) shortens all the same."""
    docket = await make_docket(execution_ttl=timedelta(0))

    async def task() -> None:
        if fails:
            raise RuntimeError("for good")

    execution = await taskctx.add(docket, task)()
    async with make_worker(docket) as worker:
        await worker.run_until_finished()

    assert await ttl(docket, execution) == about(COMPLETED)


# -- while there is a run to come ---------------------------------------------------------------------------------


@pytest.mark.parametrize("retry", [Retry(attempts=2, delay=timedelta(days=3)), Retry.forever(timedelta(days=3))])
async def test_a_task_that_will_be_retried(docket: Docket, retry: Retry) -> None:
    """The snapshot covers the retry's delay, and a backlog behind it."""

    async def task(retry: Retry = retry) -> None:
        raise RuntimeError("again")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(3 * DAY + PENDING)


async def test_a_task_that_asks_to_be_retried_later(docket: Docket) -> None:
    """``retry.after()`` in the body counts, whatever the declared delay."""

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        retry.after(timedelta(days=5))

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(5 * DAY + PENDING)


async def test_a_task_that_asks_to_be_retried_at_a_time(docket: Docket) -> None:
    """``retry.at()`` too."""

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        retry.at(datetime.now(UTC) + timedelta(days=5))

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(5 * DAY + PENDING)


async def test_a_task_whose_delay_grows(docket: Docket) -> None:
    """An exponential retry's delay is that of the attempt, not the declared one."""
    growing = ExponentialRetry(attempts=9, minimum_delay=timedelta(milliseconds=5), maximum_delay=timedelta(days=4))

    async def task(execution: Execution = CurrentExecution(), retry: ExponentialRetry = growing) -> None:
        if execution.attempt == 3:
            retry.after(timedelta(days=2))
        raise RuntimeError("again")

    execution = await taskctx.add(docket, task)()

    async def waits_for_its_fourth_attempt() -> bool:
        await execution.sync()
        return await state(docket, execution) == "scheduled" and await ttl(docket, execution) > DAY + PENDING

    async with make_worker(docket) as worker, running(worker):
        await wait_until(waits_for_its_fourth_attempt)

    assert await ttl(docket, execution) == about(2 * DAY + PENDING)


async def test_a_retried_task_with_an_explicit_ttl(docket: Docket) -> None:
    """A short ``ttl`` of the submission does not lose the caller between two attempts."""

    async def task(retry: Retry = Retry(attempts=2, delay=timedelta(days=3))) -> None:
        raise RuntimeError("again")

    execution = await taskctx.add(docket, task, ttl=60)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(3 * DAY + PENDING)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_perpetual_task(docket: Docket, fails: bool) -> None:
    """The snapshot covers the time to the next run, after a success and after a failure."""

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(days=7))) -> None:
        if fails:
            raise RuntimeError("perpetual tasks go on")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(WEEK + PENDING)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_perpetual_task_that_chooses_its_delay(docket: Docket, fails: bool) -> None:
    """``perpetual.after()`` counts, whatever the declared interval."""

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(seconds=1))) -> None:
        perpetual.after(timedelta(days=9))
        if fails:
            raise RuntimeError("perpetual tasks go on")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(9 * DAY + PENDING)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_perpetual_task_that_chooses_its_time(docket: Docket, fails: bool) -> None:
    """``perpetual.at()`` too."""

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(seconds=1))) -> None:
        perpetual.at(datetime.now(UTC) + timedelta(days=9))
        if fails:
            raise RuntimeError("perpetual tasks go on")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    assert await ttl(docket, execution) == about(9 * DAY + PENDING)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cron_task(docket: Docket, fails: bool) -> None:
    """The snapshot covers the time to the next matching time."""
    due = datetime.now(UTC) + timedelta(days=20)

    async def task(cron: Cron = Cron(f"0 0 {due.day} {due.month} *", automatic=False)) -> None:
        if fails:
            raise RuntimeError("cron tasks go on")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    midnight = due.replace(hour=0, minute=0, second=0, microsecond=0)
    assert await ttl(docket, execution) == about((midnight - datetime.now(UTC)).total_seconds() + PENDING)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_weekly_cron_task(docket: Docket, fails: bool) -> None:
    """A snapshot of a weekly task is there next week."""

    async def task(cron: Cron = Cron("@weekly", automatic=False)) -> None:
        if fails:
            raise RuntimeError("cron tasks go on")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "scheduled")

    next_run = Cron("@weekly").initial_when
    assert await ttl(docket, execution) == about((next_run - datetime.now(UTC)).total_seconds() + PENDING)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_perpetual_task_that_stops(docket: Docket, fails: bool) -> None:
    """``perpetual.cancel()`` is an end, whether the last run succeeds or fails."""

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(days=7))) -> None:
        perpetual.cancel()
        if fails:
            raise RuntimeError("and stops")

    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "cancelled", "completed", "failed")

    assert await ttl(docket, execution) == about(COMPLETED)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_perpetual_task_with_retries(docket: Docket, fails: bool) -> None:
    """A failing run is retried first, and perpetuated when its retries are used up."""

    async def task(retry: Retry = Retry(attempts=2), perpetual: Perpetual = Perpetual(every=timedelta(days=7))) -> None:
        if fails or retry.attempt == 1:
            raise RuntimeError("again")

    execution = await taskctx.add(docket, task)()

    async def waits_for_next_week() -> bool:
        return await ttl(docket, execution) > WEEK

    async with make_worker(docket) as worker, running(worker):
        await wait_until(waits_for_next_week)

    assert await state(docket, execution) == "scheduled"
    assert await ttl(docket, execution) == about(WEEK + PENDING)


async def test_a_task_whose_worker_was_shut_down(docket: Docket) -> None:
    """A task that was interrupted is redelivered, so its snapshot is not shortened."""
    begun = asyncio.Event()

    async def task() -> None:
        begun.set()
        await asyncio.Event().wait()

    execution = await taskctx.add(docket, task)()
    async with make_worker(docket) as worker:
        await shut_down_in_mid_task(worker, begun.wait)

    assert await state(docket, execution) == "running"
    assert await ttl(docket, execution) == about(PENDING)


async def test_a_task_whose_worker_drained(docket: Docket) -> None:
    """A worker that is told to stop and finishes its task shortens as ever."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        begun.set()
        await finish.wait()

    execution = await taskctx.add(docket, task)()
    async with make_worker(docket) as worker:
        run = asyncio.create_task(worker.run_forever())
        await begun.wait()
        run.cancel()
        finish.set()
        await asyncio.wait([run])

    assert await state(docket, execution) == "completed"
    assert await ttl(docket, execution) == about(COMPLETED)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_task_that_is_replaced_while_it_runs(docket: Docket, worker: Worker, fails: bool) -> None:
    """The end of the first run does not shorten the snapshot of the run that replaced it."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        begun.set()
        await finish.wait()
        if fails:
            raise RuntimeError("for good")

    when = datetime.now(UTC) + timedelta(days=2)
    with ADA.bound():
        first = await taskctx.add(docket, task, key="1")()
    async with running(worker):
        await begun.wait()
        with Caller("ada", "request-2").bound():
            await taskctx.replace(docket, task, when=when, key="1")()
        finish.set()

    assert await ttl(docket, first) == about(2 * DAY + PENDING)


async def test_a_task_that_is_replaced_while_it_runs_with_a_long_ttl(docket: Docket, worker: Worker) -> None:
    """The end of the replaced run does not shorten the ``ttl`` of the replacement."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        begun.set()
        await finish.wait()

    with ADA.bound():
        first = await taskctx.add(docket, task, key="1")()
    async with running(worker):
        await begun.wait()
        when = datetime.now(UTC) + timedelta(days=2)
        with Caller("ada", "request-2").bound():
            await taskctx.replace(docket, task, when=when, key="1", ttl=timedelta(days=30))()
        finish.set()

    assert await ttl(docket, first) == about(32 * DAY)


@pytest.mark.parametrize("declared", [Retry(attempts=2, delay=timedelta(minutes=1)), Perpetual(timedelta(minutes=1))])
async def test_a_repeated_task_that_is_replaced_while_it_runs(docket: Docket, worker: Worker, declared: Any) -> None:
    """Nor does that of a run which would have been repeated, had it not been replaced."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task(declared: Any = declared) -> None:
        begun.set()
        await finish.wait()
        raise RuntimeError("for good")

    when = datetime.now(UTC) + timedelta(days=2)
    with ADA.bound():
        first = await taskctx.add(docket, task, key="1")()
    async with running(worker):
        await begun.wait()
        with Caller("ada", "request-2").bound():
            await taskctx.replace(docket, task, when=when, key="1")()
        finish.set()

    assert await ttl(docket, first) == about(2 * DAY + PENDING)


async def test_a_task_that_waits_for_admission(docket: Docket, span_exporter: InMemorySpanExporter) -> None:
    """A run that was put off by a rate limit is no end of its task."""

    async def task(limit: RateLimit = RateLimit(1, per=timedelta(days=3))) -> None:
        """The second has to wait for days."""

    first = await taskctx.add(docket, task)()
    await work_until(docket, first, "completed")
    second = await taskctx.add(docket, task)()
    await work_until(docket, second, "scheduled")

    assert await ttl(docket, second) == about(3 * DAY + PENDING)


# -- when another run of the task is ahead of this one ------------------------------------------------------------


class LeavesLate(Dependency[None]):
    """Keeps a worker from leaving a run that was not admitted, so also from taking back what we did, until later."""

    def __init__(self, until: Callable[[], Awaitable[object]]) -> None:
        self._until = until

    async def __aenter__(self) -> None:
        """Comes after ours, and so leaves before it."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, AdmissionBlocked):
            await self._until()


async def test_a_parked_run_that_leaves_after_its_task_has_ended(docket: Docket) -> None:
    """The run that was parked does not lengthen what the end of the task has shortened."""
    holds, parked = asyncio.Event(), asyncio.Event()
    executions: list[Execution] = []

    async def task(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        holds.set()
        await parked.wait()

    async def until_it_ended() -> None:
        parked.set()
        await wait_until(lambda: is_short(docket, executions[1]))

    executions.append(await taskctx.add(docket, task)())
    late = {**taskctx.worker_dependencies, "late": LeavesLate(until_it_ended)}
    async with make_worker(docket, dependencies=late) as worker, running(worker):
        await holds.wait()
        executions.append(await taskctx.add(docket, task)())
        await wait_until(lambda: is_short(docket, executions[1]))

    assert parked.is_set()
    assert await ttl(docket, executions[1]) == about(COMPLETED)


async def test_a_perpetual_run_that_leaves_after_its_task_has_ended(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that found another to come does not lengthen what the end of that one has shortened."""
    looked: list[commands.TaskRecord] = []
    look = commands.life_of

    async def look_and_dawdle(*args: Any) -> tuple[int, commands.TaskRecord]:
        found = await look(*args)
        looked.append(found[1])
        if len(looked) == 1:
            await wait_until(lambda: is_short(docket, execution))
        return found

    async def task(perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=1))) -> None:
        if looked:
            perpetual.cancel()

    monkeypatch.setattr(commands, "life_of", look_and_dawdle)
    execution = await taskctx.add(docket, task)()
    await work_until(docket, execution, "completed", "cancelled")

    assert looked[0].generation > 1
    assert await ttl(docket, execution) == about(COMPLETED)


async def is_short(docket: Docket, execution: Execution) -> bool:
    """Its TTL was shortened as for a task that is done."""
    return await ttl(docket, execution) <= COMPLETED


# -- as a run begins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declared", [Retry(attempts=2), Perpetual(every=timedelta(days=1)), ConcurrencyLimit(max_concurrent=1)]
)
async def test_a_run_of_a_task_that_may_run_again_renews(docket: Docket, worker: Worker, declared: Any) -> None:
    """A snapshot that had little life left when its task's turn came has all of it again while the body runs."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task(declared: Any = declared) -> None:
        begun.set()
        await finish.wait()

    execution = await taskctx.add(docket, task)()
    await shorten(docket, execution)
    async with running(worker):
        await begun.wait()
        while_running = await ttl(docket, execution)
        finish.set()

    assert while_running == about(PENDING)


async def test_a_renewal_shortens_nothing(docket: Docket, worker: Worker) -> None:
    """A snapshot that was given longer than ``pending_ttl`` keeps that while its body runs."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        begun.set()
        await finish.wait()

    execution = await taskctx.add(docket, task, ttl=timedelta(days=30))()
    async with running(worker):
        await begun.wait()
        while_running = await ttl(docket, execution)
        finish.set()

    assert while_running == about(30 * DAY)


async def test_a_redelivered_run_renews(docket: Docket) -> None:
    """What was interrupted once may be again: the snapshot is renewed when the next worker takes over."""
    begun, again, finish = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def task(execution: Execution = CurrentExecution()) -> None:
        (again if execution.redelivered else begun).set()
        await finish.wait()

    execution = await taskctx.add(docket, task)()
    async with make_worker(docket, name="doomed", redelivery_timeout=REDELIVERY) as doomed:
        await shut_down_in_mid_task(doomed, begun.wait)
    await shorten(docket, execution)
    async with make_worker(docket, name="survivor", redelivery_timeout=REDELIVERY) as survivor, running(survivor):
        await again.wait()
        while_running = await ttl(docket, execution)
        finish.set()

    assert while_running == about(PENDING)
    assert await ttl(docket, execution) == about(COMPLETED)


async def test_restoring_by_hand_leaves_the_ttl_alone(docket: Docket) -> None:
    """Only a worker that runs the task knows whether it will run again."""

    async def task() -> None:
        """Never runs here."""

    execution = await taskctx.add(docket, task, ttl=200)()
    token = current_docket.set(docket)
    await taskctx.restore_task_snapshot(execution.key)
    current_docket.reset(token)

    assert await ttl(docket, execution) == about(200)
