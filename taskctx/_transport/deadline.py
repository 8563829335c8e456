"""How long a save or a restore may take: one bound around all of it, retries included."""

from __future__ import annotations

import asyncio
from contextvars import Context
from types import TracebackType
from typing import cast
from weakref import WeakKeyDictionary

from ..errors import Reason, TaskContextError
from ..settings import current_settings


class BackendError(TaskContextError):
    """The server did not do what it was asked; ``reason`` says whether it was slow or refused."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class bounded:  # noqa: N801 - reads as a verb: ``async with bounded()``
    """Bound what is done inside by ``backend_timeout``.

    Time in which the event loop stood still is not the server's: an answer that came meanwhile is read first.

    Raises:
        BackendError: (``backend_timeout``) it took longer.
    """

    __slots__ = ("_cancelling", "_expired", "_extension", "_task", "_watch", "deadline")

    async def __aenter__(self) -> None:
        # as asyncio.timeout(), of which one a bound would cost as much again
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancelling = self._task.cancelling()
        self._expired = False
        self._extension: asyncio.TimerHandle | None = None
        self._watch = _watch(self._task.get_loop(), current_settings().backend_timeout)
        self.deadline = self._watch.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._extension is None:
            self._watch.remove(self)
            return
        self._extension.cancel()
        # somebody else may have cancelled the task too, and that goes on
        ours_alone = self._expired and self._task.uncancel() <= self._cancelling
        if ours_alone and isinstance(error, asyncio.CancelledError):
            raise BackendError(Reason.BACKEND_TIMEOUT) from None

    def extend(self, loop: asyncio.AbstractEventLoop) -> None:
        """The deadline is past: wait once more, for as long as the loop is late to see that.

        That is next to nothing, unless it stood still.
        """
        now = loop.time()
        self._extension = loop.call_at(now + (now - self.deadline), self._expire, context=Context())

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


class _Watch:
    """One timer for everything that is bounded by as many seconds: what began first is due first.

    A timer of its own for each would cost more than the rest of the bound, and keep its context, and so its caller,
    in the event loop until it fell due.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.seconds = seconds
        self._loop = loop
        self._under_way: dict[bounded, None] = {}
        self._armed = False

    def add(self, bound: bounded) -> float:
        """Watch it; gives its deadline, by the loop's clock."""
        deadline = self._loop.time() + self.seconds
        self._under_way[bound] = None
        if not self._armed:
            self._arm(deadline)
        return deadline

    def remove(self, bound: bounded) -> None:
        del self._under_way[bound]

    def _arm(self, deadline: float) -> None:
        self._armed = True
        self._loop.call_at(deadline, self._look, context=Context())

    def _look(self) -> None:
        self._armed = False
        for bound in list(self._under_way):
            if bound.deadline > self._loop.time():
                self._arm(bound.deadline)
                return
            del self._under_way[bound]
            bound.extend(self._loop)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = WeakKeyDictionary()


def _watch(loop: asyncio.AbstractEventLoop, seconds: float) -> _Watch:
    """That of an event loop; another one once the setting has changed."""
    watch = _watches.get(loop)
    if watch is None or watch.seconds != seconds:
        watch = _watches[loop] = _Watch(loop, seconds)
    return watch
