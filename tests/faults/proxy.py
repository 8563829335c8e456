"""A TCP proxy before a server, that does to connections what networks do."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from random import Random

CHUNK = 65_536
BREAK = 0.001
BREAK_EVERY = 50
"""Seconds, and bytes on average."""

SEED = "TASKCTX_FAULTS_SEED"
"""Environment variable: the seed of a run that is to be repeated."""

_WRITES = {
    "SET NX": rb"\r\nNX\r\n",
    "SET": rb"\r\nSET\r\n",
    "EXPIRE": rb"\r\nEXPIRE\r\n",
    "EVALSHA": rb"\r\nEVALSHA\r\n",
}

_SCHEDULES = b"\r\nfunction\r\n"
"""In Docket's script that schedules a task."""


def new_random() -> Random:
    """Seeded with a number that a failing test shows."""
    seed = int(os.environ.get(SEED) or Random().randrange(2**32))
    print(f"{SEED}={seed}")  # noqa: T201
    return Random(seed)


class Way(Enum):
    COMMAND = "command"
    REPLY = "reply"


@dataclass
class Proxy:
    """Forwards what clients and the server say, piece by piece: a piece is what was there to be read at once.

    Attributes:
        life: a connection is cut within, on average, so many pieces; 0 is never.
        trickles: replies are sent byte by byte, with breaks.
        stall: seconds for which the reply to a command of ours stops halfway, one in two; 0 is never.
        cuts: connections cut, by what was cut in the middle.
        unanswered: writes to keys of ours that the server was sent in full, and whose answer was cut, by command.
        unheard: times that Docket was to schedule something, and its answer was cut.
    """

    target: int
    random: Random
    life: int = 0
    trickles: bool = False
    stall: float = 0.0
    port: int = 0
    cuts: Counter[Way] = field(default_factory=Counter[Way])
    unanswered: Counter[str] = field(default_factory=Counter[str])
    unheard: int = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Proxy]:
        links: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            links.add(asyncio.create_task(self._serve(reader, writer)))

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            yield self
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        link = _Link(self, writer, to_server)
        ways = [
            asyncio.create_task(link.forward(Way.COMMAND, reader)),
            asyncio.create_task(link.forward(Way.REPLY, from_server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            link.close()


@dataclass
class _Link:
    """One client's connection and its other half."""

    proxy: Proxy
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    _last_command: bytes = b""

    async def forward(self, way: Way, reader: asyncio.StreamReader) -> None:
        writer = self.server if way is Way.COMMAND else self.client
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                if way is Way.COMMAND:
                    self._last_command = piece
                if self.proxy.life and not self.proxy.random.randrange(self.proxy.life):
                    await self._cut(way, piece, writer)
                    return
                if way is Way.REPLY:
                    piece = await self._delayed(piece)
                writer.write(piece)
                await writer.drain()

    async def _delayed(self, reply: bytes) -> bytes:
        """Hand the first part of a reply to the client, slowly; gives what is left of it."""
        random = self.proxy.random
        if self.proxy.trickles:
            for at in range(len(reply)):
                self.client.write(reply[at : at + 1])
                await asyncio.sleep(0 if random.randrange(BREAK_EVERY) else BREAK)
            return b""
        if self.proxy.stall and self._is_ours and random.randrange(2):
            half = random.randrange(len(reply))
            self.client.write(reply[:half])
            await asyncio.sleep(self.proxy.stall)
            return reply[half:]
        return reply

    @property
    def _is_ours(self) -> bool:
        return b":taskctx:" in self._last_command

    async def _cut(self, way: Way, piece: bytes, writer: asyncio.StreamWriter) -> None:
        """Let through the first bytes, and close both sides."""
        writer.write(piece[: self.proxy.random.randrange(len(piece))])
        await writer.drain()
        self.proxy.cuts[way] += 1
        if way is Way.REPLY and _SCHEDULES in self._last_command:
            self.proxy.unheard += 1
        if way is Way.REPLY and self._is_ours:
            self.proxy.unanswered.update(name for name, sign in _WRITES.items() if re.search(sign, self._last_command))

    def close(self) -> None:
        self.client.close()
        self.server.close()
