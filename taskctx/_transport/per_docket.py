"""What there is one of for each docket, in each event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from docket import Docket

T = TypeVar("T")


class _Made(NamedTuple, Generic[T]):
    loop: asyncio.AbstractEventLoop
    thread: int
    thing: T


class PerDocket(Generic[T]):
    """One of something for each docket, and a new one when the docket is used in another event loop.

    The docket is held weakly, so what is made must not hold it otherwise.
    """

    def __init__(self, make: Callable[[Docket], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Docket, _Made[T]] = WeakKeyDictionary()

    def of(self, docket: Docket) -> T:
        made = self._made.get(docket)
        # A thread runs one loop at a time, so this is to say that the loop is another now.  Until Python 3.12
        # get_running_loop() asks the kernel for the process's id, which costs more than all else in here.
        if made is None or made.thread != threading.get_ident() or not made.loop.is_running():
            made = self._made[docket] = _Made(asyncio.get_running_loop(), threading.get_ident(), self._make(docket))
        return made.thing

    def clear(self) -> None:
        """Forget all, for tests."""
        self._made.clear()
