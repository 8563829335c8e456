"""What callers give, checked before anything is done with it.  Messages name types, never a value."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from docket.execution import TaskCall

from ..errors import InvalidArgument, InvalidType


def check_function(function: object) -> None:
    """See that a task which is no name is a function, or as good as one: Docket registers it by its ``__name__``.

    Raises:
        InvalidType: it is not.
    """
    if not callable(function) or not hasattr(function, "__name__"):
        raise InvalidType(
            "function must be an async function, or the name of one that is registered on the docket, "
            f"not {type(function).__name__}"
        )


def check_when(when: object) -> None:
    """See that a time is one, with a time zone; Docket takes no other.

    Raises:
        InvalidType: it is not.
    """
    if not isinstance(when, datetime):
        raise InvalidType(f"when must be a datetime, not {type(when).__name__}")
    if when.utcoffset() is None:
        raise InvalidType("when must be a datetime with a time zone, such as datetime.now(UTC) + timedelta(hours=1)")


def checked_calls(calls: Iterable[TaskCall]) -> list[TaskCall]:
    """A batch, as a list.

    Raises:
        InvalidType: it is no batch, or something in it was not made with ``docket.call``.
    """
    given: Any = calls
    if not isinstance(given, Iterable):
        raise InvalidType(f"calls must be a sequence of docket.call(...)(...), not {type(given).__name__}")
    batch = list(calls)
    for place, call in enumerate(batch, start=1):
        _check_call(place, call)
    return batch


def _check_call(place: int, call: object) -> None:
    if not isinstance(call, TaskCall):
        raise InvalidType(
            f"call {place} of the batch must be made with docket.call(function, when, key)(...), "
            f"it is of type {type(call).__name__}"
        )


def check_chunk_size(chunk_size: object) -> None:
    """See how many tasks may travel in one round trip; None is all of them.

    Raises:
        InvalidArgument: none at all.
        InvalidType: it is no whole number.
    """
    if chunk_size is None:
        return
    if not isinstance(chunk_size, int):
        raise InvalidType(f"chunk_size must be a whole number or None, not {type(chunk_size).__name__}")
    if chunk_size < 1:
        raise InvalidArgument("chunk_size must be at least 1, or None to send all at once")
