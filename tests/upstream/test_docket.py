"""What taskctx relies on in Docket and in its Redis clients, beyond what they document.

Each docstring says what breaks in taskctx when that moves.  A failure here after an upgrade points at the place to
change before anything fails in production.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import TracebackType
from typing import Annotated, Any, cast
from uuid import uuid4

import pytest
from docket import ConcurrencyLimit, Cooldown, CurrentExecution, Depends, Docket, Execution, Perpetual, Retry, Worker
from docket.dependencies import (
    AdmissionBlocked,
    CompletionHandler,
    Cron,
    Dependency,
    FailureHandler,
    RateLimit,
    Shared,
    SharedContext,
    TaskKey,
    current_docket,
    current_execution,
    current_worker,
    get_annotation_dependencies,
    get_dependency_parameters,
)
from docket.execution import Disposition, TaskCall
from docket.instrumentation import MessageSetter, message_setter
from opentelemetry import baggage, context, propagate
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import NoBackoff
from uncalled_for import current_frame

import taskctx
from taskctx._submit import docket_messages
from tests.conftest import BACKEND, make_worker
from tests.helpers import running, wait_until

Record = dict[str, str | None]

NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)


async def record_of(docket: Docket, key: str) -> Record:
    """The fields of Docket's record of a task key that taskctx reads."""
    async with docket.redis() as redis:
        found = await redis.hgetall(docket.runs_key(key))
    names = ("state", "known", "when", "generation")
    return {name: found[name.encode()].decode() if name.encode() in found else None for name in names}


class Probe(Dependency[None]):
    """A worker-level dependency that calls back around a task's body."""

    def __init__(
        self,
        entered: Callable[[], Any] = lambda: None,
        left: Callable[[BaseException | None], Any] = lambda error: None,
    ) -> None:
        self._entered, self._left = entered, left

    async def __aenter__(self) -> None:
        await _maybe(self._entered())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await _maybe(self._left(error))


class HeldBack(Dependency[None]):
    """Admission control that puts the first ``tries`` tries off, as a rate limit does, whatever the time."""

    def __init__(self, tries: int) -> None:
        self._left = tries

    async def __aenter__(self) -> None:
        if self._left:
            self._left -= 1
            raise AdmissionBlocked(current_execution.get())


async def _maybe(result: Any) -> None:
    if result is not None and hasattr(result, "__await__"):
        await result


async def run(docket: Docket, probe: Dependency[Any]) -> None:
    """Work off the docket with ``probe`` as the worker's dependency."""
    async with make_worker(docket, dependencies={"probe": probe}) as worker:
        await worker.run_until_finished()


async def task() -> None:
    """A task that does nothing."""


# Docket's record of a task key: _transport.commands


async def test_the_record_of_a_task_scheduled_ahead(docket: Docket) -> None:
    """Else a submitter cannot tell a live task from none, and a duplicate takes over the first caller's context."""
    execution = await docket.add(task, when=NEXT_YEAR)()

    record = await record_of(docket, execution.key)

    assert record["state"] == "scheduled"
    assert record["known"] is not None
    assert float(record["when"] or 0) == pytest.approx(NEXT_YEAR.timestamp())
    assert record["generation"] == "1"


async def test_the_record_of_a_task_that_waits_for_a_worker(docket: Docket) -> None:
    """Else a submitter cannot tell a live task from none, and a duplicate takes over the first caller's context."""
    before = time.time()
    execution = await docket.add(task)()

    record = await record_of(docket, execution.key)

    assert record["state"] == "queued"
    assert record["known"] is not None
    assert before - 1 <= float(record["when"] or 0) <= time.time() + 1
    assert record["generation"] == "1"


async def test_the_record_of_a_running_task(docket: Docket) -> None:
    """Else the end of a task could not be told from its redelivery, and the snapshot would go too early."""
    seen: list[Record] = []

    async def body() -> None:
        seen.append(await record_of(docket, "it"))

    await docket.add(body, key="it")()
    await run(docket, Probe())

    assert [(record["state"], record["known"], record["generation"]) for record in seen] == [("running", None, "1")]


async def test_the_record_of_a_completed_task(docket: Docket) -> None:
    """Else a finished task's slot counts as taken, and a caller who uses its key again runs with the old context."""
    execution = await docket.add(task)()
    await run(docket, Probe())

    record = await record_of(docket, execution.key)

    assert (record["state"], record["known"], record["generation"]) == ("completed", None, "1")


async def test_the_record_of_a_failed_task(docket: Docket) -> None:
    """Else a failed task's slot counts as taken, and a caller who uses its key again runs with the old context."""

    async def fails() -> None:
        raise RuntimeError("no luck")

    execution = await docket.add(fails)()
    await run(docket, Probe())

    record = await record_of(docket, execution.key)

    assert (record["state"], record["known"], record["generation"]) == ("failed", None, "1")


async def test_the_record_of_a_cancelled_task(docket: Docket) -> None:
    """Else a cancelled task's slot counts as taken, and a caller who uses its key again runs with the old context."""
    execution = await docket.add(task, when=NEXT_YEAR)()
    await docket.cancel(execution.key)

    record = await record_of(docket, execution.key)

    assert (record["state"], record["known"]) == ("cancelled", None)


async def test_there_is_no_record_of_a_key_that_was_never_used(docket: Docket) -> None:
    """Else a submitter takes a free slot for a live task, and saves nothing."""
    assert await record_of(docket, "never") == {"state": None, "known": None, "when": None, "generation": None}


async def test_there_is_no_record_of_a_finished_task_where_docket_keeps_none(
    make_docket: Callable[..., Any],
) -> None:
    """Else, with ``execution_ttl=0``, a finished task's snapshot would be renewed instead of shortened."""
    docket: Docket = await make_docket(execution_ttl=timedelta(0))
    execution = await docket.add(task)()
    await run(docket, Probe())

    assert (await record_of(docket, execution.key))["state"] is None


async def test_a_replacement_and_a_retry_have_later_generations(docket: Docket) -> None:
    """Else the end of a replaced run shortens the life of the context that its replacement still needs."""
    generations: list[int] = []

    async def fails_once(
        execution: Execution = CurrentExecution(), retry: Retry = Retry(attempts=2, delay=timedelta(0))
    ) -> None:
        generations.append(execution.generation)
        if retry.attempt == 1:
            raise RuntimeError("once")

    await docket.add(fails_once, when=NEXT_YEAR, key="it")()
    await docket.replace(fails_once, when=datetime.now(UTC), key="it")()
    assert (await record_of(docket, "it"))["generation"] == "2"

    await run(docket, Probe())

    assert generations == [2, 3]


# What Docket answers: _submit


async def test_a_duplicate_is_refused_while_the_task_is_scheduled_or_queued(docket: Docket) -> None:
    """Else ``Reservation.conclude`` does not know that the first submission's snapshot has to stay in force."""
    ahead = [await docket.add(task, when=NEXT_YEAR, key="ahead")() for _ in range(2)]
    queued = [await docket.add(task, key="queued")() for _ in range(2)]

    expected = [Disposition.SCHEDULED, Disposition.ALREADY_SCHEDULED]
    assert [execution.disposition for execution in ahead] == expected
    assert [execution.disposition for execution in queued] == expected


async def test_a_duplicate_is_refused_while_the_task_is_running(docket: Docket) -> None:
    """Else ``Run.live`` is wrong about running tasks, and a task that retries meets a later caller's context."""
    answers: list[Disposition] = []

    async def body() -> None:
        answers.append((await docket.add(body, key="it")()).disposition)

    await docket.add(body, key="it")()
    await run(docket, Probe())

    assert answers == [Disposition.ALREADY_SCHEDULED]


async def test_the_key_of_a_task_that_ended_can_be_used_again(docket: Docket) -> None:
    """Else ``Run.live`` is wrong about tasks that ended, and their keys' next callers get no context."""

    async def fails() -> None:
        raise RuntimeError("no luck")

    await docket.add(task, key="completed")()
    await docket.add(fails, key="failed")()
    await docket.add(task, when=NEXT_YEAR, key="cancelled")()
    await docket.cancel("cancelled")
    await run(docket, Probe())

    again = [await docket.add(task, key=key)() for key in ("completed", "failed", "cancelled")]

    assert {execution.disposition for execution in again} == {Disposition.SCHEDULED}


async def test_a_struck_task_is_answered_as_struck(docket: Docket) -> None:
    """Else a snapshot stays behind, until its TTL, for a task that Docket refused by an operator's strike."""
    await docket.strike("task")

    assert (await docket.add(task)()).disposition is Disposition.STRUCK


async def test_a_batch_answers_for_each_task(docket: Docket) -> None:
    """Else ``add_many`` cannot put back the snapshots that duplicates in a batch must leave in force."""
    first, second, other = await docket.add_many([docket.call(task, key=key)() for key in ("one", "one", "two")])

    expected = [Disposition.SCHEDULED, Disposition.ALREADY_SCHEDULED, Disposition.SCHEDULED]
    assert [execution.disposition for execution in (first, second, other)] == expected


async def test_a_call_tells_its_key_its_function_and_when_it_is_due(docket: Docket) -> None:
    """Else ``add_many`` cannot give the calls of a batch the keys that hold their caller's scope."""
    docket.register(task)
    by_function = docket.call(task, when=NEXT_YEAR, key="it")()
    by_name = docket.call("task", key="it")()

    assert isinstance(by_function, TaskCall)
    assert (by_function.key, by_function.function, by_function.when) == ("it", task, NEXT_YEAR)
    assert (by_function.function_name or by_function.function.__name__) == "task"
    assert (by_name.function_name or by_name.function.__name__) == "task"


async def park(docket: Docket, free: asyncio.Event) -> Callable[..., Any]:
    """A task that runs one at a time: the first waits until it is ``free``."""

    async def one_at_a_time(name: str, limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        if name == "first":
            await free.wait()

    docket.register(one_at_a_time)
    await docket.add(one_at_a_time)("first")
    return one_at_a_time


async def test_a_task_parked_at_a_limit_gives_way_to_another_of_its_key(docket: Docket) -> None:
    """Else ``Run.live`` must say otherwise: a parked task is scheduled but not known, and is no reason to refuse."""
    free = asyncio.Event()
    one_at_a_time = await park(docket, free)
    async with make_worker(docket) as worker, running(worker):
        await wait_until(lambda: state_is(docket, "running"))
        await docket.add(one_at_a_time, key="it")("parked")
        await wait_until(lambda: has_waiter(docket, "it"))
        record = await record_of(docket, "it")
        again = await docket.add(one_at_a_time, key="it")("again")
        free.set()

    assert (record["state"], record["known"]) == ("scheduled", None)
    assert again.disposition is Disposition.SCHEDULED


async def has_waiter(docket: Docket, key: str) -> bool:
    async with docket.redis() as redis:
        return await redis.hget(docket.runs_key(key), "waiter_entry_id") is not None


async def state_is(docket: Docket, state: str) -> bool:
    """Whether a task of the docket is in this state."""
    async with docket.redis() as redis:
        keys = await redis.keys(docket.runs_key("*"))
        return state.encode() in [await redis.hget(key, "state") for key in keys]


async def test_a_task_added_over_one_parked_at_a_limit_has_its_own_context(backend_url: str) -> None:
    """What follows: the later submission's snapshot must be there before Docket schedules it."""
    free, ran = asyncio.Event(), asyncio.Event()
    seen: list[str | None] = []

    class AnswersLate(Docket):
        """Its answer for the second customer travels until that customer's task has run."""

        def add(self, *args: Any, **kwargs: Any) -> Any:
            schedule = super().add(*args, **kwargs)

            async def answer_late(customer: int) -> Execution:
                execution = await schedule(customer)
                if customer == 2:
                    await ran.wait()
                return execution

            return answer_late

    async def one_at_a_time(customer: Annotated[int, ConcurrencyLimit(1)]) -> None:
        if customer == 1:
            await free.wait()
        else:
            seen.append(taskctx.get_request_id())
            ran.set()

    async with AnswersLate(name=f"test-{uuid4()}", url=backend_url) as docket:
        docket.register(one_at_a_time)
        await taskctx.add(docket, one_at_a_time)(1)
        async with make_worker(docket, dependencies=taskctx.worker_dependencies) as worker, running(worker):
            await wait_until(lambda: state_is(docket, "running"))
            with taskctx.bind_caller(request_id="request-1"):
                execution = await taskctx.add(docket, one_at_a_time, key="it")(1)
            await wait_until(lambda: has_waiter(docket, execution.key))
            with taskctx.bind_caller(request_id="request-2"):
                await taskctx.add(docket, one_at_a_time, key="it")(2)
            free.set()

    assert seen == ["request-2"]


# What Docket's messages hold: _submit.docket_messages


def test_docket_injects_the_submitters_baggage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it does not, ``keep_baggage_out`` can go."""
    monkeypatch.setattr(MessageSetter, "set", docket_messages._set)
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    message: dict[bytes, bytes] = {}
    try:
        propagate.inject(message, setter=message_setter)
    finally:
        context.detach(token)
    assert message[b"baggage"] == b"tenant=acme"


# Worker-level dependencies: _worker.dependency


async def test_a_task_that_is_cancelled_before_it_runs_enters_no_dependency(docket: Docket) -> None:
    """If it did, its snapshot could be shortened there, and workers need not sweep for what such tasks leave behind."""
    entered: list[str] = []

    class Entered(Dependency[None]):
        async def __aenter__(self) -> None:
            entered.append(current_execution.get().function_name)

        async def __aexit__(self, *_: object) -> None: ...

    async def cancelled() -> None: ...

    async def struck() -> None: ...

    async def other() -> None: ...

    execution = await docket.add(cancelled)()
    await docket.add(struck)()
    await docket.cancel(execution.key)
    await docket.strike("struck")
    await docket.add(other)()
    async with make_worker(docket, dependencies={"entered": Entered()}) as worker:
        await worker.run_until_finished()
    assert entered == ["other"]


async def test_a_record_says_when_a_worker_claimed_the_task(docket: Docket) -> None:
    """If not, ``taskctx.cancel`` cannot tell whether the snapshot of a task that waited just now is being restored."""
    begun, done = asyncio.Event(), asyncio.Event()

    async def started_at(execution: Execution) -> bytes | None:
        async with docket.redis() as redis:
            found: Any = redis.hget(docket.runs_key(execution.key), "started_at")
            return await found

    async def long() -> None:
        begun.set()
        await done.wait()

    waiting = await docket.add(long, when=NEXT_YEAR)()
    await docket.cancel(waiting.key)
    assert await started_at(waiting) is None

    claimed = await docket.add(long)()
    assert await started_at(claimed) is None
    async with make_worker(docket, dependencies={}) as worker, running(worker):
        await begun.wait()
        before = await started_at(claimed)
        await docket.cancel(claimed.key)
        assert await started_at(claimed) == before != None  # noqa: E711 - it is there
        # a worker that has not subscribed to cancellations yet does not hear of this one
        done.set()


async def test_a_starting_worker_calls_the_lifecycle_of_its_dependencies(docket: Docket) -> None:
    """Else the series of a docket and its tasks are born at 1, and ``increase()`` misses the first failure; and workers
    do not sweep, or go on when they have ended.
    """
    events: list[object] = []

    class WithLifecycle(Probe):
        @classmethod
        @asynccontextmanager
        async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncGenerator[None]:
            events.append((docket.name, worker.name, "task" in docket.tasks))
            yield
            events.append("ended")

    await docket.add(task)()
    async with make_worker(
        docket, name="me", dependencies={"probe": WithLifecycle(lambda: events.append("task"))}
    ) as w:
        await w.run_until_finished()

    assert events == [(docket.name, "me", True), "task", "ended"]


async def test_what_a_worker_level_dependency_sets_reaches_the_body(docket: Docket) -> None:
    """Else no restored caller would ever reach a task: the whole library stands on this."""
    var: ContextVar[str] = ContextVar("var", default="nothing")
    seen: list[str] = []

    async def body() -> None:
        seen.append(var.get())

    await docket.add(body)()
    await run(docket, Probe(lambda: var.set("restored")))

    assert (seen, var.get()) == (["restored"], "nothing")


async def test_what_a_worker_level_function_sets_reaches_the_body(docket: Docket) -> None:
    """Else ``Depends(restore_task_snapshot)`` restores the caller where the body cannot see it."""
    var: ContextVar[str] = ContextVar("var", default="nothing")
    seen: list[str] = []

    async def restore(key: str = TaskKey()) -> None:
        var.set(f"restored for {key}")

    async def body() -> None:
        seen.append(var.get())

    await docket.add(body, key="it")()
    await run(docket, Depends(restore))  # pyright: ignore[reportArgumentType]

    assert seen == ["restored for it"]


async def test_worker_level_dependencies_come_before_the_tasks_own(docket: Docket) -> None:
    """Else a task's own dependencies would run before the caller is restored."""
    order: list[str] = []

    async def own() -> None:
        order.append("task's own")

    async def body(_: None = Depends(own)) -> None:
        order.append("body")

    await docket.add(body)()
    await run(docket, Probe(lambda: order.append("worker's")))

    assert order == ["worker's", "task's own", "body"]


async def test_a_worker_level_dependency_sees_the_bodys_exception(docket: Docket) -> None:
    """Else a task that will be retried counts as done, and its snapshot is gone before the retry."""
    seen: list[BaseException | None] = []

    async def fails() -> None:
        raise RuntimeError("no luck")

    await docket.add(task)()
    await docket.add(fails)()
    await run(docket, Probe(left=seen.append))

    assert sorted(str(error) for error in seen) == ["None", "no luck"]


async def test_a_worker_level_dependency_sees_that_the_task_was_cancelled(docket: Docket) -> None:
    """Else ``RerunHandlers.ending`` takes a cancelled task for one that completed."""
    seen: list[BaseException | None] = []
    record: list[Record] = []

    async def waits() -> None:
        await docket.cancel("it")
        await asyncio.Event().wait()

    async def left(error: BaseException | None) -> None:
        seen.append(error)
        record.append(await record_of(docket, "it"))

    await docket.add(waits, key="it")()
    await run(docket, Probe(left=left))

    assert [type(error) for error in seen] == [asyncio.CancelledError]
    assert record[0]["state"] == "cancelled"


async def test_a_worker_level_dependency_that_fails_fails_the_task(docket: Docket) -> None:
    """Else ``on_restore_failure="fail"`` would run the task all the same, anonymous."""
    ran: list[str] = []

    async def body() -> None:
        ran.append("body")

    def refuse() -> None:
        raise ValueError("no context")

    execution = await docket.add(body)()
    await run(docket, Probe(refuse))
    await execution.sync()

    assert ran == []
    assert (await record_of(docket, execution.key))["state"] == "failed"
    assert "probe" in (execution.error or "")


async def test_a_worker_tells_its_dependencies_which_task_it_runs(docket: Docket) -> None:
    """Else a restore knows neither the docket to ask nor the task to ask for, or reports the wrong attempt."""
    seen: list[object] = []

    def entered() -> None:
        execution = current_execution.get()
        seen.extend((current_docket.get() is docket, current_worker.get().docket is docket))
        seen.extend((execution.key, execution.function_name, execution.attempt, execution.generation))
        seen.extend((execution.redelivered, execution.docket is docket))

    await docket.add(task, key="it")()
    await run(docket, Probe(entered))

    assert seen == [True, True, "it", "task", 1, 1, False, True]


async def test_the_current_docket_and_execution_reach_the_body(docket: Docket) -> None:
    """Else ``get_task_context`` and ``TaskContextSnapshot.capture`` in a task know neither task nor docket."""
    seen: list[object] = []

    async def body() -> None:
        seen.extend((current_docket.get() is docket, current_execution.get().key))

    await docket.add(body, key="it")()
    await run(docket, Probe())

    assert seen == [True, "it"]


# When Docket records an end: _worker.afterwards, _snapshot.lifetime


async def test_the_end_of_a_task_is_recorded_before_its_dependencies_are_left(docket: Docket) -> None:
    """Else ``_settle`` takes a finished task for a running one, and its snapshot lives on for a day."""
    seen: list[Record] = []

    async def left(_: BaseException | None) -> None:
        seen.append(await record_of(docket, "it"))

    await docket.add(task, key="it")()
    await run(docket, Probe(left=left))

    assert [record["state"] for record in seen] == ["completed"]


async def test_a_perpetual_task_is_rescheduled_before_its_dependencies_are_left(docket: Docket) -> None:
    """Else ``_settle`` shortens the snapshot that the next run needs."""
    seen: list[tuple[Record, float]] = []

    async def perpetual(again: Perpetual = Perpetual(every=timedelta(hours=1))) -> None: ...

    done = asyncio.Event()

    async def left(_: BaseException | None) -> None:
        seen.append((await record_of(docket, "it"), time.time()))
        done.set()

    await docket.add(perpetual, key="it")()
    async with make_worker(docket, dependencies={"probe": Probe(left=left)}) as worker:
        running = asyncio.create_task(worker.run_forever())
        await done.wait()
        running.cancel()
        await asyncio.wait([running])

    (record, now), *_ = seen
    assert (record["state"], record["known"] is not None, record["generation"]) == ("scheduled", True, "2")
    assert float(record["when"] or 0) - now == pytest.approx(3600, abs=5)


async def test_a_perpetual_task_that_stops_itself_is_recorded_before_its_dependencies_are_left(docket: Docket) -> None:
    """Else the last run's snapshot would be kept for a run that never comes."""
    seen: list[Record] = []

    async def stops(perpetual: Perpetual = Perpetual()) -> None:
        perpetual.cancel()

    async def left(_: BaseException | None) -> None:
        seen.append(await record_of(docket, "it"))

    await docket.add(stops, key="it")()
    await run(docket, Probe(left=left))

    assert [(record["state"], record["known"]) for record in seen] == [("completed", None)]


async def test_a_retry_is_scheduled_after_its_dependencies_are_left(docket: Docket) -> None:
    """Else ``Ending.settled`` is wrong about failures: the retry would have to be looked up, not foreseen."""
    seen: list[tuple[str | None, str | None]] = []

    async def fails(retry: Retry = Retry(attempts=2, delay=timedelta(milliseconds=10))) -> None:
        raise RuntimeError("no luck")

    async def left(_: BaseException | None) -> None:
        record = await record_of(docket, "it")
        seen.append((record["state"], record["generation"]))

    await docket.add(fails, key="it")()
    await run(docket, Probe(left=left))

    assert seen == [("running", "1"), ("running", "2")]
    assert (await record_of(docket, "it"))["state"] == "failed"


async def test_admission_control_reschedules_after_the_dependencies_are_left(docket: Docket) -> None:
    """Else the delay of a rate-limited task would be counted twice, or its snapshot shortened."""
    seen: list[tuple[type[BaseException] | None, str | None]] = []

    async def limited(limit: None = HeldBack(1)) -> None: ...  # type: ignore[assignment]

    async def left(error: BaseException | None) -> None:
        seen.append((error and type(error), (await record_of(docket, "it"))["state"]))

    await docket.add(limited, key="it")()
    await run(docket, Probe(left=left))

    assert seen == [(AdmissionBlocked, "running"), (None, "completed")]


# What may make a task run again: _worker.afterwards


async def test_admission_control_says_what_becomes_of_the_task(docket: Docket) -> None:
    """Else the snapshot of a task that waits at a limit is shortened, or one that was dropped is kept for a day."""
    blocked: dict[str, tuple[bool, bool, timedelta | None]] = {}
    free = asyncio.Event()

    async def one_at_a_time(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        await free.wait()

    async def dropped(cooldown: Cooldown = Cooldown(timedelta(minutes=1))) -> None: ...

    async def delayed(rate: RateLimit = RateLimit(1, per=timedelta(minutes=1))) -> None: ...

    def left(error: BaseException | None) -> None:
        if isinstance(error, AdmissionBlocked):
            blocked[current_execution.get().function_name] = (error.handled, error.reschedule, error.retry_delay)
            if error.handled:
                free.set()

    for _ in range(2):
        await docket.add(one_at_a_time)()
        await docket.add(dropped)()
        await docket.add(delayed)()
    async with make_worker(docket, dependencies={"probe": Probe(left=left)}) as worker, running(worker):
        await wait_until(lambda: len(blocked) == 3)

    assert blocked["one_at_a_time"] == (True, True, None)
    assert blocked["dropped"] == (False, False, None)
    handled, reschedule, delay = blocked["delayed"]
    assert (handled, reschedule) == (False, True)
    # each try brings its own reading of the clock, so a delay may be some milliseconds over the limit's minute
    assert timedelta(0) < (delay or timedelta(0)) < timedelta(minutes=2)


def test_the_handlers_of_a_task_are_found_on_its_signature() -> None:
    """Else taskctx does not see that a task retries or perpetuates itself, and lets its snapshot go."""

    async def retries(retry: Retry = Retry(attempts=3)) -> None: ...

    async def cron(when: Cron = Cron("@daily")) -> None: ...

    async def annotated(customer: Annotated[int, ConcurrencyLimit(1)]) -> None: ...

    (retry,) = get_dependency_parameters(retries).values()
    (daily,) = get_dependency_parameters(cron).values()
    assert isinstance(retry, FailureHandler)
    assert isinstance(daily, CompletionHandler)
    assert list(get_dependency_parameters(retries)) == ["retry"]
    assert {name: len(found) for name, found in get_annotation_dependencies(annotated).items()} == {"customer": 1}
    assert isinstance(get_annotation_dependencies(annotated)["customer"][0], ConcurrencyLimit)


def test_a_retry_tells_how_often_and_how_long() -> None:
    """Else the TTL of a snapshot does not cover the delay before the next attempt."""
    retry = Retry(attempts=3, delay=timedelta(minutes=5))

    assert (retry.attempts, retry.delay) == (3, timedelta(minutes=5))
    assert Retry.forever().attempts is None


async def test_a_task_runs_again_as_long_as_its_attempt_is_below_the_retrys_attempts(docket: Docket) -> None:
    """Else the last attempt's snapshot is kept for a day, or the one before is shortened."""
    attempts: list[int] = []

    async def fails(retry: Retry = Retry(attempts=3)) -> None:
        attempts.append(current_execution.get().attempt)
        raise RuntimeError("no luck")

    await docket.add(fails)()
    await run(docket, Probe())

    assert attempts == [1, 2, 3]


async def test_the_frame_holds_what_the_body_was_given(docket: Docket) -> None:
    """Else a delay that the body chose with ``retry.after`` is not seen, and the snapshot expires before the retry."""
    delays: list[tuple[timedelta, timedelta]] = []
    declared = Retry(attempts=2, delay=timedelta(0))

    async def asks_for_a_later_retry(retry: Retry = declared) -> None:
        if retry.attempt == 1:
            retry.after(timedelta(milliseconds=20))

    frames: dict[int, Any] = {}

    def entered() -> None:
        frames[current_execution.get().attempt] = current_frame()

    def left(_: BaseException | None) -> None:
        given = frames[current_execution.get().attempt].resolved["retry"]
        delays.append((given.delay, declared.delay))

    await docket.add(asks_for_a_later_retry)()
    await run(docket, Probe(entered, left))

    assert delays == [(timedelta(milliseconds=20), timedelta(0)), (timedelta(0), timedelta(0))]


def test_a_perpetual_keeps_when_its_body_asked_to_run_next() -> None:
    """Else the snapshot of a task that failed, but had asked to run again late, expires before that run."""
    untouched, at, after = Perpetual(every=timedelta(minutes=1)), Perpetual(), Perpetual()
    at.at(NEXT_YEAR)
    before = datetime.now(UTC)
    after.after(timedelta(hours=1))

    assert (untouched._next_when, untouched.every, untouched.cancelled) == (None, timedelta(minutes=1), False)
    assert at._next_when == NEXT_YEAR
    assert before <= (after._next_when or before) - timedelta(hours=1) <= datetime.now(UTC)


def test_a_cron_tells_its_next_time_once() -> None:
    """Else ``_next_run`` takes runs off the handler, or the snapshot does not reach until the next run."""
    cron = Cron("0 0 * * *", tz=UTC)
    again = Cron(cron.expression, tz=cron.tz)
    now = datetime.now(UTC)

    first, second = again.initial_when, again.initial_when

    assert timedelta(0) < first - now <= timedelta(days=1)
    assert second - first == timedelta(days=1)
    assert isinstance(cron, Perpetual)
    assert cron._next_when is None


# Redis, Valkey and burner-redis: _transport


def pipeline_of(redis: Any) -> Any:
    """With the arguments that each client takes."""
    try:
        return redis.pipeline(transaction=False)
    except TypeError:
        return redis.pipeline()


async def test_a_pipeline_answers_in_bytes_and_in_order(docket: Docket) -> None:
    """Else ``commands.fetch`` and ``look`` read one command's answer for another's."""
    key, record = docket.key("value"), docket.key("record")
    async with docket.redis() as redis:
        await redis.hset(record, "state", "queued")
        pipeline = pipeline_of(redis)
        pipeline.set(key, b"one", ex=100)
        pipeline.get(key)
        pipeline.ttl(key)
        pipeline.expire(key, 50)
        pipeline.ttl(key)
        pipeline.hget(record, "state")
        pipeline.hget(record, "never")
        was_set, value, ttl, renewed, left, state, absent = await pipeline.execute()
        await redis.delete(key, record)

    assert was_set
    assert renewed
    assert (value, state, absent) == (b"one", b"queued", None)
    assert 99 <= ttl <= 100
    assert 49 <= left <= 50


@pytest.mark.skipif(BACKEND != "memory", reason="burner-redis serves memory:// alone")
async def test_burner_redis_looks_when_it_is_called_and_sets_when_it_is_awaited(docket: Docket) -> None:
    """Once it does both when it is awaited, ``OneByOne`` may call the commands of an operation together."""
    key = docket.key("value")
    async with docket.redis() as redis:
        setting = redis.set(key, b"one", ex=100)
        getting = redis.get(key)
        await setting
        assert await getting is None
        await redis.delete(key)


async def test_a_key_that_is_not_there_has_no_value_and_cannot_be_renewed(docket: Docket) -> None:
    """Else a missing snapshot would not be told from an empty one, or renewing one would create it."""
    async with docket.redis() as redis:
        pipeline = pipeline_of(redis)
        pipeline.get(docket.key("never"))
        pipeline.expire(docket.key("never"), 10)
        pipeline.get(docket.key("never"))
        value, renewed, after = await pipeline.execute()

    assert (value, bool(renewed), after) == (None, False, None)


async def test_set_nx_in_a_pipeline_leaves_what_is_there(docket: Docket) -> None:
    """Else ``put_new`` overwrites the snapshot of a live task with that of a duplicate."""
    key = docket.key("value")
    async with docket.redis() as redis:
        pipeline = pipeline_of(redis)
        pipeline.set(key, b"one", ex=100, nx=True)
        pipeline.get(key)
        pipeline.set(key, b"two", ex=5, nx=True)
        pipeline.get(key)
        pipeline.ttl(key)
        first, one, second, still_one, ttl = await pipeline.execute()
        await redis.delete(key)

    assert (bool(first), bool(second)) == (True, False)
    assert (one, still_one) == (b"one", b"one")
    assert ttl > 5


async def test_a_script_can_get_set_with_a_ttl_and_delete(docket: Docket) -> None:
    """Else compare-and-set fails or leaves a key without a TTL, and no snapshot is put back after a failure."""
    key = docket.key("value")
    script = """
    local before = redis.call('GET', KEYS[1])
    if ARGV[1] == '' then
        redis.call('DEL', KEYS[1])
    else
        redis.call('SET', KEYS[1], ARGV[1], 'EX', tonumber(ARGV[2]))
    end
    if before then return 1 end
    return 0
    """
    value = bytes(range(256))  # sealed snapshots are any bytes
    async with docket.redis() as redis:
        client = cast("Any", redis)
        assert await client.eval(script, 1, key, value, "100") == 0
        assert await redis.get(key) == value
        assert 99 <= await redis.ttl(key) <= 100
        assert await client.eval(script, 1, key, b"", "1") == 1
        assert await redis.get(key) is None


async def test_the_server_tells_its_time(docket: Docket) -> None:
    """Else a snapshot's age depends on two hosts' clocks agreeing."""
    async with docket.redis() as redis:
        ask = getattr(redis, "time", None)
        answer = None if ask is None else await ask()

    if BACKEND == "memory":
        assert answer is None, "burner-redis has learned TIME: _measure_offset may lose its special case"
    else:
        seconds, microseconds = cast("tuple[int, int]", answer)
        assert abs(seconds + microseconds / 1_000_000 - time.time()) < 60


async def test_the_docket_prefixes_its_keys(docket: Docket) -> None:
    """Else two dockets on one server could have the same keys, or a key could leave its docket's hash slot or ACL prefix."""
    assert docket.key("taskctx:x") == f"{docket.name}:taskctx:x"
    assert docket.runs_key("it") == docket.key("runs:it")


async def test_a_docket_says_whether_it_is_open() -> None:
    """Else a submission to one that is not open blames the server."""
    docket = Docket(name="shut", url="memory://")
    before = docket._redis.is_connected
    async with docket:
        meanwhile = docket._redis.is_connected

    assert (before, meanwhile, docket._redis.is_connected) == (False, True, False)


async def test_a_redis_call_is_tried_again_for_the_errors_that_are_named() -> None:
    """Else a failover of a few seconds costs every task of those seconds its context."""
    tries: list[int] = []
    between: list[Exception] = []

    async def once() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise redis_errors.ConnectionError
        return "answer"

    async def fail(error: Exception) -> None:
        between.append(error)

    retry = RedisRetry(NoBackoff(), 4, supported_errors=(redis_errors.ConnectionError,))

    assert await retry.call_with_retry(once, fail) == "answer"
    assert (len(tries), len(between)) == (3, 2)


def test_errors_of_a_server_that_is_starting_or_failing_over_are_told_apart() -> None:
    """Else ``_transport.answers`` no longer names what is worth another try."""
    assert issubclass(redis_errors.BusyLoadingError, redis_errors.ConnectionError)
    assert issubclass(redis_errors.ReadOnlyError, redis_errors.RedisError)
    assert issubclass(redis_errors.TryAgainError, redis_errors.RedisError)
    assert issubclass(redis_errors.ClusterDownError, redis_errors.RedisError)
    assert issubclass(redis_errors.TimeoutError, redis_errors.RedisError)


async def test_what_is_shared_is_made_inside_the_first_task_between_a_lock_and_on_a_stack(docket: Docket) -> None:
    """Else ``_worker.shared`` clears no caller, and ``Shared`` dependencies are built as the first task's caller."""
    made_in: list[str] = []
    order: list[str] = []

    class Lock:
        async def __aenter__(self) -> None:
            order.append("locked")

        async def __aexit__(self, *_: object) -> None:
            order.append("unlocked")

    class Stack(AsyncExitStack):
        async def enter_async_context(self, cm: Any) -> Any:
            order.append(type(cm).__name__)
            return await super().enter_async_context(cm)

    class Watch(Dependency[None]):
        @classmethod
        def worker_lifecycle(cls, docket: Docket, worker: Worker) -> None:
            SharedContext.lock.set(cast("asyncio.Lock", Lock()))
            SharedContext.stack.set(Stack())

        async def __aenter__(self) -> None: ...

    def needed() -> str:
        order.append("parameter")
        return "needed"

    async def client(parameter: str = Depends(needed)) -> None:
        order.append("made")
        made_in.append(current_execution.get().key)

    async def report(shared: None = Shared(client)) -> None: ...

    for key in ("first", "second"):
        await docket.add(report, key=key)()
    async with make_worker(docket, dependencies={"watch": Watch()}, concurrency=1) as worker:
        await worker.run_until_finished()

    assert made_in == ["first"]
    assert order == ["_Depends", "parameter", "locked", "made", "unlocked"]


def test_what_a_depends_made_is_kept_for_a_task_in_a_context_variable() -> None:
    """Else ``_worker.shared`` lets what was made for one task be used for what all of them share."""
    dependency: Any = Depends(time.time)
    assert isinstance(dependency.cache, ContextVar)


async def test_a_task_that_docket_schedules_again_has_the_next_generation_and_the_time_that_docket_gave_it(
    docket: Docket,
) -> None:
    """Else ``_worker.held_back`` reads a snapshot again for each try of a rate limit, or takes one that is not in force."""
    tries: list[tuple[int, datetime]] = []
    executions: list[Execution] = []

    class Watch(Dependency[None]):
        async def __aenter__(self) -> None:
            executions.append(current_execution.get())
            tries.append((executions[-1].generation, executions[-1].when))

    async def task(watch: None = Watch(), limit: None = HeldBack(2)) -> None: ...  # type: ignore[assignment]

    await docket.add(task)()
    async with make_worker(docket, concurrency=1) as worker:
        await worker.run_until_finished()

    assert len(tries) == 3
    for before, after in pairwise(range(3)):
        assert tries[after] == (tries[before][0] + 1, executions[before].when)
