"""Something done to a coroutine at a chosen one of its awaits, so that a test can go through all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Interrupted(Generic[T]):
    """Awaits ``inner``, and calls ``interrupt`` at its n-th suspension, counted from 1.

    Attributes:
        reached: it came that far.

    Args:
        answered: wait until what is awaited there has come, though ``inner`` has not seen it; else it has only just been
            asked for.
        hold: let ``inner`` wait there until it is cancelled.
    """

    def __init__(
        self,
        inner: Awaitable[T],
        nth: int,
        interrupt: Callable[[], object],
        *,
        answered: bool = False,
        hold: bool = False,
    ) -> None:
        self.reached = False
        self._inner = inner
        self._nth = nth
        self._interrupt = interrupt
        self._answered = answered
        self._hold = hold

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._inner.__await__()
        step: Callable[[], Any] = partial(next, steps)
        suspensions = 0
        while True:
            try:
                awaited = step()
            except StopIteration as stop:
                return stop.value
            suspensions += 1
            try:
                sent = yield from self._wait(awaited, here=suspensions == self._nth)
            except BaseException as error:  # noqa: BLE001
                step = partial(steps.throw, error)
            else:
                step = partial(steps.send, sent)

    async def run(self) -> T:
        """The same, as what makes a task."""
        return await self

    def _wait(self, awaited: asyncio.Future[Any] | None, *, here: bool) -> Generator[Any, Any, Any]:
        """Wait for what ``inner`` waits for."""
        if not here:
            return (yield awaited)
        self.reached = True
        loop = asyncio.get_running_loop()
        if self._hold:
            yield awaited
            self._interrupt()
            return (yield from loop.create_future())
        if self._answered and awaited is not None:
            awaited.add_done_callback(lambda _: self._interrupt())
        else:
            loop.call_soon(self._interrupt)
        return (yield awaited)


class FirstExecution:
    """The first task that a worker of this event loop begins, interrupted at its n-th await.

    Args:
        interrupt: is given the task; ``how`` is the rest of :class:`Interrupted`.
    """

    def __init__(self, nth: int, interrupt: Callable[[asyncio.Task[Any]], object], **how: bool) -> None:
        self._nth = nth
        self._interrupt = interrupt
        self._how = how
        self._steps: Interrupted[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def reached(self) -> bool:
        return self._steps is not None and self._steps.reached

    @contextmanager
    def watched(self) -> Generator[None]:
        """Take the first one that begins while the block lasts."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make_task)
        try:
            yield
        finally:
            loop.set_task_factory(None)

    def _make_task(self, loop: asyncio.AbstractEventLoop, inner: Any, **options: Any) -> asyncio.Task[Any]:
        if self._task is not None or inner.__qualname__ != "Worker._execute":
            return asyncio.Task(inner, loop=loop, **options)
        self._steps = Interrupted(inner, self._nth, self._cut_off, **self._how)
        self._task = asyncio.Task(self._steps.run(), loop=loop, **options)
        return self._task

    def _cut_off(self) -> object:
        assert self._task is not None
        return self._interrupt(self._task)
