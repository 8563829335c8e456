"""The way to Redis: one lane for each docket, one bound, one kind of error.

Commands are tried again while what keeps them is transient, run with instrumentation suppressed, and raise nothing but
:class:`BackendError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from docket import Docket
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from ._bounded import BackendError, bounded
from ._lane import Lane, Replies, Request
from ._propagation import instrumentation_suppressed
from .errors import Reason

T = TypeVar("T")

TRANSIENT = (
    redis_errors.ConnectionError,  # and BusyLoadingError, a server that is starting
    redis_errors.TimeoutError,
    redis_errors.ClusterDownError,
    redis_errors.ClusterError,  # redirected too often, in the middle of a move
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
)
RETRIES = 4
MAX_CONCURRENT_ADDS = 64
"""For each docket; its pool has 100 connections."""
_WRONG_TYPE = "WRONGTYPE"
"""Begins the server's answer where the key holds a list, a hash, ...: something else writes there."""


class Pipeline(Protocol):
    def get(self, name: str) -> Any: ...
    def ttl(self, name: str) -> Any: ...
    def set(self, name: str, value: bytes, *, ex: int, nx: bool = False) -> Any: ...
    def expire(self, name: str, time: int) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes) -> Any: ...
    async def execute(self, raise_on_error: bool = True) -> Replies: ...


class Client(Protocol):
    """What we use of a client: redis-py's, its cluster's, or burner-redis's."""

    def pipeline(self, *, transaction: bool = True) -> Pipeline: ...


Command = Callable[[Pipeline], object]
"""Puts one command into a pipeline."""


async def run(docket: Docket, *commands: Command, size: int = 0) -> Replies:
    """Send commands, whose values are of ``size`` bytes, together with those of other tasks on this docket.

    Gives one answer for each.
    """
    request = Request(commands, size)

    async def once() -> Replies:
        replies = await _lanes.of(docket).run(request, lambda commands: _send(docket, commands))
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    return await _persist(once)


async def call(docket: Docket, send: Callable[[Any], Awaitable[T]]) -> T:
    """Have ``send`` use the docket's client on its own: for what no pipeline takes."""

    async def once() -> T:
        with instrumentation_suppressed():
            async with docket.redis() as client, bounded():
                return await send(client)

    return await _persist(once)


async def _send(docket: Docket, commands: Sequence[Command]) -> Replies:
    with instrumentation_suppressed():
        async with docket.redis() as client, bounded():
            if len(commands) == 1:
                # a pipeline of one costs a quarter more: redis-py gives its connection back in a task of its own
                return [await _alone(cast("Client", client), commands[0])]
            pipeline = _pipeline_of(cast("Client", client))
            for command in commands:
                command(pipeline)
            return await pipeline.execute(raise_on_error=False)


async def _alone(client: Client, command: Command) -> Any:
    """The answer to one command, or the error that a pipeline would have given in its place."""
    try:
        return await cast("Awaitable[Any]", command(cast("Pipeline", client)))
    except redis_errors.ResponseError as refused:
        return refused


async def _persist(once: Callable[[], Awaitable[T]]) -> T:
    """Try again while that may help.  Each caller has its own tries: who travelled together need not go on together."""
    try:
        try:
            return await once()
        except TRANSIENT:
            return await _RETRY.call_with_retry(once, _between_tries)
    except redis_errors.TimeoutError:
        raise BackendError(Reason.BACKEND_TIMEOUT) from None
    except redis_errors.ResponseError as error:
        reason = Reason.MALFORMED if str(error).startswith(_WRONG_TYPE) else Reason.BACKEND_ERROR
    except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError):
        reason = Reason.BACKEND_ERROR
    raise BackendError(reason)


_RETRY = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), RETRIES, supported_errors=TRANSIENT)


async def _between_tries(error: Exception) -> None:
    """Nothing to tidy up: each try takes a connection of its own."""


class PerDocket(Generic[T]):
    """One of something for each docket, and a new one when the docket is used in another event loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Docket, tuple[asyncio.AbstractEventLoop, T]] = WeakKeyDictionary()

    def of(self, docket: Docket) -> T:
        loop = asyncio.get_running_loop()
        made = self._made.get(docket)
        if made is None or made[0] is not loop:
            made = self._made[docket] = (loop, self._make())
        return made[1]

    def clear(self) -> None:
        """Forget all, for tests."""
        self._made.clear()


_lanes: PerDocket[Lane[Command]] = PerDocket(Lane)
_gates: PerDocket[asyncio.Semaphore] = PerDocket(lambda: asyncio.Semaphore(MAX_CONCURRENT_ADDS))


def gate(docket: Docket) -> asyncio.Semaphore:
    """What Docket's own calls pass through: redis-py's pool does not queue for connections, it raises.

    Saves that travel together are done together, and so would be at Docket's door all at once.
    """
    return _gates.of(docket)


def _pipeline_of(client: Client) -> Pipeline:
    try:
        return client.pipeline(transaction=False)
    except TypeError:
        # burner-redis's takes no arguments, and knows no transactions
        return client.pipeline()
