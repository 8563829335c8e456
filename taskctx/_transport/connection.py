"""The connection to Redis: one for each docket, with its lane, its batches, its retries and its clock.

Operations of concurrent tasks share a batch.  When the server refuses a batch, its operations are sent one by one.
When the server answers "later", the operation is tried again.  All other failures are a :class:`BackendError`.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from docket import Docket
from redis import exceptions as redis_errors

from .._caller.trace_context import resume_instrumentation, suppress_instrumentation
from .._runtime import current_settings
from ..errors import InvalidArgument, InvalidType
from ..operations import CommandRefused
from ..telemetry.observe import notify
from .answers import FAILURES, is_refusal
from .batch import Batch, OneByOne, Operation, Pipeline, Replies
from .deadline import Deadline, Timers
from .lane import Lane
from .retries import persist

T = TypeVar("T")


class _Made(NamedTuple, Generic[T]):
    loop: asyncio.AbstractEventLoop
    thread: int
    thing: T


class PerDocket(Generic[T]):
    """One object for each docket, and a new one when the docket is used in another event loop.

    The docket is the key of a weak mapping, so the object must not hold a strong reference to the docket.
    """

    def __init__(self, make: Callable[[Docket], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Docket, _Made[T]] = WeakKeyDictionary()

    def of(self, docket: Docket) -> T:
        made = self._made.get(docket)
        # A thread runs one loop at a time, so this detects another loop.  Until Python 3.12 get_running_loop()
        # asks the kernel for the process's id, which costs more than the rest of this function.
        if made is None or made.thread != threading.get_ident() or not made.loop.is_running():
            made = self._made[docket] = _Made(asyncio.get_running_loop(), threading.get_ident(), self._make(docket))
        return made.thing


CLOCK_CHECK_INTERVAL = 60.0
"""Seconds between two comparisons of this process's clock with the server's."""

IN_PROCESS = "memory:"


class Client(Protocol):
    """The methods that taskctx uses of a client: redis-py's, its cluster client, or burner-redis's."""

    def pipeline(self, *, transaction: bool = True) -> Pipeline: ...


class Connection:
    """The connection of one docket, in one event loop, to its server."""

    def __init__(self, docket: Docket) -> None:
        self.docket_name = docket.name
        self._docket = cast("Docket", weakref.proxy(docket))
        self.in_process = docket.url.startswith(IN_PROCESS)
        self._loop = asyncio.get_running_loop()
        self._lane: Lane[Operation, Replies] = Lane(self._send, self._send_batch)
        self.timers = Timers(self._loop)
        self._clock_offset = 0.0
        self._clock_due = time.monotonic()
        self._clock_asking = asyncio.Lock()

    async def run(self, operation: Operation, size: int = 0) -> Replies:
        """Do one operation; its values have ``size`` bytes.  Use a deadline around it: it has no timeout of its own.

        Raises:
            BackendError: the server could not be reached, or refused one of its commands.
        """
        try:
            replies = await self._lane.ask(operation, size)
            for reply in replies:
                if isinstance(reply, Exception):
                    return self._without_extra(operation, replies)
        except FAILURES as failure:
            apart = operation._replace(apart=True)

            async def again() -> Replies:
                return self._without_extra(apart, await self._lane.ask(apart, size))

            return await self._persist(again, None if operation.kind.script else failure)
        return replies

    async def run_all(self, operations: Sequence[Operation]) -> list[Replies]:
        """Do many operations of one caller, in one round trip of their own.  See :meth:`run`."""
        try:
            return await self._together(operations)
        except FAILURES as failure:
            apart = [operation._replace(apart=True) for operation in operations]

            async def again() -> list[Replies]:
                return await self._together(apart)

            in_scripts = any(operation.kind.script for operation in operations)
            return await self._persist(again, None if in_scripts else failure)

    def deadline(self) -> Deadline:
        """A deadline of ``backend_timeout`` (from the current settings)."""
        return Deadline(self.timers, current_settings().backend_timeout)

    def redis(self) -> AbstractAsyncContextManager[Any]:
        """The docket's own client, for commands that are no operation on a key."""
        return self._docket.redis()

    async def server_time(self) -> float:
        """The current time by the server's clock, in seconds since the epoch, so that two hosts can compare times.

        Ask within a deadline: the question has none of its own.

        The server is asked once a minute; in between, this is the local clock plus the last difference.  Where the
        server refuses to tell its time, it is the local clock.
        """
        if time.monotonic() >= self._clock_due:
            # one task asks the server, and the others wait for its answer
            async with self._clock_asking:
                if time.monotonic() >= self._clock_due:
                    self._clock_offset = await self._persist(self._clock_difference, None)
                    self._clock_due = time.monotonic() + CLOCK_CHECK_INTERVAL
        return time.time() + self._clock_offset

    async def _send(self, operation: Operation) -> Replies:
        """Send one operation by itself, within the deadline of the task that asked for it."""
        kind = operation.kind
        suppressed = suppress_instrumentation()
        try:
            async with self._docket.redis() as redis:
                client = cast("Pipeline", redis)
                if kind.queue is not None and kind.replies == 1 and not (self.in_process and kind.alone):
                    answer = kind.queue(client, operation)
                elif kind.script is not None and not (operation.apart or self.in_process):
                    sent = (len(operation.keys), *operation.keys, *operation.arguments)
                    answer = client.execute_command("EVALSHA", kind.script.sha, *sent)
                else:
                    (replies,) = await self._replies(cast("Client", redis), [operation])
                    return replies
                # a pipeline of one costs a quarter more: redis-py releases its connection in another asyncio task
                try:
                    return [await answer] if kind.queue is not None and kind.replies == 1 else (await answer)[0]
                except redis_errors.NoScriptError:
                    (replies,) = await self._replies(cast("Client", redis), [operation])
                    return replies
                except redis_errors.ResponseError as refused:
                    return [refused]
        finally:
            resume_instrumentation(suppressed)

    async def _send_batch(self, operations: Sequence[Operation]) -> list[Replies]:
        """Send the operations that waited, within a deadline of their own."""
        with self.deadline():
            return await self._travel(operations)

    async def _travel(self, operations: Sequence[Operation]) -> list[Replies]:
        suppressed = suppress_instrumentation()
        try:
            async with self._docket.redis() as client:
                return await self._replies(cast("Client", client), operations)
        finally:
            resume_instrumentation(suppressed)

    async def _replies(self, client: Client, operations: Sequence[Operation]) -> list[Replies]:
        # burner-redis's scripts lack some commands (TTL)
        batch = Batch(operations, scripts=not self.in_process)
        replies = await self._exchanged(client, batch)
        answers = batch.sorted(replies)
        for reply in replies:
            if isinstance(reply, redis_errors.NoScriptError):
                # at the first use, and after a restart or a failover
                await self._load(client, batch)
                return await self._again_with_scripts(client, operations, answers)
        return answers

    async def _again_with_scripts(
        self, client: Client, operations: Sequence[Operation], answers: list[Replies]
    ) -> list[Replies]:
        """Repeat only the operations that failed because their script was not loaded."""
        places = [place for place, (reply, *_) in enumerate(answers) if isinstance(reply, redis_errors.NoScriptError)]
        batch = Batch([operations[place] for place in places], scripts=not self.in_process)
        for place, replies in zip(places, batch.sorted(await self._exchanged(client, batch)), strict=True):
            answers[place] = replies
        return answers

    async def _exchanged(self, client: Client, batch: Batch) -> Replies:
        if batch.is_one_command and not self.in_process:
            # a pipeline of one command costs a quarter more: redis-py releases its connection in another asyncio task
            return [await _reply(batch.queue(cast("Pipeline", client)))]
        pipeline: Any = OneByOne(client) if self.in_process else client.pipeline(transaction=False)
        batch.queue(pipeline)
        return await pipeline.execute(raise_on_error=False)

    async def _load(self, client: Any, batch: Batch) -> None:
        """Load the batch's scripts into the server; in a cluster, into the one node with all keys of the docket."""
        if self.in_process:
            for script in batch.scripts:
                await client.script_load(script.text)
            return
        node_of = getattr(client, "get_node_from_key", None)
        where = {} if node_of is None else {"target_nodes": node_of(batch.any_key)}
        for script in batch.scripts:
            await client.execute_command("SCRIPT LOAD", script.text, **where)

    async def _together(self, operations: Sequence[Operation]) -> list[Replies]:
        answers = await self._travel(operations)
        return [self._without_extra(operation, replies) for operation, replies in zip(operations, answers, strict=True)]

    def _without_extra(self, operation: Operation, replies: Replies) -> Replies:
        """The replies, with None in place of the refusal of an optional command.

        Raises:
            RedisError: the server refused another command.
        """
        done = list(replies)
        for place, reply in enumerate(replies):
            if not isinstance(reply, Exception):
                continue
            extra = operation.kind.extra
            if extra is None or extra[1] != place or not is_refusal(reply):
                raise reply
            notify(CommandRefused(self.docket_name, extra[0]))
            done[place] = None
        return done

    async def _persist(self, again: Callable[[], Awaitable[T]], after: Exception | None) -> T:
        return await persist(again, after, self.timers.next_deadline)

    async def _clock_difference(self) -> float:
        """Seconds by which the server's clock is ahead of ours; 0 where the server refuses to tell its time."""
        suppressed = suppress_instrumentation()
        try:
            async with self._docket.redis() as client:
                ask = cast("Callable[[], Awaitable[Any]] | None", getattr(client, "time", None))
                if ask is None:
                    return 0.0  # memory:// runs in this process
                before = time.time()
                answer = await ask()
                after = time.time()
        except redis_errors.ResponseError as refused:
            if not is_refusal(refused):
                raise
            notify(CommandRefused(self.docket_name, "TIME"))
            return 0.0
        finally:
            resume_instrumentation(suppressed)
        if isinstance(answer, dict):
            # a cluster answers for each of its nodes
            answer = next(iter(cast("dict[str, Any]", answer).values()))
        seconds, microseconds = answer
        return seconds + microseconds / 1_000_000 - (before + after) / 2


connection_of = PerDocket(Connection).of
"""The connection of a docket in this event loop."""


def check_docket(docket: object) -> None:
    """Check that the argument is a Docket.

    Raises:
        InvalidType: the argument is not a Docket.
    """
    if not isinstance(docket, Docket):
        raise InvalidType(f"docket must be an open docket.Docket, not {type(docket).__name__}")


def check_open(docket: Docket) -> None:
    """Check that a docket is connected.  Docket itself raises AttributeError, which would look like a server failure.

    Raises:
        InvalidArgument: the docket is not connected.
    """
    # a private attribute, because Docket has no public one (tests/upstream/test_docket.py)
    if not docket._redis.is_connected:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        raise InvalidArgument("docket is not open (any more): submit inside of `async with Docket(...) as docket`")


async def _reply(answer: Awaitable[Any]) -> Any:
    """The answer to one command, or its error as a value, like a pipeline returns it."""
    try:
        return await answer
    except redis_errors.ResponseError as refused:
        return refused
