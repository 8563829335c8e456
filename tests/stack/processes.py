"""Starting real programs, waiting for them, and stopping every one of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx
import pytest

ROOT = Path(__file__).parents[2]
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


@dataclass
class Process:
    """A running program, its output in a file."""

    popen: subprocess.Popen[bytes]
    log: Path

    def order(self, line: str) -> None:
        """Write a line to its stdin; that it is gone is seen elsewhere."""
        assert self.popen.stdin is not None
        with suppress(BrokenPipeError):
            self.popen.stdin.write(line.encode() + b"\n")
            self.popen.stdin.flush()

    def kill(self) -> None:
        """SIGKILL: it has no time to tidy up."""
        self.popen.kill()
        self.popen.wait()


@dataclass
class Processes:
    """Programs, each with a log in ``directory``."""

    directory: Path
    started: list[Process] = field(default_factory=list[Process])

    def start(self, name: str, command: Sequence[str], **environment: str) -> Process:
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                list(command),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment,
            )
        self.started.append(Process(popen, log))
        return self.started[-1]

    def python(self, name: str, *arguments: str, **environment: str) -> Process:
        return self.start(name, [sys.executable, "-m", *arguments], **environment)

    def stop_all(self) -> None:
        """SIGTERM to all, then SIGKILL for those that do not listen."""
        for process in self.started:
            process.popen.terminate()
        deadline = time.monotonic() + 5
        for process in reversed(self.started):
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            process.kill()
            if process.popen.stdin is not None:
                with suppress(BrokenPipeError):
                    process.popen.stdin.close()


@contextmanager
def running_processes(directory: Path) -> Generator[Processes]:
    """Programs that do not outlive the block."""
    processes = Processes(directory)
    try:
        yield processes
    finally:
        processes.stop_all()


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
