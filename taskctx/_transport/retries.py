"""Trying again while that may help, within a deadline, and what is raised when it did not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis import exceptions as redis_errors
from redis.backoff import ExponentialWithJitterBackoff

from ..errors import Reason
from .answers import FAILURES, is_lost, is_of_another_type, later
from .deadline import BackendError

T = TypeVar("T")

RETRIES = 4
"""Of what was not answered: a server that is away must not keep every request for long."""

_MOST_DOUBLINGS = 8
_BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.5)


async def persist(again: Callable[[], Awaitable[T]], after: Exception | None, until: float) -> T:
    """Try again after a failure: a few times where there was no answer, and where it was "later", until a time.

    Each has its own tries: what travelled together need not go on together.

    Args:
        again: what is tried, a first time at once.
        after: the failure; None where the next try is another way, and so worth it whatever failed.
        until: by the event loop's clock.

    Raises:
        BackendError: it was not done.
    """
    loop, tries = asyncio.get_running_loop(), 0
    while True:
        if after is not None:
            wait = _BACKOFF.compute(min(tries, _MOST_DOUBLINGS)) if tries else 0.0
            if not (later(after) or (is_lost(after) and tries <= RETRIES)):
                raise backend_error(after)
            if loop.time() + wait > until:
                raise BackendError(Reason.BACKEND_ERROR if later(after) else Reason.BACKEND_TIMEOUT, after)
            await asyncio.sleep(wait)
        tries += 1
        try:
            return await again()
        except FAILURES as failure:
            after = failure


def backend_error(failure: Exception) -> BackendError:
    """What is raised in place of a Redis client's error, whose text may quote anything."""
    if isinstance(failure, redis_errors.TimeoutError):
        return BackendError(Reason.BACKEND_TIMEOUT, failure)
    return BackendError(Reason.MALFORMED if is_of_another_type(failure) else Reason.BACKEND_ERROR, failure)
