"""One bound around a save or a restore, whatever the event loop and others do meanwhile."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

import taskctx
from taskctx._transport.deadline import BackendError, bounded
from taskctx.errors import Reason

SHORT = 0.05


@pytest.fixture(autouse=True)
def short_bound() -> Iterator[None]:
    taskctx.configure(backend_timeout=SHORT)
    yield
    taskctx.configure()


async def never() -> None:
    async with bounded():
        await asyncio.Event().wait()


async def test_what_takes_longer_is_a_timeout() -> None:
    """Of all that began at about the same time."""
    answers = await asyncio.gather(*(never() for _ in range(5)), return_exceptions=True)
    assert [getattr(answer, "reason", None) for answer in answers] == [Reason.BACKEND_TIMEOUT] * 5


async def test_what_is_done_in_time_is_left_alone() -> None:
    """Also when others that began before it are not."""
    slow = asyncio.create_task(never())
    async with bounded():
        await asyncio.sleep(0)
    with pytest.raises(BackendError):
        await slow
    await asyncio.sleep(SHORT)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_one_after_the_other() -> None:
    """The watch begins again after it had nothing to watch, and is done with what is over."""
    with pytest.raises(BackendError):
        await never()
    other = asyncio.create_task(never())
    with pytest.raises(BackendError):
        await other


async def test_each_has_its_own_time() -> None:
    """What began later is over later, and not left alone."""
    first = asyncio.create_task(never())
    await asyncio.sleep(SHORT / 2)
    last = asyncio.create_task(never())
    async with bounded():
        await asyncio.wait([first])
    assert not last.done()
    for task in (first, last):
        with pytest.raises(BackendError):
            await task


async def test_its_deadline_is_the_setting_away() -> None:
    """By the event loop's clock."""
    bound, loop = bounded(), asyncio.get_running_loop()
    before = loop.time()
    async with bound:
        assert before + SHORT <= bound.deadline <= loop.time() + SHORT


async def test_a_bound_within_a_bound() -> None:
    """The outer one began first, and is the one that is over."""
    with pytest.raises(BackendError):
        async with bounded():
            await never()
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_somebody_elses_cancellation_goes_on() -> None:
    """It is not made a timeout of, not even when both come at once."""
    task = asyncio.create_task(never())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def cancelled_as_it_times_out() -> None:
        async with bounded():
            try:
                await asyncio.Event().wait()
            finally:
                current = asyncio.current_task()
                assert current is not None
                current.cancel()

    task = asyncio.create_task(cancelled_as_it_times_out())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_stays_what_it_is() -> None:
    """Such as one that came in time."""
    with pytest.raises(KeyError):
        async with bounded():
            raise KeyError

    async def makes_something_else_of_it() -> None:
        async with bounded():
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError

    with pytest.raises(KeyError):
        await makes_something_else_of_it()


async def test_a_timeout_does_not_show_where_it_came() -> None:
    """The frames of a restore hold its caller."""
    with pytest.raises(BackendError) as caught:
        await never()
    assert caught.value.__suppress_context__


def in_steps(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[str], steps: int = 5) -> None:
    """As an answer comes: from the socket to the parser, to the lane, to whoever waits."""
    if steps:
        loop.call_soon(in_steps, loop, answer, steps - 1)
    else:
        answer.set_result("in time")


async def test_a_loop_that_stood_still_is_not_the_servers_slowness() -> None:
    """The answer that came meanwhile is read before the bound is held to be over."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_later(SHORT / 5, in_steps, loop, answer)
    async with bounded():
        time.sleep(3 * SHORT)  # noqa: ASYNC251 - what is tested
        assert await answer == "in time"
    await asyncio.sleep(3 * SHORT)  # and nothing comes after it


async def test_a_cancellation_after_the_loop_stood_still() -> None:
    """Before the extension is over, it is somebody else's."""
    loop = asyncio.get_running_loop()

    async def stalled() -> None:
        async with bounded():
            time.sleep(5 * SHORT)  # noqa: ASYNC251 - what is tested
            loop.call_later(SHORT, task.cancel)
            await asyncio.Event().wait()

    task = asyncio.create_task(stalled())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_ends_all_the_same() -> None:
    """A stall extends a bound once."""

    async def stalled() -> None:
        async with bounded():
            time.sleep(2 * SHORT)  # noqa: ASYNC251 - what is tested
            await asyncio.Event().wait()

    with pytest.raises(BackendError):
        await stalled()


async def test_the_setting_may_change() -> None:
    """What is under way keeps the bound that it began with."""
    slow = asyncio.create_task(never())
    await asyncio.sleep(0)
    taskctx.configure(backend_timeout=60)
    with pytest.raises(BackendError):
        await slow
    patient = asyncio.create_task(never())
    await asyncio.sleep(2 * SHORT)
    assert not patient.done()
    patient.cancel()


class _Caller:
    """Whoever a context holds."""


async def test_nobodys_context_is_kept() -> None:
    """When it is done, the event loop holds no timer that would keep the caller until it is due."""
    taskctx.configure(backend_timeout=60)
    who: ContextVar[_Caller] = ContextVar("who")

    async def submit() -> weakref.ref[_Caller]:
        caller = _Caller()
        who.set(caller)
        async with bounded():
            await asyncio.sleep(0)
        return weakref.ref(caller)

    caller = await asyncio.create_task(submit())
    await asyncio.sleep(0)  # asyncio itself lets go of a task's context a step after its end
    gc.collect()
    assert caller() is None


def test_each_event_loop_has_its_own() -> None:
    """One that was closed with something to watch takes nothing into the next."""
    for _ in range(2):
        with pytest.raises(BackendError):
            asyncio.run(never())
