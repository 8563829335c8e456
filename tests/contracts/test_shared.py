"""What tasks share (Docket's ``Shared``) is made for none of them, whichever of them needs it first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from docket import Depends, Docket
from docket.dependencies import Shared
from opentelemetry import trace

import taskctx
from tests.contracts.outcomes import failure_of, work
from tests.helpers import ADA, BOB, NOBODY, Sight, look

RESTORING: dict[str, Mapping[str, Any]] = {
    "worker_dependencies": taskctx.worker_dependencies,
    "restore_task_snapshot": {"restored": Depends(taskctx.restore_task_snapshot)},
}
each_way_to_restore = pytest.mark.parametrize("dependencies", RESTORING.values(), ids=list(RESTORING))


def plain() -> Sight:
    return look()


async def awaited() -> Sight:
    await asyncio.sleep(0)
    return look()


@contextmanager
def entered() -> Generator[Sight]:
    yield look()


@asynccontextmanager
async def async_entered() -> AsyncGenerator[Sight]:
    await asyncio.sleep(0)
    yield look()


FACTORIES: list[Callable[[], Any]] = [plain, awaited, entered, async_entered]


async def run(docket: Docket, task: Callable[..., Awaitable[None]], dependencies: Mapping[str, Any]) -> None:
    """Run a task for Ada, and then one for Bob, in one worker."""
    for caller in (ADA, BOB):
        with caller.bound():
            await taskctx.add(docket, task)()
    await work(docket, dependencies=dependencies, concurrency=1)


@each_way_to_restore
@pytest.mark.parametrize("factory", FACTORIES)
async def test_it_is_made_for_an_anonymous_caller(
    docket: Docket, factory: Callable[[], Any], dependencies: Mapping[str, Any]
) -> None:
    """In every form that Docket knows; the tasks that share it see their own callers."""
    seen: list[tuple[Sight, Sight]] = []

    async def report(made: Sight = Shared(factory)) -> None:
        seen.append((look(), made))

    await run(docket, report, dependencies)
    assert seen == [(ADA.sight, NOBODY), (BOB.sight, NOBODY)]


async def test_what_it_needs_is_made_for_an_anonymous_caller(docket: Docket) -> None:
    """A ``Depends`` of a task and of what it shares is made for each of them."""
    seen: list[list[Sight]] = []

    def outer(needed: Sight = Shared(awaited), own: Sight = Depends(plain)) -> list[Sight]:
        return [needed, own]

    async def before(mine: Sight = Depends(plain), made: list[Sight] = Shared(outer)) -> None:
        seen.append([mine, *made])

    async def after(made: list[Sight] = Shared(outer), mine: Sight = Depends(plain)) -> None:
        seen.append([mine, *made])

    for task in (before, after):
        seen.clear()
        await run(docket, task, taskctx.worker_dependencies)
        assert seen == [[ADA.sight, NOBODY, NOBODY], [BOB.sight, NOBODY, NOBODY]]


async def test_what_it_starts_stays_anonymous(docket: Docket) -> None:
    """Its background task has no caller, no task and no trace, and a task that it submits is anonymous."""
    in_background: list[object] = []
    ran: list[Sight] = []

    async def child() -> None:
        ran.append(look())

    @asynccontextmanager
    async def client() -> AsyncGenerator[asyncio.Event]:
        go = asyncio.Event()

        async def refresh() -> None:
            await go.wait()
            in_background.extend([look(), taskctx.get_task_context(), trace.get_current_span()])
            await taskctx.add(docket, child)()

        task = asyncio.create_task(refresh())
        yield go
        await task

    async def report(go: asyncio.Event = Shared(client)) -> None:
        go.set()

    await run(docket, report, taskctx.worker_dependencies)
    await work(docket)

    assert in_background == [NOBODY, None, trace.INVALID_SPAN]
    assert ran == [NOBODY]


async def test_it_is_made_once_for_tasks_that_need_it_at_once(docket: Docket) -> None:
    """It is made once for all its tasks; one that fails, fails only its own tasks, under its own name."""
    made: list[int] = []
    seen: list[Sight] = []

    async def slow() -> int:
        made.append(1)
        await asyncio.sleep(0.01)
        return len(made)

    async def broken() -> None:
        assert look() == NOBODY
        raise LookupError

    async def report(number: int = Shared(slow)) -> None:
        assert number == 1
        seen.append(look())

    async def fails(client: None = Shared(broken)) -> None: ...

    with ADA.bound():
        for _ in range(10):
            await taskctx.add(docket, report)()
        failed = [await taskctx.add(docket, fails)() for _ in range(2)]
    await work(docket)

    assert (made, seen) == ([1], [ADA.sight] * 10)
    for execution in failed:
        failure = await failure_of(execution)
        assert "client" in str(failure)
        assert isinstance(failure.exceptions[0], LookupError)
