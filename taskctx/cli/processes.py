"""Processes that the demo, the benchmarks and the tests start: one harness that starts, watches and ends them.

    with Processes(directory) as processes:
        port = free_port()
        server = processes.start([sys.executable, "-m", "http.server", str(port)], name="server")
        await server.ready(lambda: listening(port))

Each has a log in ``directory`` and a pipe to its stdin, which the system closes if the starting process is killed.
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
"""Seconds that a process has to end by itself."""

STARTUP = 60.0
"""Seconds that a process has to get ready."""

HIDDEN = "[hidden]"


class ProcessError(Exception):
    """A process ended, or did not get ready.  The message says which, and the last that it wrote."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was started.

    Attributes:
        log: what it writes to stderr, and to stdout unless it ``talks``.
        secrets: what :attr:`output` does not show.
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
        """What is in its log by now."""
        text = self.log.read_text(errors="replace")
        for secret in filter(None, self.secrets):
            text = text.replace(secret, HIDDEN)
        return text

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        return next(reversed(self.output.strip().splitlines()), "silent").strip()

    async def ready(self, condition: Callable[[], object], timeout: float = STARTUP) -> None:
        """Wait until ``condition()``, or what it gives to await, is true.

        Raises:
            ProcessError: the process ended, or it took longer than ``timeout`` seconds.
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
        """Write a line to its stdin; that it has ended is seen elsewhere."""
        assert self.popen.stdin is not None  # noqa: S101 - it was started with a pipe
        with suppress(BrokenPipeError):
            self.popen.stdin.write(line.encode() + b"\n")
            self.popen.stdin.flush()

    def answer(self) -> str:
        """The next line that a process writes to stdout, which ``talks``.

        Raises:
            ProcessError: it ended instead.
        """
        assert self.popen.stdout is not None  # noqa: S101 - it was started with a pipe
        line = self.popen.stdout.readline()
        if not line:
            self.popen.wait()
            raise self.error()
        return line.decode().rstrip("\n")

    def end_orders(self) -> None:
        """Close its stdin."""
        if self.popen.stdin is not None:
            with suppress(BrokenPipeError):
                self.popen.stdin.close()

    def kill(self) -> None:
        """SIGKILL: it has no time to tidy up."""
        self.popen.kill()
        self.popen.wait()
        self.end_orders()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def stop(self, grace: float = GRACE) -> None:
        """SIGTERM, then SIGKILL for one that has not ended within ``grace`` seconds."""
        stop([self], grace)

    def error(self) -> ProcessError:
        """That it ended, and its last words."""
        return ProcessError(f"{self.name} ended with exit code {self.popen.returncode}: {self.last_words}")


def stop(processes: Collection[Process], grace: float = GRACE) -> None:
    """Stop several at once."""
    for process in processes:
        process.popen.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(max(0.0, deadline - time.monotonic()))
        process.kill()


@dataclass
class Processes:
    """Starts processes, and stops those that still run when its block ends: the last first.

    Attributes:
        directory: where the logs are.
        environment: of each process, before what :meth:`start` adds.
        cwd: the folder in which each is started, where :meth:`start` names no other.
        secrets: what no process's :attr:`Process.output` shows.
        own_sessions: have Ctrl-C not reach the processes.
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
            command: the program and its arguments, which others on the machine can read: no place for a credential.
            environment: more of its environment.
            name: in messages, and of the log, which a second process of this name adds to.
            cwd: where it is started.
            talks: its stdout is for :meth:`Process.answer`, not for its log.
        """
        name = name or f"process-{len(self.started)}"
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(  # noqa: S603 - our own command
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
        """See that all of them still run.

        Raises:
            ProcessError: one has ended.
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
    """Send this process SIGTERM when its stdin closes, so that it does not outlive the one that started it."""

    def wait() -> None:
        # not through sys.stdin, whose lock a thread must not hold when Python shuts down
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def listening(port: int) -> bool:
    """Whether something accepts connections on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that is free on every interface, and stays so but for the server that it is meant for.

    Not one that the system gives (``bind`` to port 0): that is from the range of outgoing connections, and taken by
    one of them before a server is up.
    """
    ports = _servers_ports()
    return next(port for port in random.sample(ports, len(ports)) if _claim(port))


def _servers_ports() -> range:
    """Above the services of the machine, and outside of what the system gives to outgoing connections."""
    try:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except OSError:
        first, last = 49_152, 65_535  # RFC 6335's, which macOS and Windows keep to
    return max(range(10_000, first), range(last + 1, 65_536), key=len)


def _claim(port: int) -> bool:
    try:
        with socket.socket() as probe:
            probe.bind(("", port))
        if sys.platform == "linux":
            # a name that one socket can have at a time, as a port, and that needs no file
            with socket.socket(socket.AF_UNIX) as claim:
                claim.bind(f"\0taskctx-port-{port}")
                # the system closes it when this process ends
                claim.detach()
    except OSError:
        return False
    return True
