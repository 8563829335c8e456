"""Scope is part of the key: no two callers share a task, and no caller's words can pass for another's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from docket import Docket, Worker
from docket.execution import Disposition, Execution
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._caller.caller import Caller, use_caller
from taskctx._caller.token import Credential
from tests.conftest import our_keys
from tests.helpers import ADA, BOB, redis_key
from tests.secrets import secret

SCOPES = [
    None,
    "anon",
    "auth",
    "_",
    "-",
    ".",
    "..",
    "*",
    "None",
    "null",
    " ",
    "ada",
    "Ada",
    "ada:1",
    "ada#1",
    "ada|1",
    "ada/1",
    "ada%3A1",
    "ada%253A1",
    "ada%7C1",
    "ada:1:task:task",
    "anon:1",
    "1:snapshot",
    "{ada}",
    "ada\n",
    "ada\x00",
    "ädä",
    "a\u0308da\u0308",  # looks the same, and is another
    "任务",
    "🦆",
]
IDS = ["1", "_", "anon", "auth", "a:b", "a#b", "a|b", "a%3Ab", "a/b", "*", "{a}", " ", "ä", "a\u0308", "🦆", "x" * 500]


def token(scope: str | None) -> taskctx.AccessToken | None:
    """A token whose scope is this one: of a client without a subject, unless a bar parts them."""
    if scope is None:
        return None
    client_id, _, subject = scope.partition("|")
    return taskctx.AccessToken(token=secret("token"), client_id=client_id, claims={"sub": subject} if subject else None)


async def submit(docket: Docket, task: Any, scope: str | None, key: str, request_id: str) -> Execution:
    with taskctx.bind_caller(access_token=token(scope), request_id=request_id):
        return await taskctx.add(docket, task, key=key)()


async def test_the_same_id_in_any_two_scopes_is_two_tasks(docket: Docket, worker: Worker) -> None:
    """Each with a key, a snapshot and a context of its own."""
    seen: list[tuple[str | None, str | None]] = []

    async def task() -> None:
        here = taskctx.get_task_context()
        assert here is not None
        assert here.task_id == "1"
        assert taskctx.get_task_scope() == here.task_scope
        seen.append((here.task_scope, taskctx.get_request_id()))

    executions = [await submit(docket, task, scope, "1", f"of {scope!r}") for scope in SCOPES]
    assert {execution.disposition for execution in executions} == {Disposition.SCHEDULED}
    assert len(await our_keys(docket)) == len({execution.key for execution in executions}) == len(SCOPES)
    await worker.run_until_finished()

    assert sorted(seen, key=str) == sorted(((scope, f"of {scope!r}") for scope in SCOPES), key=str)


@pytest.mark.parametrize("scope", [None, "anon", "ada:1"])
async def test_any_two_ids_in_one_scope_are_two_tasks(docket: Docket, worker: Worker, scope: str | None) -> None:
    """Every id comes back to its task unchanged, whatever characters it has."""
    seen: list[tuple[str, str | None]] = []

    async def task() -> None:
        here = taskctx.get_task_context()
        assert here is not None
        seen.append((here.task_id, taskctx.get_request_id()))

    for number, task_id in enumerate(IDS):
        await submit(docket, task, scope, task_id, str(number))
    await worker.run_until_finished()

    assert sorted(seen) == sorted((task_id, str(number)) for number, task_id in enumerate(IDS))


async def test_no_scope_and_id_pass_for_another_pair(docket: Docket) -> None:
    """All scopes with all ids: as many Redis keys as pairs, and anonymous ones apart."""
    pairs = list(itertools.product(SCOPES, IDS))
    keys = {
        (scope, task_id): redis_key(docket, taskctx.build_task_key(scope, task_id, "task", "task"))
        for scope, task_id in pairs
    }

    assert len(set(keys.values())) == len(pairs)
    for (scope, _), key in keys.items():
        assert (":task:anon:" in key) == (scope is None)


async def test_a_subject_is_part_of_the_scope(docket: Docket, worker: Worker) -> None:
    """Two users of one client, and the client itself, are three callers."""
    seen: list[str | None] = []

    async def task() -> None:
        seen.append(taskctx.get_task_scope())

    for claims in ({"sub": "ada"}, {"sub": "bob"}, {"sub": ""}, {}, None):
        given = taskctx.AccessToken(token=secret("token"), client_id="app", claims=claims)
        with taskctx.bind_caller(access_token=given):
            await taskctx.add(docket, task, key="1")()
    await worker.run_until_finished()

    assert sorted(map(str, seen)) == ["app", "app|ada", "app|bob"]


@pytest.mark.parametrize(
    ("stored_for", "read_as"),
    [(ADA.scope, BOB.scope), (ADA.scope, None), (None, ADA.scope), (ADA.scope, "ada"), (ADA.scope, "anon")],
)
async def test_a_snapshot_under_anothers_key(
    docket: Docket, worker: Worker, registry: CollectorRegistry, stored_for: str | None, read_as: str | None
) -> None:
    """A token is only restored in its own scope; an anonymous snapshot has none to give."""
    seen: list[taskctx.AccessToken | None] = []

    async def task() -> None:
        seen.append(taskctx.get_access_token())

    with ADA.bound():
        given = ADA.token if stored_for else None
        with taskctx.bind_caller(access_token=given):
            snapshot = taskctx.TaskContextSnapshot.capture()
    await snapshot.save(docket, read_as, "1", 60)
    await docket.add(task, key=taskctx.build_task_key(read_as, "1", "task", "task"))()
    await worker.run_until_finished()

    assert seen == [None]
    mismatch = {"docket_name": docket.name, "reason": "scope_mismatch"}
    assert registry.get_sample_value("taskctx_restore_failures_total", mismatch) == (1 if stored_for else 0)


@pytest.mark.parametrize("scope", [None, "ada|me"])
async def test_what_is_saved_by_hand_is_found_under_the_key_of_the_parts(
    docket: Docket, worker: Worker, scope: str | None
) -> None:
    """The low-level ``save`` and ``build_task_key`` meet in the worker."""
    seen: list[object] = []

    async def task() -> None:
        seen.extend((taskctx.get_task_context(), taskctx.get_request_id()))

    with ADA.bound(), taskctx.bind_caller(access_token=ADA.token if scope else None):
        snapshot = taskctx.TaskContextSnapshot.capture()
    await snapshot.save(docket, scope, "by:hand", 60)
    await docket.add(task, key=taskctx.build_task_key(scope, "by:hand", "tool", "resize#1"))()
    await worker.run_until_finished()

    assert seen == [taskctx.TaskContextInfo("by:hand", scope), ADA.sight.request_id]


async def test_the_token_is_asked_for_once(docket: Docket, worker: Worker) -> None:
    """An authenticator that answers differently the second time gives no key of one scope with a token of another."""
    asked: list[Credential] = []
    seen: list[str | None] = []

    def authenticator() -> Credential:
        asked.append(Credential.of((ADA, BOB)[len(asked) % 2].token))
        return asked[-1]

    async def task() -> None:
        seen.append(taskctx.get_task_scope())

    with use_caller(Caller(credential_source=authenticator)):
        execution = await taskctx.add(docket, task)()
    assert len(asked) == 1
    await worker.run_until_finished()
    assert seen == [ADA.scope]
    assert ADA.name in execution.key
