"""The way to Redis: one lane for each docket, one bound, one kind of error.

Commands are tried again while what keeps them is transient, run with instrumentation suppressed, and raise nothing but
:class:`BackendError`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from docket import Docket
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from .._caller.trace_context import instrumentation_suppressed
from ..errors import InvalidArgument, InvalidType, Reason
from .bulk import Batch, Bulk, Command, Pipeline, error_in
from .deadline import BackendError, bounded
from .lane import Lane, Replies

T = TypeVar("T")

TRANSIENT = (
    redis_errors.ConnectionError,  # and BusyLoadingError, a server that is starting
    redis_errors.TimeoutError,
    redis_errors.ClusterDownError,
    redis_errors.ClusterError,  # redirected too often, in the middle of a move
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
)
_FAILURES = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)
RETRIES = 4
MAX_CONCURRENT_ADDS = 64
"""For each docket; its pool has 100 connections."""
_MEMORY = "memory:"
_WRONG_TYPE = "WRONGTYPE"
"""Begins the server's answer where the key holds a list, a hash, ...: something else writes there."""


class Client(Protocol):
    """What we use of a client: redis-py's, its cluster's, or burner-redis's."""

    def pipeline(self, *, transaction: bool = True) -> Pipeline: ...


async def run(docket: Docket, *items: Command | Bulk, size: int = 0) -> Replies:
    """Send commands, whose values are of ``size`` bytes, together with those of other tasks on this docket.

    It ends by itself only inside of :class:`bounded`.  Gives one answer for each command; for a :class:`Bulk`, a list.
    """
    try:
        return await _travel(docket, items, size)
    except _FAILURES as failure:
        # what does them together may be what cannot be done: some keys of a slot that is being moved are elsewhere
        apart = [item._replace(apart=True) if isinstance(item, Bulk) else item for item in items]
        return await _persist(failure, lambda: _travel(docket, apart, size))


async def call(docket: Docket, send: Callable[[Any], Awaitable[T]]) -> T:
    """Have ``send`` use the docket's client on its own: for what no pipeline takes."""

    async def once() -> T:
        with instrumentation_suppressed():
            async with docket.redis() as client, bounded():
                return await send(client)

    try:
        return await once()
    except _FAILURES as failure:
        return await _persist(failure, once)


async def _travel(docket: Docket, items: Sequence[Command | Bulk], size: int) -> Replies:
    """There and back, with those of others; what the server refused is raised."""
    answers = await _lanes.of(docket).run(items, partial(_send, docket), size)
    for answer in answers:
        if refused := error_in(answer):
            raise refused
    return answers


async def _send(docket: Docket, items: Sequence[Command | Bulk]) -> Replies:
    with instrumentation_suppressed():
        async with docket.redis() as redis:
            client, memory = cast("Client", redis), docket.url.startswith(_MEMORY)
            # burner-redis's scripts lack some commands (TTL)
            batch = Batch(items, scripts=not memory)
            if len(batch.commands) == 1:
                # a pipeline of one costs a quarter more: redis-py gives its connection back in a task of its own
                return batch.answers([await _alone(client, batch.commands[0])])
            # burner-redis's takes no arguments, and knows no transactions
            pipeline = client.pipeline() if memory else client.pipeline(transaction=False)
            for command in batch.commands:
                command(pipeline)
            return batch.answers(await pipeline.execute(raise_on_error=False))


async def _alone(client: Client, command: Command) -> Any:
    """The answer to one command, or the error that a pipeline would have given in its place."""
    try:
        return await cast("Awaitable[Any]", command(cast("Pipeline", client)))
    except redis_errors.ResponseError as refused:
        return refused


async def _persist(failure: Exception, again: Callable[[], Awaitable[T]]) -> T:
    """Try again while that may help.  Each caller has its own tries: who travelled together need not go on together."""
    try:
        if not isinstance(failure, TRANSIENT):
            raise failure
        return await _RETRY.call_with_retry(again, _between_tries)
    except redis_errors.TimeoutError:
        raise BackendError(Reason.BACKEND_TIMEOUT) from None
    except redis_errors.ResponseError as error:
        reason = Reason.MALFORMED if str(error).startswith(_WRONG_TYPE) else Reason.BACKEND_ERROR
    except _FAILURES:
        reason = Reason.BACKEND_ERROR
    raise BackendError(reason)


_RETRY = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), RETRIES, supported_errors=TRANSIENT)


async def _between_tries(error: Exception) -> None:
    """Nothing to tidy up: each try takes a connection of its own."""


class _Made(NamedTuple, Generic[T]):
    loop: asyncio.AbstractEventLoop
    thread: int
    thing: T


class PerDocket(Generic[T]):
    """One of something for each docket, and a new one when the docket is used in another event loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Docket, _Made[T]] = WeakKeyDictionary()

    def of(self, docket: Docket) -> T:
        made = self._made.get(docket)
        # A thread runs one loop at a time, so this is to say that the loop is another now.  Until Python 3.12
        # get_running_loop() asks the kernel for the process's id, which costs more than all else in here.
        if made is None or made.thread != threading.get_ident() or not made.loop.is_running():
            made = self._made[docket] = _Made(asyncio.get_running_loop(), threading.get_ident(), self._make())
        return made.thing

    def clear(self) -> None:
        """Forget all, for tests."""
        self._made.clear()


_lanes: PerDocket[Lane[Command | Bulk]] = PerDocket(lambda: Lane(bounded))
_gates: PerDocket[asyncio.Semaphore] = PerDocket(lambda: asyncio.Semaphore(MAX_CONCURRENT_ADDS))


def gate(docket: Docket) -> asyncio.Semaphore:
    """What Docket's own calls pass through: redis-py's pool does not queue for connections, it raises.

    Saves that travel together are done together, and so would be at Docket's door all at once.
    """
    return _gates.of(docket)


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
