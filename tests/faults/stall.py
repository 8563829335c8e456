"""An event loop that stands still just as an operation begins."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from taskctx.operations import Operation


class Stall:
    """Blocks the event loop once an operation of a kind has begun, and again and again.

    It is an observer, so that a stall always meets an operation.  What travels together may ask the server only after
    the stall.

    Args:
        kind: of operation.
        seconds: for which the loop is blocked.
        every: seconds from the start of one stall to that of the next, at least.
    """

    def __init__(self, kind: type[Operation], seconds: float, *, every: float = 0.0) -> None:
        self._kind, self._seconds, self._every = kind, seconds, every
        self._due = time.monotonic()

    def on_start(self, operation: Operation) -> None:
        now = time.monotonic()
        if isinstance(operation, self._kind) and now >= self._due:
            self._due = now + self._every
            asyncio.get_running_loop().call_soon(time.sleep, self._seconds)

    def on_end(self, operation: Operation, state: None) -> None: ...

    def on_event(self, event: Any) -> None: ...
