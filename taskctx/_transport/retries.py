"""Retries within a deadline, and the error that is raised when they did not help."""

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
"""Retries without an answer: when the server is down, requests must not wait long."""

_MOST_DOUBLINGS = 8
_BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.5)


async def persist(again: Callable[[], Awaitable[T]], after: Exception | None, until: Callable[[], float]) -> T:
    """Try again after a failure: ``RETRIES`` times without an answer, until a time where the server says "later".

    Each request has its own retries, also after a shared batch.

    Args:
        again: the function to try; the first try is immediate.
        after: the failure so far; None where the first try is another method, which may work after any failure.
        until: gives the time limit, by the event loop's clock; a stall of the loop may have extended it.

    Raises:
        BackendError: no attempt succeeded.
    """
    loop, tries = asyncio.get_running_loop(), 0
    while True:
        if after is not None:
            wait = _BACKOFF.compute(min(tries, _MOST_DOUBLINGS)) if tries else 0.0
            if not (later(after) or (is_lost(after) and tries <= RETRIES)):
                raise backend_error(after)
            if loop.time() + wait > until():
                raise BackendError(Reason.BACKEND_ERROR if later(after) else Reason.BACKEND_TIMEOUT, after)
            await asyncio.sleep(wait)
        tries += 1
        try:
            return await again()
        except FAILURES as failure:
            after = failure


def backend_error(failure: Exception) -> BackendError:
    """The error that replaces a Redis client's error: the client's text may quote anything."""
    if isinstance(failure, redis_errors.TimeoutError):
        return BackendError(Reason.BACKEND_TIMEOUT, failure)
    return BackendError(Reason.MALFORMED if is_of_another_type(failure) else Reason.BACKEND_ERROR, failure)
