"""How long a save or a restore may take: one deadline around all of it, retries included."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from types import TracebackType
from typing import cast

from ..errors import Reason, TaskContextError
from .causes import cause_of

TURNS = 10
"""Turns of the event loop in which an answer comes from the socket to whoever waits for it: more than it needs."""


class BackendError(TaskContextError):
    """The server did not do what it was asked.

    Attributes:
        reason: whether it was slow, or refused.
        cause: what kept us from it, where that is known.
    """

    def __init__(self, reason: Reason, failure: BaseException | None = None) -> None:
        """``failure`` is what the client raised."""
        super().__init__(reason)
        self.reason = reason
        cause = None if failure is None else cause_of(failure)
        self.cause = None if cause is None else str(cause)


class Deadline:
    """Ends what is done inside a ``with`` block after so many seconds.

    Time in which the event loop stood still is not the server's: an answer that came meanwhile is read first.

    Raises:
        BackendError: (``backend_timeout``) the block took longer.
    """

    __slots__ = ("_cancelling", "_expired", "_extension", "_timer", "at", "task")

    def __init__(self, timers: Timers, seconds: float) -> None:
        self._timer = timers[seconds]

    def __enter__(self) -> None:
        # as asyncio.timeout(), of which one a deadline would cost three times as much
        timer = self._timer
        # with its loop given, asyncio need not find it out: until Python 3.12 that asks the kernel for the process's id
        self.task = cast("asyncio.Task[object]", asyncio.current_task(timer.loop))
        self._cancelling = self.task.cancelling()
        self._expired = False
        self._extension: asyncio.Handle | None = None
        self.at = timer.loop.time() + timer.seconds
        timer.deadlines[self] = None
        if not timer.armed:
            timer.arm(self.at)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._extension is None:
            del self._timer.deadlines[self]
            return
        self._extension.cancel()
        # the task may have been cancelled by others too, and that goes on
        ours_alone = self._expired and self.task.uncancel() <= self._cancelling
        if ours_alone and isinstance(error, asyncio.CancelledError):
            # what was about to be tried again is behind it
            raise BackendError(Reason.BACKEND_TIMEOUT, error) from None

    def extend(self, loop: asyncio.AbstractEventLoop) -> None:
        """The deadline is past: wait once more, for as long as the loop is late to see that.

        That is next to nothing, unless it stood still.
        """
        self._extension = loop.call_at(2 * loop.time() - self.at, self._expire, loop, TURNS, context=Context())

    def _expire(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """End it after so many turns of the loop, which may have stood still once more."""
        self._expired = not turns
        if self._expired:
            self.task.cancel()
        else:
            self._extension = loop.call_soon(self._expire, loop, turns - 1, context=Context())


class Timer:
    """One timer for all deadlines of as many seconds in one event loop: what began first is due first.

    A timer of its own for each would cost more than the rest of the deadline, and keep its context, and so its caller,
    in the event loop until it fell due.
    """

    __slots__ = ("armed", "deadlines", "loop", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self.seconds = seconds
        self.deadlines: dict[Deadline, None] = {}
        self.armed = False

    def arm(self, at: float) -> None:
        """Look at the deadlines at this time, by the loop's clock."""
        self.armed = True
        self.loop.call_at(at, self._look, context=Context())

    def _look(self) -> None:
        self.armed = False
        for deadline in list(self.deadlines):
            if deadline.at > self.loop.time():
                self.arm(deadline.at)
                return
            del self.deadlines[deadline]
            deadline.extend(self.loop)


class Timers(dict[float, Timer]):
    """The timers of one event loop, by their seconds: there is one, unless the setting changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def __missing__(self, seconds: float) -> Timer:
        timer = self[seconds] = Timer(self._loop, seconds)
        return timer

    def next_deadline(self) -> float:
        """When the current task's first deadline falls due, by the loop's clock."""
        task = asyncio.current_task(self._loop)
        return min(
            (each.at for timer in self.values() for each in timer.deadlines if each.task is task), default=math.inf
        )
