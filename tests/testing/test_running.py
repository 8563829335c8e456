"""Tasks that run as a worker runs them, on a docket of their own and on one that is given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta

import pytest
from docket import CurrentDocket, Depends, Docket, Perpetual, Retry
from opentelemetry import baggage, context
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import Reason
from taskctx._caller.carried import stop_carrying
from taskctx._runtime import runtime
from taskctx.testing import NOBODY, SeenContext, assert_restored, configured, fake_caller, restored, run_as_worker
from tests.conftest import our_keys

ADA, BOB = fake_caller("ada"), fake_caller("bob")
LANGUAGE: ContextVar[str] = ContextVar("language", default="en")


@pytest.fixture
def carried() -> Iterator[None]:
    taskctx.carry(LANGUAGE, type=str)
    yield
    stop_carrying("language")


async def owner(prefix: str, *, mark: str = "") -> str:
    """A task that returns the scope that its body sees."""
    return f"{prefix}{taskctx.get_task_scope()}{mark}"


async def test_the_body_sees_its_caller(docket: Docket) -> None:
    """The body sees the caller, and the run has the body's result."""
    run = await run_as_worker(owner, caller=ADA, docket=docket)("of ", mark="!")
    assert run.result == "of fake-client|ada!"
    assert (run.outcome, run.reason, run.error) == ("ok", None, None)
    assert_restored(ADA, run.seen)
    assert run.seen is not None
    assert run.seen.task is not None
    assert run.seen.scope == run.seen.task.task_scope == ADA.scope


async def test_it_needs_no_docket() -> None:
    """It has one of its own, and two runs at once do not see each other."""
    ada, bob = await asyncio.gather(
        run_as_worker(owner, caller=ADA)("of "),
        run_as_worker(owner, caller=BOB)("of "),
    )
    assert (ada.result, bob.result) == ("of fake-client|ada", "of fake-client|bob")
    assert len(ada.attempts) == len(bob.attempts) == 1
    assert_restored(ADA, ada.seen)
    assert_restored(BOB, bob.seen)


async def test_the_current_caller_is_the_default(carried: None) -> None:
    """The task gets the current caller, with baggage and carried ContextVars."""
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    language = LANGUAGE.set("fr")
    try:
        with ADA.bound():
            here = SeenContext.here()
            run = await run_as_worker(owner)("")
    finally:
        LANGUAGE.reset(language)
        context.detach(token)
    assert_restored(here, run.seen)
    assert run.seen is not None
    assert run.seen.carried == {"language": "fr"}
    assert run.seen.baggage == {"baggage": "tenant=acme"}


async def test_a_snapshot_stands_for_a_caller(docket: Docket) -> None:
    """It is stored as it is, in the scope of its token."""
    with BOB.bound():
        snapshot = taskctx.TaskContextSnapshot.capture()
    run = await run_as_worker(owner, caller=snapshot, docket=docket)("of ")
    assert run.result == "of fake-client|bob"
    assert_restored(snapshot, run.seen)
    assert_restored(BOB, run.seen)


async def test_a_snapshots_bad_token_is_for_the_restore_to_find() -> None:
    run = await run_as_worker(owner, caller=taskctx.TaskContextSnapshot(access_token_json="{"))("")
    assert (run.outcome, run.reason) == ("failed", Reason.MALFORMED)


async def test_every_attempt_is_there(docket: Docket) -> None:
    """Each with the same caller, and with its own end."""
    tries: list[int] = []

    async def flaky(retry: Retry = Retry(attempts=3, delay=timedelta(milliseconds=1))) -> str:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ValueError(f"attempt {len(tries)}")
        return "done"

    run = await run_as_worker(flaky, caller=ADA, docket=docket)()
    assert [str(attempt.error) for attempt in run.attempts] == ["attempt 1", "attempt 2", "None"]
    for attempt in run.attempts:
        assert_restored(ADA, attempt.seen)
    assert run.result == "done"


async def test_a_bodys_exception_is_found_and_not_raised(docket: Docket) -> None:
    async def broken() -> None:
        raise LookupError("as the body raised it")

    run = await run_as_worker(broken, caller=ADA, docket=docket)()
    assert isinstance(run.error, LookupError)
    assert run.result is None
    assert run.outcome == "ok"


async def test_a_task_without_end_is_run_so_often(docket: Docket) -> None:
    """A perpetual task runs ``runs`` times, each time as the same caller."""

    async def ever(perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=1))) -> None: ...

    run = await run_as_worker(ever, caller=ADA, docket=docket, runs=3)()
    assert len(run.attempts) == 3
    assert_restored(ADA, run.seen)


async def test_tasks_that_it_submits_run_too(docket: Docket) -> None:
    """They run as the same caller; the result has only the first task's attempts."""
    seen: list[str | None] = []

    async def child() -> None:
        seen.append(taskctx.get_task_scope())

    async def parent(docket: Docket = CurrentDocket()) -> str:
        await taskctx.add(docket, child)()
        return "parent"

    run = await run_as_worker(parent, caller=ADA, docket=docket)()
    assert run.result == "parent"
    assert len(run.attempts) == 1
    assert seen == ["fake-client|ada"]


async def test_dependencies_of_the_task_are_in_force(docket: Docket) -> None:
    """One that fails is the task's error."""

    async def who() -> str | None:
        return taskctx.get_task_scope()

    async def fails() -> str:
        raise LookupError("no such thing")

    async def good(scope: str | None = Depends(who)) -> str | None:
        return scope

    async def bad(thing: str = Depends(fails)) -> None: ...

    assert (await run_as_worker(good, caller=ADA, docket=docket)()).result == ADA.scope
    error = (await run_as_worker(bad, caller=ADA, docket=docket)()).error
    assert isinstance(error, ExceptionGroup)


async def test_snapshots_live_no_longer_than_the_task(docket: Docket) -> None:
    """After the task its snapshot has at most ``completed_ttl``."""
    await run_as_worker(owner, caller=ADA, docket=docket)("")
    (key,) = await our_keys(docket)
    async with docket.redis() as redis:
        assert 0 < await redis.ttl(key) <= taskctx.Settings().completed_ttl


async def test_it_leaves_what_is_configured_as_it_was() -> None:
    before = runtime().settings, runtime().observers.observers
    await run_as_worker(owner, caller=ADA)("")
    assert (runtime().settings, runtime().observers.observers) == before


async def test_what_is_no_caller_is_refused() -> None:
    with pytest.raises(taskctx.InvalidType, match="fake_caller"):
        await run_as_worker(owner, caller="ada")("")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_task_that_was_not_run_is_said_to_be(docket: Docket) -> None:
    """Docket can be told not to run some."""
    await docket.strike(owner)
    with pytest.raises(taskctx.TaskContextError, match="did not run the task"):
        await run_as_worker(owner, caller=ADA, docket=docket)("")


async def test_a_block_stands_for_a_body() -> None:
    """All getters answer as in a task, and afterwards as before."""
    with BOB.bound():
        async with restored(ADA) as seen:
            assert_restored(ADA)
            assert taskctx.get_task_session_id() == ADA.session_id
            task = taskctx.get_task_context()
            assert task is not None
            assert task.task_scope == ADA.scope
            assert seen.task == task
        assert taskctx.get_task_context() is None
        assert taskctx.get_task_session_id() is None
        assert_restored(SeenContext.here())
        assert taskctx.get_task_scope() == BOB.scope


@pytest.mark.parametrize("error", [None, LookupError])
async def test_a_block_that_fails_leaves_nothing(error: type[Exception] | None) -> None:
    async def block() -> None:
        async with restored(ADA):
            if error is not None:
                raise error

    if error is None:
        await block()
    else:
        with pytest.raises(error):
            await block()
    assert_restored(NOBODY)


async def test_a_block_without_its_context() -> None:
    """Anonymous, or an error, as the settings have it."""
    with configured(on_restore_failure="continue"):
        async with restored(ADA, failure=Reason.MISSING) as seen:
            assert_restored(NOBODY, seen)
    with configured(on_restore_failure="fail"), pytest.raises(taskctx.RestoreError) as refused:
        async with restored(ADA, failure=Reason.MISSING):
            pytest.fail("the body ran")
    assert refused.value.reason is Reason.MISSING


async def test_it_counts_as_any_task(registry: CollectorRegistry, docket: Docket) -> None:
    """Nothing of what tests do to look is counted."""
    await run_as_worker(owner, caller=ADA, docket=docket)("")
    labels = {"docket_name": docket.name, "outcome": "ok"}
    assert registry.get_sample_value("taskctx_restores_total", labels) == 1
    assert registry.get_sample_value("taskctx_captures_total", labels) == 1
