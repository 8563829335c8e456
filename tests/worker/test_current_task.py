"""The current task, and the id of its session."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from docket import Docket, Worker
from docket.dependencies import current_docket

import taskctx
from taskctx import TaskContextInfo
from tests import secrets
from tests.conftest import make_worker


def test_in_the_foreground_there_is_no_task() -> None:
    """Outside of a task both getters return None, even if a session is bound."""
    with taskctx.bind_caller(session_id="session-1"):
        assert taskctx.get_task_context() is None
        assert taskctx.get_task_session_id() is None


def test_the_task_cannot_be_changed() -> None:
    """It is frozen, and made of its id and its scope."""
    info = TaskContextInfo("monthly", None)
    assert info == TaskContextInfo(task_id="monthly", task_scope=None)
    with pytest.raises(FrozenInstanceError):
        info.task_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize("task_id", ["monthly", "a:b#c|d%e", "é 漢字 🎉", "anon", " "])
@pytest.mark.parametrize("client_id", [None, "anon", "a:b/c#%", "漢字"])
async def test_a_task_knows_itself(docket: Docket, worker: Worker, task_id: str, client_id: str | None) -> None:
    """Id and scope come back as they were, whatever is in them."""
    seen: list[TaskContextInfo | None] = []

    async def report() -> None:
        seen.append(taskctx.get_task_context())

    token = None if client_id is None else secrets.token(client_id, sub=None)
    with taskctx.bind_caller(access_token=token):
        await taskctx.add(docket, report, key=task_id)()
    await worker.run_until_finished()

    assert seen == [TaskContextInfo(task_id, client_id)]


async def test_a_task_that_is_not_ours_is_none(docket: Docket, worker: Worker) -> None:
    """Docket's own keys, made up or given."""
    seen: list[object] = []

    async def report() -> None:
        seen.extend((taskctx.get_task_context(), taskctx.get_task_session_id()))

    with taskctx.bind_caller(session_id="session-1"):
        await docket.add(report)()
        await docket.add(report, key="anon:only:three")()
    await worker.run_until_finished()

    assert seen == [None] * 4


async def test_the_key_alone_tells_the_task(docket: Docket) -> None:
    """``get_task_context`` needs nothing restored; the session id does."""
    seen: list[object] = []

    async def report() -> None:
        seen.extend((taskctx.get_task_context(), taskctx.get_task_session_id()))

    with taskctx.bind_caller(session_id="session-1"):
        await taskctx.add(docket, report, key="monthly")()
    async with make_worker(docket, dependencies=None) as worker:
        await worker.run_until_finished()

    assert seen == [TaskContextInfo("monthly", None), None]


async def test_the_session_is_that_of_the_current_task(docket: Docket, worker: Worker) -> None:
    """None where the submitter had none; never the one bound around the worker or in the task."""
    seen: dict[str, str | None] = {}

    async def report(name: str) -> None:
        with taskctx.bind_caller(session_id="bound in the task"):
            seen[name] = taskctx.get_task_session_id()

    with taskctx.bind_caller(session_id="session-1"):
        await taskctx.add(docket, report)("with")
    await taskctx.add(docket, report)("without")
    with taskctx.bind_caller(session_id="of the worker"):
        await worker.run_until_finished()

    assert seen == {"with": "session-1", "without": None}


async def test_another_tasks_snapshot_is_not_the_current_ones(docket: Docket, worker: Worker) -> None:
    """One restored by hand in a task makes its caller current, but not its session."""
    seen: list[object] = []
    other = taskctx.TaskContextSnapshot(origin_request_id="request-of-other", session_id="session-of-other")
    await other.save(docket, None, "other", 60)

    async def report() -> None:
        await taskctx.restore_task_snapshot(taskctx.build_task_key(None, "other", "task", "report"))
        seen.extend((taskctx.get_request_id(), taskctx.get_task_session_id()))

    with taskctx.bind_caller(session_id="session-1"):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()

    assert seen == ["request-of-other", None]


async def test_a_snapshot_restored_in_the_foreground_has_no_current_task(docket: Docket) -> None:
    """The caller is there; a session of "the current task" is not."""
    snapshot = taskctx.TaskContextSnapshot(origin_request_id="request-1", session_id="session-1")
    await snapshot.save(docket, None, "monthly", 60)
    token = current_docket.set(docket)
    try:
        await taskctx.restore_task_snapshot(taskctx.build_task_key(None, "monthly", "task", "report"))
    finally:
        current_docket.reset(token)
    assert taskctx.get_request_id() == "request-1"
    assert taskctx.get_task_session_id() is None
