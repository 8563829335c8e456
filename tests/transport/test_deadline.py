"""One deadline around a save or a restore, whatever the event loop and others do meanwhile."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from contextvars import ContextVar
from itertools import count

import pytest
from docket import Docket
from redis.exceptions import BusyLoadingError

from taskctx._transport.connection import connection_of
from taskctx._transport.deadline import BackendError, Deadline, Timers
from taskctx._transport.retries import persist
from taskctx.errors import Reason

SHORT = 0.05


class Deadlines:
    """Deadlines of one event loop."""

    def __init__(self) -> None:
        self._timers = Timers(asyncio.get_running_loop())

    def __call__(self, seconds: float = SHORT) -> Deadline:
        return Deadline(self._timers, seconds)


@pytest.fixture
async def deadline() -> Deadlines:
    return Deadlines()


async def never(deadline: Deadlines) -> None:
    with deadline():
        await asyncio.Event().wait()


async def test_what_takes_longer_is_a_timeout(deadline: Deadlines) -> None:
    """Every block that began at about the same time gets its timeout."""
    answers = await asyncio.gather(*(never(deadline) for _ in range(5)), return_exceptions=True)
    assert [getattr(answer, "reason", None) for answer in answers] == [Reason.BACKEND_TIMEOUT] * 5


async def test_what_is_done_in_time_is_left_alone(deadline: Deadlines) -> None:
    """A block that ended in time is not cancelled, even if an earlier block was."""
    slow = asyncio.create_task(never(deadline))
    with deadline():
        await asyncio.sleep(0)
    with pytest.raises(BackendError):
        await slow
    await asyncio.sleep(SHORT)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_one_after_the_other(deadline: Deadlines) -> None:
    """The timer begins again after it had no deadline left, and is done with what is over."""
    with pytest.raises(BackendError):
        await never(deadline)
    other = asyncio.create_task(never(deadline))
    with pytest.raises(BackendError):
        await other
    await asyncio.sleep(3 * SHORT)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_each_has_its_own_time(deadline: Deadlines) -> None:
    """What began later is over later, and not left alone."""
    first = asyncio.create_task(never(deadline))
    await asyncio.sleep(SHORT / 2)
    last = asyncio.create_task(never(deadline))
    with deadline():
        await asyncio.wait([first])
    assert not last.done()
    for task in (first, last):
        with pytest.raises(BackendError):
            await task


async def test_it_is_so_many_seconds_away(deadline: Deadlines) -> None:
    """The deadline is the given number of seconds away, by the event loop's clock."""
    bound, loop = deadline(), asyncio.get_running_loop()
    before = loop.time()
    with bound:
        assert before + SHORT <= bound.at <= loop.time() + SHORT


async def test_a_deadline_within_a_deadline(deadline: Deadlines) -> None:
    """The outer one began first, and is the one that is over."""
    with pytest.raises(BackendError), deadline():
        await never(deadline)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_somebody_elses_cancellation_goes_on(deadline: Deadlines) -> None:
    """It is not made a timeout of, not even when both come at once."""
    task = asyncio.create_task(never(deadline))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def cancelled_as_it_times_out() -> None:
        with deadline():
            try:
                await asyncio.Event().wait()
            finally:
                current = asyncio.current_task()
                assert current is not None
                current.cancel()

    task = asyncio.create_task(cancelled_as_it_times_out())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_stays_what_it_is(deadline: Deadlines) -> None:
    """Such as one that came in time."""
    with pytest.raises(KeyError), deadline():
        raise KeyError

    async def makes_something_else_of_it() -> None:
        with deadline():
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError

    with pytest.raises(KeyError):
        await makes_something_else_of_it()


async def test_a_timeout_does_not_show_where_it_came(deadline: Deadlines) -> None:
    """The frames of a restore hold its caller."""
    with pytest.raises(BackendError) as caught:
        await never(deadline)
    assert caught.value.__suppress_context__
    assert caught.value.args == (Reason.BACKEND_TIMEOUT,)


def in_steps(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[str], steps: int = 5) -> None:
    """Set the answer after several turns of the event loop, as an answer passes from the socket to the waiting task."""
    if steps:
        loop.call_soon(in_steps, loop, answer, steps - 1)
    else:
        answer.set_result("in time")


async def test_a_loop_that_stood_still_is_not_the_servers_slowness(deadline: Deadlines) -> None:
    """The answer that came meanwhile is read before the deadline is held to be past."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_later(SHORT / 5, in_steps, loop, answer)
    with deadline():
        time.sleep(3 * SHORT)  # noqa: ASYNC251 - what is tested
        assert await answer == "in time"
    await asyncio.sleep(3 * SHORT)  # and nothing comes after it


async def test_a_loop_that_stands_still_again(deadline: Deadlines) -> None:
    """While it waits once more: the answer is there when the loop goes on, and is read as the first time."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_later(2.5 * SHORT, time.sleep, 3 * SHORT)
    loop.call_later(4 * SHORT, in_steps, loop, answer)
    with deadline():
        time.sleep(2 * SHORT)  # noqa: ASYNC251 - what is tested
        assert await answer == "in time"


async def test_a_loop_that_stands_still_before_each_of_several_answers(deadline: Deadlines) -> None:
    """As where a script must be loaded before it is run: each stall gives the server its time again."""
    with deadline():
        for _ in range(4):
            time.sleep(3 * SHORT)  # noqa: ASYNC251 - what is tested
            await asyncio.sleep(SHORT / 10)  # a round trip, for which the loop must wait


async def test_a_server_that_says_later_is_asked_again_after_the_loop_stood_still() -> None:
    """Within the time by which its deadline is extended."""
    loop = asyncio.get_running_loop()
    timers, tries = Timers(loop), count(1)

    async def ask() -> str:
        number = next(tries)
        if number == 2:
            loop.call_soon(time.sleep, 8 * SHORT)
            await asyncio.sleep(SHORT / 5)
        if number <= 2:
            raise BusyLoadingError
        return "at last"

    with Deadline(timers, 4 * SHORT):
        assert await persist(ask, None, timers.next_deadline) == "at last"


async def test_a_cancellation_after_the_loop_stood_still(deadline: Deadlines) -> None:
    """A cancellation during the extension is raised as a cancellation, not as a timeout."""
    loop = asyncio.get_running_loop()

    async def stalled() -> None:
        with deadline():
            time.sleep(5 * SHORT)  # noqa: ASYNC251 - what is tested
            loop.call_later(SHORT, task.cancel)
            await asyncio.Event().wait()

    task = asyncio.create_task(stalled())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_ends_all_the_same(deadline: Deadlines) -> None:
    """A stall extends a deadline by its own length."""

    async def stalled() -> None:
        with deadline():
            time.sleep(2 * SHORT)  # noqa: ASYNC251 - what is tested
            await asyncio.Event().wait()

    with pytest.raises(BackendError):
        await stalled()


async def test_one_that_is_extended_for_long_holds_up_no_other(deadline: Deadlines) -> None:
    """What begins after a stall is over in its own time."""

    async def stalled() -> None:
        with deadline():
            time.sleep(10 * SHORT)  # noqa: ASYNC251 - what is tested
            await asyncio.Event().wait()

    extended = asyncio.create_task(stalled())
    await asyncio.sleep(SHORT / 10)
    with pytest.raises(BackendError):
        await never(deadline)
    assert not extended.done()
    with pytest.raises(BackendError):
        await extended


async def test_deadlines_of_several_lengths(deadline: Deadlines) -> None:
    """Each is over in its own time, whatever began meanwhile: the setting may change."""

    async def never_within(seconds: float) -> None:
        with deadline(seconds):
            await asyncio.Event().wait()

    slow = asyncio.create_task(never_within(SHORT))
    await asyncio.sleep(0)
    patient = asyncio.create_task(never_within(60))
    with pytest.raises(BackendError):
        await slow
    await asyncio.sleep(2 * SHORT)
    assert not patient.done()
    patient.cancel()


class _Caller:
    """Stands for a caller that a context holds."""


async def test_no_context_is_kept() -> None:
    """When it is done, the event loop holds no timer that would keep the caller until it is due."""
    deadline = Deadlines()
    who: ContextVar[_Caller] = ContextVar("who")

    async def submit() -> weakref.ref[_Caller]:
        caller = _Caller()
        who.set(caller)
        with deadline(60):
            await asyncio.sleep(0)
        return weakref.ref(caller)

    caller = await asyncio.create_task(submit())
    await asyncio.sleep(0)  # asyncio itself lets go of a task's context a step after its end
    gc.collect()
    assert caller() is None


async def _wait_on(docket: Docket) -> None:
    with Deadline(connection_of(docket).timers, SHORT):
        await asyncio.Event().wait()


def test_each_event_loop_has_its_own() -> None:
    """One that was closed with a deadline to come takes nothing into the next."""
    docket = Docket(name="never opened", url="memory://")
    for _ in range(2):
        with pytest.raises(BackendError):
            asyncio.run(_wait_on(docket))
