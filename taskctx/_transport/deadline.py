"""The time limit of a save or a restore: one deadline around all of it, retries included."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from types import TracebackType
from typing import cast

from ..errors import Reason, TaskContextError
from .causes import cause_of

EXTENSIONS = 10
"""How often a deadline is extended.  An answer needs fewer turns of the event loop from the socket to the task."""


class BackendError(TaskContextError):
    """The server did not do an operation.

    Attributes:
        reason: ``backend_timeout`` or ``backend_error``, or ``malformed`` where the key holds another type.
        cause: the text of the :class:`Cause`, where it is known.
    """

    def __init__(self, reason: Reason, failure: BaseException | None = None) -> None:
        """``failure`` is the client's exception."""
        super().__init__(reason)
        self.reason = reason
        cause = None if failure is None else cause_of(failure)
        self.cause = None if cause is None else str(cause)


class Deadline:
    """Cancels a ``with`` block after so many seconds.

    A blocked event loop is not the server's fault: an answer that came while the loop was blocked is still read.

    Raises:
        BackendError: (``backend_timeout``) the block took longer.
    """

    __slots__ = ("_cancelling", "_timer", "at", "extensions", "task")

    def __init__(self, timers: Timers, seconds: float) -> None:
        self._timer = timers[seconds]

    def __enter__(self) -> None:
        # like asyncio.timeout(), at a third of its cost
        timer = self._timer
        # with the loop as argument: until Python 3.12, finding the loop asks the kernel for the process's id
        self.task = cast("asyncio.Task[object]", asyncio.current_task(timer.loop))
        self._cancelling = self.task.cancelling()
        self.extensions = EXTENSIONS
        self.at = timer.loop.time() + timer.seconds
        timer.deadlines[self] = None
        if not timer.armed:
            timer.arm(self.at)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.extensions >= 0:
            del self._timer.deadlines[self]
            return
        # other code may have cancelled the task too: that cancellation continues
        if self.task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            # the failure before the last retry is behind this error
            raise BackendError(Reason.BACKEND_TIMEOUT, error) from None

    def extend(self, now: float) -> bool:
        """At the deadline, wait once more for the time by which the event loop is late; False after the last extension.

        That time is close to zero, unless the loop was blocked.  An operation that takes several round trips, such as
        one whose script must be loaded, waits for its server again after each stall.
        """
        self.extensions -= 1
        self.at = now + (now - self.at)
        if self.extensions < 0:
            self.task.cancel()
        return self.extensions >= 0


class Timer:
    """One timer for all deadlines of the same length in one event loop: the oldest deadlines expire first.

    A timer for each deadline would cost more than the rest of the deadline.  The event loop would also keep its
    context, and so its caller, until the timer fires.
    """

    __slots__ = ("armed", "deadlines", "loop", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self.seconds = seconds
        self.deadlines: dict[Deadline, None] = {}
        self.armed = False

    def arm(self, at: float) -> None:
        """Check the deadlines at a time by the loop's clock."""
        self.armed = True
        self.loop.call_at(at, self._look, context=Context())

    def _look(self) -> None:
        self.armed = False
        now = self.loop.time()
        soonest = now + self.seconds  # of a deadline that begins now
        for deadline in list(self.deadlines):
            if deadline.at <= now and not deadline.extend(now):
                del self.deadlines[deadline]
                continue
            soonest = min(soonest, deadline.at)
            if deadline.extensions == EXTENSIONS:
                break  # the others began later
        if self.deadlines:
            self.arm(soonest)


class Timers(dict[float, Timer]):
    """The timers of one event loop, by their length in seconds: there is one, unless the setting changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def __missing__(self, seconds: float) -> Timer:
        timer = self[seconds] = Timer(self._loop, seconds)
        return timer

    def next_deadline(self) -> float:
        """The time of the current task's next deadline, by the loop's clock."""
        task = asyncio.current_task(self._loop)
        return min(
            (each.at for timer in self.values() for each in timer.deadlines if each.task is task), default=math.inf
        )
