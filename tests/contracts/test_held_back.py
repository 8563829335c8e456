"""A task that Docket holds back is tried again and again; what that costs its caller is one restore."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import pytest
from docket import ConcurrencyLimit, Docket, Execution
from docket.dependencies import AdmissionBlocked, RateLimit
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import AccessToken
from taskctx._worker import held_back as module
from taskctx._worker.held_back import held_back
from taskctx._worker.restoration import Restoration
from tests.conftest import BACKEND, make_worker
from tests.contracts.outcomes import counted, failures, restores, work
from tests.helpers import ADA, Caller, look, running, ttl, wait_until
from tests.secrets import secret

LATE = Caller("late", expires_at=int(time.time()) - 60)
"""A caller whose token expires before any of its tasks begins."""

NEW = LATE.token.model_copy(update={"token": secret("new"), "expires_at": int(time.time()) + 3600})

TASKS = 4
COMPLETED = 900
SOON = timedelta(milliseconds=400)
"""Long enough that four tasks are not so far apart on a busy machine that none is held back."""

LATER = timedelta(seconds=2)
"""Time for a test to do something to a task that is held back."""


@pytest.fixture(autouse=True)
def nothing_of_others() -> None:
    """Other tests leave tasks behind that were held back."""
    held_back.clear()


Seen = list[AccessToken | None]
Held = Callable[[Seen], Callable[..., Awaitable[None]]]


def rated(seen: Seen) -> Callable[..., Awaitable[None]]:
    async def task(limit: RateLimit = RateLimit(1, per=SOON)) -> None:
        seen.append(taskctx.get_access_token())

    return task


def rated_by_annotation(seen: Seen) -> Callable[..., Awaitable[None]]:
    async def task(shop: Annotated[int, RateLimit(1, per=SOON)] = 1) -> None:
        seen.append(taskctx.get_access_token())

    return task


def limited(seen: Seen) -> Callable[..., Awaitable[None]]:
    async def task(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
        if not seen:
            # else one might be brought back before its try has ended, and nothing is known of it yet
            await wait_until(lambda: len(held_back) == TASKS - 1)
        seen.append(taskctx.get_access_token())

    return task


each_limit = pytest.mark.parametrize("held", [rated, rated_by_annotation, limited])


def read(registry: CollectorRegistry) -> float | None:
    """Restores that read a snapshot: only there is its age known."""
    return sum(counted(registry, "taskctx_snapshot_age_seconds_count", "docket_name").values())


async def submit(
    docket: Docket, task: Callable[..., Awaitable[None]], caller: Caller = LATE, tasks: int = TASKS
) -> None:
    with caller.bound():
        for _ in range(tasks):
            await taskctx.add(docket, task)()


class Hook:
    """Counts how often it is asked."""

    def __init__(self, *answers: object) -> None:
        self.asked = 0
        self.answers = list(answers)

    async def __call__(self, expired: AccessToken) -> object:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@each_limit
async def test_the_hook_is_asked_once_for_a_body(docket: Docket, registry: CollectorRegistry, held: Held) -> None:
    """However often the task is tried, and every body has the new token."""
    seen: Seen = []
    taskctx.configure(registry=registry, refresh_token=(hook := Hook(NEW)))
    await submit(docket, held(seen))
    await work(docket, concurrency=TASKS)

    assert seen == [NEW] * TASKS
    assert hook.asked == TASKS
    assert restores(registry, docket)["ok"] > TASKS


async def test_that_there_is_no_new_token_is_an_answer(docket: Docket, registry: CollectorRegistry) -> None:
    """It is counted for every try, and asked for once."""
    seen: Seen = []
    taskctx.configure(registry=registry, refresh_token=(hook := Hook(None)))
    await submit(docket, rated(seen))
    await work(docket, concurrency=TASKS)

    assert (seen, hook.asked) == ([None] * TASKS, TASKS)
    assert failures(registry, docket)["credential_expired"] > TASKS


async def test_a_hook_that_failed_is_asked_again(docket: Docket, registry: CollectorRegistry) -> None:
    """The hook is asked at each try until it succeeds."""
    seen: Seen = []
    taskctx.configure(registry=registry, refresh_token=Hook(*[OSError()] * TASKS, NEW))
    await submit(docket, rated(seen))
    await work(docket, concurrency=TASKS)

    assert seen.count(NEW) >= TASKS - 1
    assert failures(registry, docket) == {"credential_refresh_failed": TASKS}


async def test_a_snapshot_is_read_once_for_a_rate_limit(docket: Docket, registry: CollectorRegistry) -> None:
    """The snapshot is not read again while Docket brings back the same submission."""
    seen: Seen = []
    await submit(docket, rated(seen), ADA)
    await work(docket, concurrency=TASKS)

    assert seen == [ADA.token] * TASKS
    assert restores(registry, docket)["ok"] > TASKS
    assert read(registry) == TASKS


async def test_a_replacement_of_a_task_that_is_held_back_brings_its_own_context(
    docket: Docket, registry: CollectorRegistry
) -> None:
    """What an earlier try restored is not in force any more."""
    seen: list[object] = []

    async def task(limit: RateLimit = RateLimit(1, per=LATER)) -> None:
        seen.append(look())

    first, second = Caller("ada", "first"), Caller("ada", "second")
    async with make_worker(docket) as worker, running(worker):
        with ADA.bound():
            await taskctx.add(docket, task)()
        await wait_until(lambda: len(seen) == 1)
        with first.bound():
            await taskctx.add(docket, task, key="held")()
        await wait_until(lambda: bool(held_back))
        with second.bound():
            await taskctx.replace(docket, task, when=_now(), key="held")()
        await wait_until(lambda: len(seen) == 2)

    assert seen == [ADA.sight, second.sight]


@pytest.mark.parametrize("limit", [RateLimit(1, per=SOON, drop=True), RateLimit(1, per=SOON)])
async def test_nothing_is_remembered_of_a_task_that_has_run_or_was_dropped(docket: Docket, limit: RateLimit) -> None:
    """No credential stays in memory for a try that never comes."""
    ran: list[int] = []

    async def task(limited: RateLimit = limit) -> None:
        ran.append(1)

    await submit(docket, task, ADA)
    await work(docket, concurrency=TASKS)

    assert ran
    assert not [name for name, _ in held_back if name == docket.name]


async def test_tries_that_are_remembered_are_bounded(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and others do not learn what was configured for them."""
    monkeypatch.setattr(module, "MOST", 2)
    executions = [Execution(docket, _noop, (), {}, f"anon:{name}:task:noop", _now(), 1) for name in "abc"]
    try:
        for execution in executions:
            held_back.remember(Restoration(execution.key), execution, AdmissionBlocked(execution))
        assert [key for _, key in held_back] == [execution.key for execution in executions[1:]]
    finally:
        for execution in executions:
            held_back.resume(Restoration(execution.key), execution)
    assert not held_back


async def test_no_context_is_kept(docket: Docket) -> None:
    """A try that was taken up again, or gave way to others, leaves no timer that keeps its caller until it is due."""
    who: ContextVar[_Someone] = ContextVar("who")
    execution = Execution(docket, _noop, (), {}, "anon:a:task:noop", _now(), 1)
    # asyncio forgets at once a timer that was cancelled and is the next to be due
    asyncio.get_running_loop().call_later(60, _now, context=Context())

    async def held() -> weakref.ref[_Someone]:
        someone = _Someone()
        who.set(someone)
        held_back.remember(Restoration(execution.key), execution, AdmissionBlocked(execution))
        return weakref.ref(someone)

    someone = await asyncio.create_task(held())
    held_back.resume(Restoration(execution.key), execution)
    await asyncio.sleep(0)  # asyncio itself lets go of a task's context a step after its end
    gc.collect()
    assert someone() is None


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// ends with its event loop")
def test_a_try_in_another_event_loop(backend_url: str, registry: CollectorRegistry) -> None:
    """What was restored in a loop that is closed serves in the next; the connection of that loop does not."""
    seen: Seen = []
    docket = Docket(f"loops-{uuid4()}", backend_url)
    ended: list[Execution] = []

    async def task(limit: RateLimit = RateLimit(1, per=LATER)) -> None:
        seen.append(taskctx.get_access_token())

    async def is_held_back() -> None:
        async with docket, make_worker(docket) as worker, running(worker):
            with ADA.bound():
                ended.extend([await taskctx.add(docket, task)() for _ in range(2)])
            await wait_until(lambda: len(seen) == len(held_back) == 1)

    async def runs() -> None:
        async with docket, make_worker(docket) as worker:
            await worker.run_until_finished()
            assert [await ttl(docket, execution) <= COMPLETED for execution in ended] == [True] * 2

    asyncio.run(is_held_back())
    asyncio.run(runs())

    assert seen == [ADA.token] * 2
    assert read(registry) == 2


async def test_what_was_configured_since_counts(docket: Docket, registry: CollectorRegistry) -> None:
    """Neither a token nor a snapshot that was restored under other settings is used."""
    seen: Seen = []

    async def task(limit: RateLimit = RateLimit(1, per=LATER)) -> None:
        seen.append(taskctx.get_access_token())

    taskctx.configure(registry=registry, refresh_token=(before := Hook(NEW)))
    await submit(docket, task, tasks=2)
    async with make_worker(docket) as worker, running(worker):
        await wait_until(lambda: len(held_back) == 1 and len(seen) == 1)
        taskctx.configure(registry=registry, refresh_token=(after := Hook(NEW)))
        await wait_until(lambda: len(seen) == 2)

    assert (before.asked, after.asked) == (2, 1)
    assert seen == [NEW] * 2


class _Someone:
    """Stands for a caller that a context holds."""


async def _noop() -> None: ...


def _now() -> datetime:
    return datetime.now(UTC)
