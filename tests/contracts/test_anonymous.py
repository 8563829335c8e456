"""A task that is submitted without a caller is counted, and warned of or refused where that is not meant."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import pytest
from docket import Docket, Perpetual, Worker
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.asgi import TaskContextMiddleware
from taskctx.errors import Reason
from taskctx.settings import Settings
from taskctx.settings.keyring import generate_key
from tests.conftest import our_keys
from tests.helpers import ADA, NOBODY, Sight, look
from tests.secrets import secret

Policy = Literal["allow", "warn", "refuse"]
Submit = Callable[[Docket, Any], Awaitable[object]]

POLICIES: tuple[Policy, ...] = get_args(Policy)


def later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def add(docket: Docket, task: Any) -> object:
    return await taskctx.add(docket, task)()


async def add_under_a_key(docket: Docket, task: Any) -> object:
    return await taskctx.add(docket, task, key="1")()


async def replace(docket: Docket, task: Any) -> object:
    return await taskctx.replace(docket, task, datetime.now(UTC), key="1")()


async def add_many(docket: Docket, task: Any) -> object:
    return await taskctx.add_many(docket, [docket.call(task)()])


async def task() -> None:
    """Stands for any, where none runs."""


each_way = pytest.mark.parametrize("submit", [add, add_under_a_key, replace, add_many])


def counted(registry: CollectorRegistry, docket: Docket) -> dict[str, float | None]:
    """The anonymous submissions so far, by whether they were meant."""
    name = "taskctx_anonymous_submissions_total"
    return {
        meant: registry.get_sample_value(name, {"docket_name": docket.name, "meant": meant}) for meant in ("yes", "no")
    }


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@each_way
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_task_that_has_a_caller_is_never_in_question(
    docket: Docket,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
    *,
    submit: Submit,
    policy: Policy,
) -> None:
    """Whatever ``on_anonymous`` says, nothing is counted and nothing logged."""
    taskctx.configure(registry=registry, on_anonymous=policy)

    with ADA.bound():
        await submit(docket, task)

    assert counted(registry, docket) == {"yes": 0, "no": 0}
    assert warnings(caplog) == []


@each_way
async def test_it_may_be_allowed(
    docket: Docket, worker: Worker, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, submit: Submit
) -> None:
    """Without encryption keys, an anonymous task runs, and is counted without a word."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    await submit(docket, task)
    await worker.run_until_finished()

    assert seen == [NOBODY]
    assert counted(registry, docket) == {"yes": 0, "no": 1}
    assert warnings(caplog) == []


@each_way
async def test_it_is_warned_of_once_there_are_keys(
    docket: Docket, worker: Worker, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, submit: Submit
) -> None:
    """One line names the task and says what to do, and the task runs."""
    taskctx.configure(registry=registry, encryption_keys=f"1:{generate_key()}")
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with taskctx.bind_caller(headers={"x-tenant": secret("tenant")}):
        await submit(docket, task)
    await worker.run_until_finished()

    assert [sight.token for sight in seen] == [None]
    assert counted(registry, docket) == {"yes": 0, "no": 1}
    what = f"A task is submitted without a caller (reason=anonymous docket={docket.name} task=task)"
    assert warnings(caplog) == [f"{what}: {Reason.ANONYMOUS.explanation}."]
    assert [record.levelname for record in caplog.records if record.name == "taskctx"] == ["WARNING"]


@each_way
@pytest.mark.parametrize("on_save_failure", ["raise", "continue"])
async def test_it_may_be_refused(
    docket: Docket, registry: CollectorRegistry, *, submit: Submit, on_save_failure: Any
) -> None:
    """Nothing is stored and nothing scheduled, also where tasks may go on without a context that was not saved."""
    taskctx.configure(registry=registry, on_anonymous="refuse", on_save_failure=on_save_failure)

    with pytest.raises(taskctx.CaptureError, match=r"taskctx\.anonymous\(\)") as refused:
        await submit(docket, task)

    assert refused.value.reason is Reason.ANONYMOUS
    assert pickle.loads(pickle.dumps(refused.value)).reason is Reason.ANONYMOUS
    assert await our_keys(docket) == []
    assert (await docket.snapshot()).total_tasks == 0
    assert counted(registry, docket) == {"yes": 0, "no": 1}
    labels = {"docket_name": docket.name, "outcome": "failed"}
    assert registry.get_sample_value("taskctx_captures_total", labels) == 1


@each_way
@pytest.mark.parametrize("policy", POLICIES)
async def test_it_may_be_meant(
    docket: Docket,
    worker: Worker,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
    *,
    submit: Submit,
    policy: Policy,
) -> None:
    """Inside ``anonymous()`` there is no caller, even where there is one around, and ``on_anonymous`` has no say."""
    taskctx.configure(registry=registry, on_anonymous=policy)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with taskctx.bind_caller(access_token=ADA.token, headers={"x-tenant": "acme"}, request_id="r", session_id="s"):
        with taskctx.anonymous():
            await submit(docket, task)
        assert taskctx.get_task_scope() == ADA.scope
    await worker.run_until_finished()

    assert seen == [NOBODY]
    assert counted(registry, docket) == {"yes": 1, "no": 0}
    assert warnings(caplog) == []


async def test_each_task_of_a_batch_counts(docket: Docket, registry: CollectorRegistry) -> None:
    """As a submission and as a capture, so that the one is a share of the other."""
    await taskctx.add_many(docket, [docket.call(task)() for _ in range(3)])
    with ADA.bound():
        await taskctx.add_many(docket, [docket.call(task)() for _ in range(2)])

    assert counted(registry, docket) == {"yes": 0, "no": 3}
    captures = (
        registry.get_sample_value("taskctx_captures_total", {"docket_name": docket.name, "outcome": outcome}) or 0
        for outcome in ("ok", "partial", "empty", "failed")
    )
    assert sum(captures) == 5


async def test_a_batch_of_nothing_is_no_submission(docket: Docket, registry: CollectorRegistry) -> None:
    """An empty batch is neither refused nor counted."""
    taskctx.configure(registry=registry, on_anonymous="refuse")

    assert await taskctx.add_many(docket, []) == []


async def test_a_caller_bound_inside_is_a_caller(docket: Docket, registry: CollectorRegistry) -> None:
    """Inside ``anonymous()`` a bound token makes a caller; a bound request id does not."""
    taskctx.configure(registry=registry, on_anonymous="refuse")

    with taskctx.anonymous(), taskctx.bind_caller(access_token=ADA.token):
        await taskctx.add(docket, task)()
    with taskctx.anonymous(), taskctx.bind_caller(request_id="r-1"):
        await taskctx.add(docket, task)()

    assert counted(registry, docket) == {"yes": 1, "no": 0}


async def test_what_a_meant_task_submits_is_meant_too(
    docket: Docket, worker: Worker, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A task carries its caller on; whether an anonymous one is meant goes with it, from task to task."""
    taskctx.configure(registry=registry, encryption_keys=f"1:{generate_key()}", on_anonymous="refuse")
    ran: list[int] = []

    async def task(generation: int) -> None:
        ran.append(generation)
        if generation < 3:
            await taskctx.add(docket, task)(generation + 1)

    with taskctx.anonymous():
        await taskctx.add(docket, task)(1)
    await worker.run_until_finished()

    assert ran == [1, 2, 3]
    assert counted(registry, docket) == {"yes": 3, "no": 0}
    assert warnings(caplog) == []


async def test_what_a_task_submits_that_lost_its_caller_is_not_meant(
    docket: Docket, worker: Worker, registry: CollectorRegistry
) -> None:
    """Under ``refuse``, a task that lost its snapshot or its token cannot submit a task."""
    taskctx.configure(registry=registry, on_anonymous="refuse")
    refused: list[Reason] = []

    async def child() -> None:
        """Never runs."""

    async def task() -> None:
        try:
            await taskctx.add(docket, child)()
        except taskctx.CaptureError as error:
            refused.append(error.reason)

    with ADA.bound():
        await taskctx.add(docket, task)()
    async with docket.redis() as redis:
        for key in await our_keys(docket):
            await redis.delete(key)
    with taskctx.bind_caller(access_token=ADA.token.model_copy(update={"expires_at": 1})):
        await taskctx.add(docket, task)()
    await worker.run_until_finished()

    assert refused == [Reason.ANONYMOUS] * 2
    assert counted(registry, docket) == {"yes": 0, "no": 2}


async def test_what_an_unmeant_task_submits_is_not_meant(
    docket: Docket, worker: Worker, registry: CollectorRegistry
) -> None:
    """The mistake is not forgotten on the way, and a task of an older taskctx says nothing of it."""

    async def child() -> None:
        """Does nothing."""

    async def task() -> None:
        await taskctx.add(docket, child)()

    await taskctx.add(docket, task)()
    await worker.run_until_finished()

    assert counted(registry, docket) == {"yes": 0, "no": 2}


async def test_what_an_automatic_task_submits_is_meant_where_its_body_says_so(
    docket: Docket, worker: Worker, registry: CollectorRegistry
) -> None:
    """Docket adds it by itself, so no submission has said it before."""
    taskctx.configure(registry=registry, on_anonymous="refuse")
    outcomes: list[str] = []

    async def child() -> None:
        outcomes.append("ran")

    async def automatic(again: Perpetual = Perpetual(automatic=True)) -> None:
        again.cancel()
        try:
            await taskctx.add(docket, child)()
        except taskctx.CaptureError as error:
            outcomes.append(error.reason.value)
        with taskctx.anonymous():
            await taskctx.add(docket, child)()

    docket.register(automatic)
    await worker.run_until_finished()

    assert outcomes == ["anonymous", "ran"]
    assert counted(registry, docket) == {"yes": 1, "no": 1}


async def test_headers_alone_are_no_caller(docket: Docket, worker: Worker, registry: CollectorRegistry) -> None:
    """A request with headers is anonymous until ``identify`` gives it a token made from a header."""
    taskctx.configure(registry=registry, on_anonymous="refuse")
    scopes: list[str | None] = []

    async def task() -> None:
        scopes.append(taskctx.get_task_scope())

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(taskctx.CaptureError, match="there is no caller"):
            await taskctx.add(docket, task)()
        name = taskctx.get_http_headers()["x-tenant"]
        taskctx.identify(access_token=taskctx.AccessToken(token="", client_id=name))
        await taskctx.add(docket, task)()

    request: Any = {"type": "http", "headers": [(b"x-tenant", b"acme")]}
    await TaskContextMiddleware(gateway)(request, unused, unused)
    await worker.run_until_finished()

    assert scopes == ["acme"]
    assert counted(registry, docket) == {"yes": 0, "no": 1}


async def unused(*_: Any) -> Any:
    """The server's end of a connection that is not read and not written to."""


@pytest.mark.parametrize(("block", "stored"), [(taskctx.anonymous, True), (nullcontext, None)])
async def test_only_what_is_meant_is_stored(docket: Docket, block: Callable[[], Any], stored: object) -> None:
    """Snapshots of all others are as large as they were."""
    with block():
        await taskctx.add(docket, task)()

    (key,) = await our_keys(docket)
    async with docket.redis() as redis:
        value = await redis.get(key)
    assert value is not None
    assert json.loads(value).get("anonymity_is_meant") is stored


async def test_a_snapshot_captured_by_hand_is_judged_alike(docket: Docket, registry: CollectorRegistry) -> None:
    """``TaskContextSnapshot.capture`` is what a submission begins with."""
    taskctx.configure(registry=registry, on_anonymous="refuse")

    with pytest.raises(taskctx.CaptureError):
        taskctx.TaskContextSnapshot.capture()
    with taskctx.anonymous():
        snapshot = taskctx.TaskContextSnapshot.capture()

    assert snapshot.anonymity_is_meant
    assert taskctx.TaskContextSnapshot.from_json(snapshot.to_json()) == snapshot


@pytest.mark.parametrize("wrong", ["REFUSE", "deny", "", "true", None, 1])
def test_an_unknown_policy_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    """Of ``configure`` and the environment alike; the settings in force stay."""
    with pytest.raises(taskctx.ConfigurationError, match=r"^on_anonymous: .*'allow', 'warn' or 'refuse'"):
        taskctx.configure(on_anonymous=wrong)
    if isinstance(wrong, str):
        monkeypatch.setenv("TASKCTX_ON_ANONYMOUS", wrong)
        with pytest.raises(taskctx.ConfigurationError, match=r"^TASKCTX_ON_ANONYMOUS: "):
            taskctx.configure()


def test_the_policy_follows_the_keys_unless_it_is_set() -> None:
    """``warn`` with keys, ``allow`` without, and what was asked for in any case."""
    keys: Any = f"1:{generate_key()}"
    assert Settings().on_anonymous == "allow"
    assert Settings(encryption_keys=keys).on_anonymous == "warn"
    assert Settings(encryption_keys=keys, on_anonymous="allow").on_anonymous == "allow"
    assert Settings(on_anonymous="refuse").on_anonymous == "refuse"
