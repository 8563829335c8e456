"""An event loop that stands still just as an operation begins."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from taskctx.operations import Operation

MOMENT = 0.001
"""Seconds between stalls: in which an operation sends its next command, and its answer may not come yet."""


class Stall:
    """Blocks the event loop once an operation of a kind has begun, and again and again.

    It is an observer, so that a stall always meets an operation.  What travels together may ask the server only after
    the stall.

    Args:
        kind: of operation.
        seconds: for which the loop is blocked.
        every: seconds from the start of one stall to that of the next, at least.
        times: that the loop is blocked then, with a moment between them.
    """

    def __init__(self, kind: type[Operation], seconds: float, *, every: float = 0.0, times: int = 1) -> None:
        self._kind, self._seconds, self._every, self._times = kind, seconds, every, times
        self._due = time.monotonic()

    def on_start(self, operation: Operation) -> None:
        now = time.monotonic()
        if isinstance(operation, self._kind) and now >= self._due:
            self._due = now + self._every
            loop = asyncio.get_running_loop()
            loop.call_soon(self._block, loop, self._times)

    def _block(self, loop: asyncio.AbstractEventLoop, times: int) -> None:
        time.sleep(self._seconds)
        if times > 1:
            loop.call_later(MOMENT, self._block, loop, times - 1)

    def on_end(self, operation: Operation, state: None) -> None: ...

    def on_event(self, event: Any) -> None: ...
