"""Commands of concurrent tasks travel together.

What comes first goes straight out.  What comes while that is under way waits, and leaves in one pipeline when the
answer is there; so a caller alone waits for nobody, and many at a time share their round trips.  There is no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any, Generic, NamedTuple, TypeVar

MAX_COMMANDS = 256
MAX_BYTES = 1024 * 1024
"""What travels together at most; one request that is larger goes alone."""

C = TypeVar("C")


Replies = list[Any]
"""One for each command; an exception where the server refused it."""

Send = Callable[[Sequence[C]], Awaitable[Replies]]


class _Waiting(NamedTuple, Generic[C]):
    commands: Sequence[C]
    size: int
    replies: asyncio.Future[Replies]


class Lane(Generic[C]):
    """One for each docket, in one event loop.

    A caller that is cancelled leaves alone, and takes nobody with it.  An error on the way is everybody's who travelled
    together; a command that the server refuses is its caller's alone.
    """

    def __init__(self, bound: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """``bound`` limits the time of a journey of those who waited; who goes straight out brings a limit along."""
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting[C]] = deque()
        self._busy = False
        self._drain: asyncio.Task[None] | None = None

    async def run(self, commands: Sequence[C], send: Send[C], size: int = 0) -> Replies:
        """Have one caller's commands sent, at once or with those of others.

        Args:
            commands: each has one answer.
            send: must come to an end inside of such a limit.
            size: of the values in the commands, in bytes.
        """
        if self._busy:
            replies: asyncio.Future[Replies] = self._loop.create_future()
            self._waiting.append(_Waiting(commands, size, replies))
            return await replies
        self._busy = True
        try:
            return await send(commands)
        finally:
            self._go_on(send)

    def _go_on(self, send: Send[C]) -> None:
        """Those who wait do not travel in the time, nor in the context, of the one who came first."""
        if self._waiting:
            # not every task factory takes a context
            self._drain = Context().run(self._loop.create_task, self._send_waiting(send))
        else:
            self._busy = False

    async def _send_waiting(self, send: Send[C]) -> None:
        try:
            while together := self._next():
                try:
                    async with self._bound():
                        replies = await send([command for each in together for command in each.commands])
                except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                    _fail(together, error)
                except BaseException:
                    _cancel(together)
                    raise
                else:
                    _hand_out(together, replies)
        finally:
            # reached with somebody waiting only when the event loop is being shut down
            _cancel(self._waiting)
            self._waiting.clear()
            self._busy = False

    def _next(self) -> list[_Waiting[C]]:
        together: list[_Waiting[C]] = []
        commands = size = 0
        while self._waiting:
            first = self._waiting[0]
            commands, size = commands + len(first.commands), size + first.size
            if together and (commands > MAX_COMMANDS or size > MAX_BYTES):
                break
            self._waiting.popleft()
            if not first.replies.done():
                together.append(first)
        return together


def _hand_out(together: Sequence[_Waiting[C]], replies: Replies) -> None:
    start = 0
    for waiting in together:
        end = start + len(waiting.commands)
        if not waiting.replies.done():
            waiting.replies.set_result(replies[start:end])
        start = end


def _fail(together: Sequence[_Waiting[C]], error: Exception) -> None:
    for waiting in together:
        if not waiting.replies.done():
            waiting.replies.set_exception(error)


def _cancel(together: Sequence[_Waiting[C]] | deque[_Waiting[C]]) -> None:
    for waiting in together:
        waiting.replies.cancel()
