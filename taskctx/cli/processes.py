"""Starts, watches and stops the processes of the demo, the benchmarks and the tests.

    with Processes(directory) as processes:
        port = free_port()
        server = processes.start([sys.executable, "-m", "http.server", str(port)], name="server")
        await server.ready(lambda: listening(port))

Each process has a log in ``directory`` and a pipe to its stdin.  The system closes the pipe if the starting process is
killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Self

GRACE = 10.0
"""Seconds for a process to end by itself after SIGTERM."""

STARTUP = 60.0
"""Seconds for a process to become ready."""

HIDDEN = "[hidden]"


class ProcessError(Exception):
    """A process ended, or did not become ready.  The message has its name and the last line of its log."""


@dataclass(frozen=True, slots=True)
class Process:
    """A started process.

    Attributes:
        log: the file with the process's stderr, and with its stdout unless the process ``talks``.
        secrets: texts that :attr:`output` does not show.
    """

    name: str
    popen: subprocess.Popen[bytes] = field(repr=False)
    log: Path
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    @property
    def output(self) -> str:
        """The current content of the log."""
        text = self.log.read_text(errors="replace")
        for secret in filter(None, self.secrets):
            text = text.replace(secret, HIDDEN)
        return text

    @property
    def last_words(self) -> str:
        """The last line of the log."""
        return next(reversed(self.output.strip().splitlines()), "silent").strip()

    async def ready(self, condition: Callable[[], object], timeout: float = STARTUP) -> None:
        """Wait until ``condition()``, or its awaited result, is true.

        Raises:
            ProcessError: the process ended, or the condition was not true within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            holds = condition()
            if await holds if isawaitable(holds) else holds:
                return
            if self.ended:
                raise self.error()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready within {timeout:.0f} seconds: {self.last_words}")
            await asyncio.sleep(0.02)

    def order(self, line: str) -> None:
        """Write a line to the process's stdin.  No error if the process has ended: other methods report that."""
        assert self.popen.stdin is not None  # noqa: S101 - started with a pipe
        with suppress(BrokenPipeError):
            self.popen.stdin.write(line.encode() + b"\n")
            self.popen.stdin.flush()

    def answer(self) -> str:
        """The next line that a process which ``talks`` writes to stdout.

        Raises:
            ProcessError: the process ended instead.
        """
        assert self.popen.stdout is not None  # noqa: S101 - started with a pipe
        line = self.popen.stdout.readline()
        if not line:
            self.popen.wait()
            raise self.error()
        return line.decode().rstrip("\n")

    def end_orders(self) -> None:
        """Close the process's stdin."""
        if self.popen.stdin is not None:
            with suppress(BrokenPipeError):
                self.popen.stdin.close()

    def kill(self) -> None:
        """Send SIGKILL: the process cannot clean up."""
        self.popen.kill()
        self.popen.wait()
        self.end_orders()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def stop(self, grace: float = GRACE) -> None:
        """Send SIGTERM, then SIGKILL if the process has not ended within ``grace`` seconds."""
        stop([self], grace)

    def error(self) -> ProcessError:
        """The error that the process has ended, with the last line of its log."""
        return ProcessError(f"{self.name} ended with exit code {self.popen.returncode}: {self.last_words}")


def stop(processes: Collection[Process], grace: float = GRACE) -> None:
    """Stop several processes at the same time."""
    for process in processes:
        process.popen.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(max(0.0, deadline - time.monotonic()))
        process.kill()


@dataclass
class Processes:
    """Starts processes, and at the end of its block stops those that still run: the last one first.

    Attributes:
        directory: the folder of the logs.
        environment: the environment of each process; :meth:`start` adds to it.
        cwd: the folder in which each process starts, unless :meth:`start` names another.
        secrets: texts that :attr:`Process.output` does not show.
        own_sessions: start each process in a session of its own, so that Ctrl-C does not reach it.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    cwd: Path | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    own_sessions: bool = False
    started: list[Process] = field(default_factory=list[Process])

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "",
        cwd: Path | None = None,
        talks: bool = False,
    ) -> Process:
        """Start a program.

        Args:
            command: the program and its arguments, without credentials: other users of the machine can read them.
            environment: more environment variables.
            name: the name in messages and of the log; a second process with the same name appends to the log.
            cwd: the folder in which the process starts.
            talks: read the process's stdout with :meth:`Process.answer` instead of writing it to the log.
        """
        name = name or f"process-{len(self.started)}"
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(  # noqa: S603 - a command of taskctx
                list(command),
                cwd=cwd or self.cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                env={**self.environment, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=self.own_sessions,
            )
        self.started.append(Process(name, popen, log, self.secrets))
        return self.started[-1]

    def check(self) -> None:
        """Check that all processes still run.

        Raises:
            ProcessError: a process has ended.
        """
        for process in self.started:
            if process.ended:
                raise process.error()

    def stop(self) -> None:
        for process in reversed(self.started):
            process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def end_with_parent() -> None:
    """Send this process SIGTERM when its stdin closes, so that it does not outlive the process that started it."""

    def wait() -> None:
        # not with sys.stdin: a thread must not hold its lock when Python shuts down
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def listening(port: int) -> bool:
    """Whether a server accepts connections on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that is free on every interface, and that no other caller of this function gets.

    The system's own choice (``bind`` to port 0) is not used: it comes from the range of outgoing connections, and one
    of them may take the port before the server starts.
    """
    ports = _servers_ports()
    return next(port for port in random.sample(ports, len(ports)) if _claim(port))


def _servers_ports() -> range:
    """The ports above the machine's own services and outside of the range of outgoing connections."""
    try:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except OSError:
        first, last = 49_152, 65_535  # the range of RFC 6335, which macOS and Windows use
    return max(range(10_000, first), range(last + 1, 65_536), key=len)


def _claim(port: int) -> bool:
    try:
        with socket.socket() as probe:
            probe.bind(("", port))
        if sys.platform == "linux":
            # an abstract socket name: like a port, only one socket can have it; it needs no file
            with socket.socket(socket.AF_UNIX) as claim:
                claim.bind(f"\0taskctx-port-{port}")
                # keep the socket open: the system closes it when this process ends
                claim.detach()
    except OSError:
        return False
    return True
