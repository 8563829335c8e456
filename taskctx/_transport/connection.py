"""The way to Redis: one connection for each docket, with its lane, its batches, its retries and its clock.

Operations of concurrent tasks travel together.  What is transient is tried again, and what goes wrong all the same is a
:class:`BackendError`.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from docket import Docket
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from .._caller.trace_context import resume_instrumentation, suppress_instrumentation
from .._runtime import current_settings
from ..errors import InvalidArgument, InvalidType, Reason
from .batch import Batch, OneByOne, Operation, Pipeline, Replies
from .deadline import BackendError, Deadline, Timers
from .lane import Lane

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


TRANSIENT = (
    redis_errors.ConnectionError,  # and BusyLoadingError, a server that is starting
    redis_errors.TimeoutError,
    redis_errors.ClusterDownError,
    redis_errors.ClusterError,  # redirected too often, in the middle of a move
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
)
FAILURES = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)
RETRIES = 4
CLOCK_CHECK_INTERVAL = 60.0
"""Seconds after which a process compares its clock with the server's again."""

IN_PROCESS = "memory:"
_WRONG_TYPE = "WRONGTYPE"
"""Begins the server's answer where the key holds a list, a hash, ...: something else writes there."""


class Client(Protocol):
    """What we use of a client: redis-py's, its cluster's, or burner-redis's."""

    def pipeline(self, *, transaction: bool = True) -> Pipeline: ...


class Connection:
    """The way from one docket, in one event loop, to its server."""

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
        """Do one operation, whose values are of ``size`` bytes.  It ends by itself only inside of a deadline.

        Raises:
            BackendError: the server could not be reached, or refused one of its commands.
        """
        try:
            replies = await self._lane.ask(operation, size)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        except FAILURES as failure:
            # what does many together may be what cannot be done: some keys of a slot that is being moved are elsewhere
            apart = operation._replace(apart=True)

            async def again() -> Replies:
                return _unrefused(await self._lane.ask(apart, size))

            return await _persist(failure, again)
        return replies

    async def run_all(self, operations: Sequence[Operation]) -> list[Replies]:
        """Do many operations of one caller, in one round trip of their own.  As :meth:`run`."""
        try:
            return [_unrefused(replies) for replies in await self._travel(operations)]
        except FAILURES as failure:
            apart = [operation._replace(apart=True) for operation in operations]

            async def again() -> list[Replies]:
                return [_unrefused(replies) for replies in await self._travel(apart)]

            return await _persist(failure, again)

    async def server_time(self) -> float:
        """Now, seconds since the epoch, by the server's clock: what two hosts can compare.

        One round trip a minute; in between, this process's clock with the difference found then.
        """
        if time.monotonic() >= self._clock_due:
            # one asks, and the others wait for the answer
            async with self._clock_asking:
                if time.monotonic() >= self._clock_due:
                    self._clock_offset = await self._ask_clock()
                    self._clock_due = time.monotonic() + CLOCK_CHECK_INTERVAL
        return time.time() + self._clock_offset

    async def _send(self, operation: Operation) -> Replies:
        """One operation by itself, in the time of who asks for it."""
        kind = operation.kind
        suppressed = suppress_instrumentation()
        try:
            async with self._docket.redis() as redis:
                client = cast("Pipeline", redis)
                if kind.replies == 1:
                    answer = kind.queue(client, operation)
                elif kind.script is not None and not (operation.apart or self.in_process):
                    answer = client.eval(kind.script, len(operation.keys), *operation.keys, *operation.arguments)
                else:
                    (replies,) = await self._replies(cast("Client", redis), [operation])
                    return replies
                # a pipeline of one costs a quarter more: redis-py gives its connection back in a task of its own
                try:
                    return [await answer] if kind.replies == 1 else (await answer)[0]
                except redis_errors.ResponseError as refused:
                    return [refused]
        finally:
            resume_instrumentation(suppressed)

    async def _send_batch(self, operations: Sequence[Operation]) -> list[Replies]:
        """Operations that waited travel in a time of their own."""
        with Deadline(self.timers, current_settings().backend_timeout):
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
        if batch.is_one_command:
            # a pipeline of one costs a quarter more: redis-py gives its connection back in a task of its own
            return batch.sorted([await _reply(batch.queue(cast("Pipeline", client)))])
        pipeline: Any = OneByOne(client) if self.in_process else client.pipeline(transaction=False)
        batch.queue(pipeline)
        return batch.sorted(await pipeline.execute(raise_on_error=False))

    async def _ask_clock(self) -> float:
        """Seconds by which the server's clock is ahead of ours."""
        try:
            return await self._clock_difference()
        except FAILURES as failure:
            return await _persist(failure, self._clock_difference)

    async def _clock_difference(self) -> float:
        suppressed = suppress_instrumentation()
        try:
            async with self._docket.redis() as client:
                ask = cast("Callable[[], Awaitable[Any]] | None", getattr(client, "time", None))
                if ask is None:
                    return 0.0  # memory:// is this process
                before = time.time()
                with Deadline(self.timers, current_settings().backend_timeout):
                    answer = await ask()
                after = time.time()
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
    """See that a docket is one.

    Raises:
        InvalidType: it is not.
    """
    if not isinstance(docket, Docket):
        raise InvalidType(f"docket must be an open docket.Docket, not {type(docket).__name__}")


def check_open(docket: Docket) -> None:
    """See that a docket is connected.  Docket itself fails with an AttributeError, and its server would be blamed.

    Raises:
        InvalidArgument: it is not.
    """
    # private, because Docket does not say (tests/upstream/test_docket.py)
    if not docket._redis.is_connected:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        raise InvalidArgument("docket is not open (any more): submit inside of `async with Docket(...) as docket`")


def _unrefused(replies: Replies) -> Replies:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def _reply(answer: Awaitable[Any]) -> Any:
    """The answer to one command, or the error that a pipeline would have given in its place."""
    try:
        return await answer
    except redis_errors.ResponseError as refused:
        return refused


async def _persist(failure: Exception, again: Callable[[], Awaitable[T]]) -> T:
    """Try again while that may help.  Each has its own tries: what travelled together need not go on together."""
    try:
        if not isinstance(failure, TRANSIENT):
            raise failure
        return await _RETRY.call_with_retry(again, _between_tries)
    except redis_errors.TimeoutError as error:
        raise BackendError(Reason.BACKEND_TIMEOUT, error) from None
    except FAILURES as error:
        is_foreign = isinstance(error, redis_errors.ResponseError) and str(error).startswith(_WRONG_TYPE)
        raise BackendError(Reason.MALFORMED if is_foreign else Reason.BACKEND_ERROR, error) from None


_RETRY = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), RETRIES, supported_errors=TRANSIENT)


async def _between_tries(error: Exception) -> None:
    """There is nothing to tidy up: each try takes a connection of its own."""
