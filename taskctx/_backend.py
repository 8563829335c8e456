"""The way to Redis: one client, one bound, one kind of error.

Every call is bounded by ``backend_timeout`` (see :func:`bounded`), retries what is transient inside that bound, runs
with instrumentation suppressed, and raises nothing but :class:`BackendError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from docket import Docket
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from ._propagation import instrumentation_suppressed
from .errors import Reason, TaskContextError
from .settings import current_settings

T = TypeVar("T")

TRANSIENT = (
    redis_errors.ConnectionError,  # and BusyLoadingError, a server that is starting
    redis_errors.TimeoutError,
    redis_errors.ClusterDownError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
)
RETRIES = 4
MAX_CONCURRENT_CALLS = 32
"""For each docket; its pool has 100 connections, which Docket itself needs too."""


class BackendError(TaskContextError):
    """The server did not do what it was asked; ``reason`` says whether it was slow or refused."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Pipeline(Protocol):
    def get(self, name: str) -> Any: ...
    def ttl(self, name: str) -> Any: ...
    def set(self, name: str, value: bytes, *, ex: int, nx: bool = False) -> Any: ...
    def expire(self, name: str, time: int) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    async def execute(self, raise_on_error: bool = True) -> list[Any]: ...


class Client(Protocol):
    """What we use of a client: redis-py's, its cluster's, or burner-redis's."""

    def pipeline(self, *, transaction: bool = True) -> Pipeline: ...
    async def set(self, name: str, value: bytes, *, ex: int, nx: bool = False) -> Any: ...
    async def expire(self, name: str, time: int) -> Any: ...
    async def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes) -> Any: ...


@asynccontextmanager
async def bounded() -> AsyncGenerator[None]:
    """Bound what is done inside by ``backend_timeout``: a whole save or restore, or a call on its own.

    Raises:
        BackendError: (``backend_timeout``) it took longer.
    """
    try:
        async with asyncio.timeout(current_settings().backend_timeout):
            yield
    except TimeoutError:
        raise BackendError(Reason.BACKEND_TIMEOUT) from None


async def call(docket: Docket, send: Callable[[Client], Awaitable[T]]) -> T:
    async def once() -> T:
        async with _gate(docket), docket.redis() as client:
            return await send(cast("Client", client))

    async def between_tries(error: Exception) -> None:
        """Nothing to tidy up: each try takes a connection of its own."""

    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), RETRIES, supported_errors=TRANSIENT)
    try:
        async with bounded():
            with instrumentation_suppressed():
                return await retry.call_with_retry(once, between_tries)
    except redis_errors.TimeoutError:
        raise BackendError(Reason.BACKEND_TIMEOUT) from None
    except (redis_errors.RedisError, OSError):
        raise BackendError(Reason.BACKEND_ERROR) from None


def _gate(docket: Docket) -> asyncio.Semaphore:
    """Lets so many calls through at a time: redis-py's pool does not queue for connections, it raises."""
    loop = asyncio.get_running_loop()
    gate = _gates.get(docket)
    if gate is None or gate[0] is not loop:
        gate = _gates[docket] = (loop, asyncio.Semaphore(MAX_CONCURRENT_CALLS))
    return gate[1]


_gates: WeakKeyDictionary[Docket, tuple[asyncio.AbstractEventLoop, asyncio.Semaphore]] = WeakKeyDictionary()


def pipeline_of(client: Client) -> Pipeline:
    try:
        return client.pipeline(transaction=False)
    except TypeError:
        # burner-redis's takes no arguments, and knows no transactions
        return client.pipeline()
