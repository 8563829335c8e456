"""``restore_task_snapshot`` without the rest of ``worker_dependencies``: as a dependency, and awaited by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from docket import Depends, Docket
from docket.dependencies import current_docket
from opentelemetry import baggage
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import restore_task_snapshot
from tests import secrets
from tests.conftest import make_worker
from tests.helpers import ADA, BOB, Sight, look


async def noop() -> None:
    """A task that is never run here."""


async def in_a_task_of_its_own(body: Callable[[], Awaitable[object]]) -> None:
    """What ``body`` sets stays in there."""
    await asyncio.create_task(body())  # type: ignore[arg-type]


async def test_it_restores_as_a_workers_only_dependency(docket: Docket) -> None:
    """``Worker(dependencies=[Depends(restore_task_snapshot)])`` is enough for tasks to see their callers."""
    seen: list[tuple[Sight, taskctx.TaskContextInfo | None]] = []

    async def report() -> None:
        seen.append((look(), taskctx.get_task_context()))

    for caller in (ADA, BOB):
        with caller.bound():
            await taskctx.add(docket, report, key="monthly")()
    await taskctx.add(docket, report, key="nobody's")()
    async with make_worker(docket, concurrency=1, dependencies=[Depends(restore_task_snapshot)]) as worker:
        await worker.run_until_finished()

    def without_locale(sight: Sight) -> Sight:
        return Sight(**{name: getattr(sight, name) for name in Sight.__dataclass_fields__ if name != "locale"})

    assert seen == [
        (without_locale(ADA.sight), taskctx.TaskContextInfo("monthly", ADA.scope)),
        (without_locale(BOB.sight), taskctx.TaskContextInfo("monthly", BOB.scope)),
        (Sight(), taskctx.TaskContextInfo("nobody's", None)),
    ]


async def test_it_fails_the_task_as_a_workers_only_dependency(docket: Docket) -> None:
    """Under ``fail`` a task whose snapshot is missing does not run."""
    taskctx.configure(on_restore_failure="fail", metrics=False)
    ran: list[str] = []

    async def report() -> None:
        ran.append("report")

    execution = await docket.add(report, key="anon:1:task:report")()
    async with make_worker(docket, dependencies=[Depends(restore_task_snapshot)]) as worker:
        await worker.run_until_finished()
    await execution.sync()

    assert ran == []
    assert execution.state.value == "failed"


async def test_alone_it_starts_the_dockets_series_at_0(docket: Docket, registry: CollectorRegistry) -> None:
    """The series exist at 0 before the first failure, which ``increase()`` would miss otherwise."""
    await taskctx.add(docket, noop)()
    taskctx.configure(registry=registry)  # as in a process that only works
    async with make_worker(docket, dependencies=[Depends(restore_task_snapshot)]) as worker:
        await worker.run_until_finished()

    restores = {"docket_name": docket.name}
    assert registry.get_sample_value("taskctx_restores_total", restores | {"outcome": "ok"}) == 1
    assert registry.get_sample_value("taskctx_restores_total", restores | {"outcome": "failed"}) == 0


async def test_awaited_by_hand_it_restores_the_caller_of_the_key(docket: Docket) -> None:
    """Where a docket is current, code outside any worker becomes a task's caller."""
    with ADA.bound():
        execution = await taskctx.add(docket, noop)()
    seen: list[object] = []

    async def by_hand() -> None:
        current_docket.set(docket)
        with BOB.bound():
            await restore_task_snapshot(execution.key)
            seen.extend((taskctx.get_access_token(), taskctx.get_request_id(), baggage.get_baggage("tenant")))

    await in_a_task_of_its_own(by_hand)

    assert seen == [ADA.token, ADA.sight.request_id, ADA.sight.baggage]


async def test_awaited_by_hand_without_a_docket_it_says_what_is_missing() -> None:
    """The error names the ContextVar to set; the caller who stood there is gone all the same."""
    seen: list[object] = []

    async def by_hand() -> None:
        with taskctx.bind_caller(access_token=secrets.token()):
            with pytest.raises(taskctx.TaskContextError, match=r"docket\.dependencies\.current_docket"):
                await restore_task_snapshot("anon:1:task:report")
            seen.append(taskctx.get_access_token())

    await in_a_task_of_its_own(by_hand)

    assert seen == [None]


@pytest.mark.parametrize("key", ["report-17", "auth:only-two", "anon::task:report", "anon:%zz:task:report", ""])
async def test_a_key_that_is_not_ours_needs_no_docket_and_inherits_nothing(key: str) -> None:
    """For a plain Docket task's key, Redis is not asked, and the bound caller is cleared."""
    seen: list[object] = []

    async def by_hand() -> None:
        with taskctx.bind_caller(access_token=secrets.token()):
            await restore_task_snapshot(key)
            seen.append(taskctx.get_access_token())

    await in_a_task_of_its_own(by_hand)

    assert seen == [None]


async def test_awaited_by_hand_it_fails_as_the_settings_have_it(docket: Docket) -> None:
    """A missing snapshot makes the code anonymous under ``continue``, and raises RestoreError under ``fail``."""
    seen: list[object] = []

    async def by_hand() -> None:
        current_docket.set(docket)
        await restore_task_snapshot("anon:never:task:noop")
        seen.append(taskctx.get_access_token())
        taskctx.configure(on_restore_failure="fail", metrics=False)
        with pytest.raises(taskctx.RestoreError) as failure:
            await restore_task_snapshot("anon:never:task:noop")
        seen.append(failure.value.reason)

    await in_a_task_of_its_own(by_hand)

    assert seen == [None, taskctx.Reason.MISSING]


async def test_a_key_that_is_no_string_is_refused() -> None:
    """Called without a key outside of a worker, its default is Docket's marker, not a key."""
    with pytest.raises(taskctx.InvalidType, match="a task key must be a string"):
        await restore_task_snapshot()
