"""What a docket's connection does with time: deadlines of those that waited, and the server's clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from docket import Docket

from taskctx._runtime import current_settings
from taskctx._transport import commands
from taskctx._transport.batch import Operation, Replies
from taskctx._transport.connection import Connection, connection_of
from taskctx._transport.deadline import Deadline


class Watched(Connection):
    """Keeps the deadlines that are in force when something is sent."""

    def __init__(self, docket: Docket) -> None:
        super().__init__(docket)
        self.alone: list[int] = []
        self.together: list[int] = []

    def _deadlines(self) -> int:
        return sum(len(timer.deadlines) for timer in self.timers.values())

    async def _send(self, operation: Operation) -> Replies:
        self.alone.append(self._deadlines())
        await asyncio.sleep(0)  # memory:// answers without waiting, so that no other operation comes meanwhile
        return await super()._send(operation)

    async def _travel(self, operations: Sequence[Operation]) -> list[Replies]:
        self.together.append(self._deadlines())
        return await super()._travel(operations)


async def test_only_those_who_waited_get_a_deadline_of_their_own(docket: Docket) -> None:
    """The first request has its caller's deadline; the batch of waiting requests has one of its own."""
    connection = Watched(docket)
    keys = [docket.key(f"taskctx:test:{number}") for number in range(3)]
    await asyncio.gather(*(commands.put(connection, key, b"{}", 60) for key in keys))
    assert (connection.alone, connection.together) == ([0], [1])


async def test_a_docket_has_one_connection(docket: Docket) -> None:
    """Every asyncio task gets the same connection of a docket."""

    async def ask() -> Connection:
        return connection_of(docket)

    assert connection_of(docket) is await asyncio.create_task(ask())


async def test_many_operations_of_one_caller_are_one_journey(docket: Docket) -> None:
    """Each has its own answer."""
    connection = Watched(docket)
    taken = docket.key("taskctx:test:1")
    await commands.put(connection, taken, b"taken", 60)
    entries = [(docket.key(f"taskctx:test:{number}"), f"{number}".encode(), 60) for number in range(3)]
    assert await commands.put_all_new(connection, entries) == [True, False, True]
    assert len(connection.together) == 1


async def test_the_servers_time(docket: Docket) -> None:
    """Seconds since the epoch; here the server is on this machine."""
    connection = connection_of(docket)
    before = time.time()
    with Deadline(connection.timers, current_settings().backend_timeout):
        found = await connection.server_time()
    assert before - 1 < found < time.time() + 1
