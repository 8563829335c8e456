"""The processes that the demo starts, each in a session of its own, so that Ctrl-C is the demo's to handle."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE
from asyncio.subprocess import Process as Subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import child
from .outcome import Problem

PACKAGE = __name__.rpartition(".")[0]
PATIENCE = 5.0
"""Seconds that a process has to stop by itself."""

STARTUP = 30.0
"""Seconds that a process has to get ready."""

CARRYING = ("TASKCTX_", "DOCKET_", "FASTMCP_", "OTEL_", "PROMETHEUS_")
KEPT = ("TASKCTX_ENCRYPTION_KEYS", "TASKCTX_KEY_PREFIX")
"""Variables that could change what is carried, or how a process is set up, are not handed on; these do neither."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that was started; ``log`` is what it wrote to stderr."""

    name: str
    log: Path
    _process: Subprocess = field(repr=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def announcement(self) -> str:
        """The first line that the process prints: where it can be reached."""
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        try:
            async with asyncio.timeout(STARTUP):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise Problem(f"{self.name} did not get ready within {STARTUP:.0f} seconds") from None
        if not line:
            await self._process.wait()
            raise self.problem()
        return line.decode().strip()

    def problem(self) -> Problem:
        """That the process ended, and the last it had to say."""
        return Problem(f"{self.name} ended with exit code {self._process.returncode}: {self.last_words() or 'silent'}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    async def stop(self) -> None:
        """End the process, whatever state it is in."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def start(name: str, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Process:
    """Start ``python -m`` with these arguments.  The process prepares itself as :mod:`.child` says."""
    log = directory / f"{name}.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=PIPE,
            stdout=PIPE if arguments[0].startswith(PACKAGE) else DEVNULL,
            stderr=stderr,
            env=_inherited() | {child.NAME: name, child.DIRECTORY: str(directory)} | dict(environment),
            start_new_session=True,
        )
    return Process(name, log, process)


async def stop(processes: Sequence[Process]) -> None:
    """Stop several at once."""
    await asyncio.gather(*(process.stop() for process in processes))


async def watch(processes: Sequence[Process]) -> None:
    """Wait until one of these ends, which none of them should.

    Raises:
        Problem: one did.
    """
    while True:
        for process in processes:
            if process.ended:
                raise process.problem()
        await asyncio.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(CARRYING)}
