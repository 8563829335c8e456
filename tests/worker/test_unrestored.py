"""A worker without ``worker_dependencies``: its tasks' bodies that ask for the caller are told of, and see none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from docket import Docket
from docket.dependencies import Depends, Retry
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import RestoreError
from taskctx.logs import TaskContextFilter
from tests.conftest import make_worker
from tests.contracts.outcomes import failure_of, our_lines
from tests.helpers import ADA, BOB, NOBODY, Sight, look

Ask = Callable[[], object]

ASKS: dict[str, Ask] = {
    "token": taskctx.get_access_token,
    "scope": taskctx.get_task_scope,
    "headers": taskctx.get_http_headers,
    "request id": taskctx.get_request_id,
    "session id": taskctx.get_task_session_id,
    "capture": lambda: taskctx.TaskContextSnapshot.capture().access_token_json,
}
each_way_to_ask = pytest.mark.parametrize("ask", ASKS.values(), ids=list(ASKS))


async def run_unrestored(docket: Docket, **options: Any) -> None:
    """Run all there is to do in a worker without ``worker_dependencies``, started where Bob is the caller."""
    with BOB.bound():
        async with make_worker(docket, dependencies=None, **options) as worker:
            await worker.run_until_finished()


async def submit(docket: Docket, task: Callable[[], Awaitable[object]], times: int = 1) -> Any:
    with ADA.bound():
        return [await taskctx.add(docket, task)() for _ in range(times)][-1]


def reads(registry: CollectorRegistry, docket: Docket) -> float | None:
    return registry.get_sample_value("taskctx_unrestored_reads_total", {"docket_name": docket.name})


@each_way_to_ask
async def test_it_warns_and_counts(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, ask: Ask
) -> None:
    """One line for the task's name, one count a run, however often it asks; the caller is anonymous."""
    seen: list[object] = []

    async def report() -> None:
        seen.extend([ask(), ask(), await asyncio.to_thread(ask)])

    await submit(docket, report, times=3)
    await run_unrestored(docket)

    assert not any(seen)
    assert reads(registry, docket) == 3
    [(level, reason, text)] = our_lines(caplog)
    assert (level, reason) == ("WARNING", "not_restored")
    assert "task=report)" in text
    assert "worker_dependencies" in text


@each_way_to_ask
async def test_it_fails_the_task_under_fail(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, ask: Ask
) -> None:
    """``RestoreError(not_restored)``, raised where the body asks."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    attempts: list[int] = []

    async def report(retry: Retry = Retry(attempts=2)) -> None:
        attempts.append(1)
        ask()

    execution = await submit(docket, report)
    await run_unrestored(docket)

    await execution.sync()
    with pytest.raises(RestoreError) as caught:
        await execution.get_result()
    assert caught.value.reason is taskctx.Reason.NOT_RESTORED
    assert (len(attempts), reads(registry, docket)) == (2, 2)
    assert {line[:2] for line in our_lines(caplog)} == {("ERROR", "not_restored")}


async def test_a_dependency_that_asks_is_told_of_too(docket: Docket, registry: CollectorRegistry) -> None:
    """A task's dependency that asks for the caller is reported like its body."""
    taskctx.configure(registry=registry, on_restore_failure="fail")

    async def report(token: object = Depends(taskctx.get_access_token)) -> None: ...

    execution = await submit(docket, report)
    await run_unrestored(docket)

    [error] = (await failure_of(execution)).exceptions
    assert isinstance(error, RestoreError)
    assert reads(registry, docket) == 1


async def test_a_task_submitted_from_it_is_not_anonymous_unseen(docket: Docket, registry: CollectorRegistry) -> None:
    """Under ``fail`` nothing is scheduled; else the child is counted with its parent."""
    ran: list[object] = []

    async def child() -> None:
        ran.append(1)

    async def parent() -> None:
        await taskctx.add(docket, child)()

    await submit(docket, parent)
    await run_unrestored(docket)
    assert (len(ran), reads(registry, docket)) == (1, 1)

    taskctx.configure(registry=registry, on_restore_failure="fail")
    await submit(docket, parent)
    await run_unrestored(docket)
    assert (len(ran), reads(registry, docket)) == (1, 1)


async def test_a_caller_that_the_task_binds_itself_is_its_caller(docket: Docket) -> None:
    """What is bound around the worker adds nothing to it."""
    seen: list[Sight] = []

    async def report() -> None:
        with taskctx.bind_caller(access_token=ADA.token):
            seen.append(look())

    await submit(docket, report)
    await run_unrestored(docket)

    assert seen == [Sight(token=ADA.token, scope=ADA.scope, baggage=BOB.sight.baggage, locale=BOB.sight.locale)]


async def test_a_task_that_asks_for_nothing_is_left_alone(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The ids that a log line has of its task are no question, also under ``fail``."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    lines: list[logging.LogRecord] = []

    async def report() -> None:
        line = logging.makeLogRecord({})
        TaskContextFilter().filter(line)
        lines.append(line)
        assert taskctx.get_task_context() is not None

    await (await submit(docket, report)).sync()
    await run_unrestored(docket)

    [line] = lines
    assert line.__dict__["task_id"] is not None
    assert reads(registry, docket) in (None, 0)
    assert our_lines(caplog) == []


async def test_a_task_that_is_not_ours_is_left_alone(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """It was submitted without a caller, and its worker restores what it is told to."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    seen: list[object] = []

    async def report() -> None:
        seen.append(taskctx.get_access_token())

    await docket.add(report)()
    await run_unrestored(docket)

    assert seen == [BOB.token]
    assert reads(registry, docket) in (None, 0)
    assert our_lines(caplog) == []


@pytest.mark.parametrize("meant", [taskctx.add, Docket.add], ids=["ours", "not ours"])
async def test_a_worker_that_restores_tells_nothing(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, meant: Any
) -> None:
    """Of an anonymous caller's task neither, nor of one without any context."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    seen: list[Sight] = []

    async def report() -> None:
        seen.append(look())
        seen.append(await asyncio.to_thread(look))

    await meant(docket, report)()
    async with make_worker(docket) as worker:
        await worker.run_until_finished()

    assert seen == [NOBODY] * 2
    assert reads(registry, docket) == 0
    assert our_lines(caplog) == []
