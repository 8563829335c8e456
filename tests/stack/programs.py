"""Finding the programs of a check, waiting for them, and an end in which they are stopped."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import httpx
import pytest

INSTALL = "apt-get install prometheus prometheus-alertmanager"


def program(*names: str, install: str = INSTALL) -> str:
    """Where a program is, under the first of its names that is there; without it the check fails."""
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(f"{names[0]} is not installed, and this check is nothing without it: {install}", pytrace=False)


@dataclass(frozen=True)
class Patience:
    """Waits for this and that, all in all no longer than until a deadline."""

    deadline: float

    def until(self, condition: Callable[[], object], at_most: float) -> bool:
        """Whether ``condition()`` became true in so many seconds.  A server that does not answer yet is no error."""
        deadline = min(self.deadline, time.monotonic() + at_most)
        while True:
            with suppress(httpx.TransportError):
                if condition():
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)


@contextmanager
def orderly_end() -> Generator[None]:
    """SIGTERM ends the check as Ctrl-C does, so that it stops what it started."""

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        pytest.exit("terminated", returncode=128 + signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
