"""The lifetime of a snapshot, in whole seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from ..errors import InvalidArgument, InvalidType

LONGEST_TTL = 2**31 - 1
"""Seconds; some 68 years."""


def whole_seconds(ttl: object) -> int:
    """A TTL argument (seconds or a timedelta) in whole seconds, rounded up.

    Raises:
        InvalidArgument: the TTL is below one second, or above ``LONGEST_TTL``.
        InvalidType: the TTL is neither a number nor a timedelta.
    """
    if isinstance(ttl, timedelta):
        ttl = ttl.total_seconds()
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise InvalidType(f"a TTL must be seconds or a timedelta, not {type(ttl).__name__}")
    if not 1 <= ttl <= LONGEST_TTL:
        raise InvalidArgument(f"a TTL must be between 1 and {LONGEST_TTL} seconds")
    return math.ceil(ttl)


def seconds_until(when: datetime | None) -> float:
    """Seconds from now until ``when``; 0 when ``when`` is past or None."""
    if when is None:
        return 0.0
    # by UTC: the difference of two times in the same zone ignores a change of its clocks between them
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
