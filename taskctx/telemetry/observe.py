"""The boundary of telemetry: the core opens one operation and sets its result; observers do the rest.

::

    with observe(Restore(docket_name=..., docket_task=...)) as operation:
        ...
        operation.failed(Reason.MISSING)

This module has no counters and no spans.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from .._runtime import Runtime, runtime
from ..errors import Reason, TaskContextError
from ..operations import DocketSeen, Event, Operation, Outcome
from .observers import NOT_WATCHED, End, Observer

Op = TypeVar("Op", bound=Operation)


class observe(Generic[Op]):  # noqa: N801 - reads as a verb: ``with observe(Restore(...)) as operation``
    """Observe an operation for the length of a ``with`` block.

    When an exception leaves the block, the operation is failed, with the exception's own reason.  A cancelled operation
    is skipped.
    """

    __slots__ = ("_observers", "_operation", "_started", "_started_by", "_watch")

    def __init__(self, operation: Op, within: Runtime | None = None) -> None:
        self._operation = operation
        self._observers = (within or runtime()).observers

    def __enter__(self) -> Op:
        operation = self._operation
        self._watch = watch = self._observers.watches[type(operation)]
        started: list[tuple[Observer, End, Any]] = []
        self._started_by = started
        for observer in watch.starting:
            try:
                state = observer.on_start(operation)
            except Exception as error:  # noqa: BLE001
                self._observers.report(observer, error)
            else:
                if state is not NOT_WATCHED:
                    started.append((observer, observer.on_end, state))
        self._started = time.perf_counter()
        return operation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        operation = self._operation
        operation.duration = time.perf_counter() - self._started
        if error is not None:
            _judge(operation, error)
        watch = self._watch
        failing = watch.failing if operation.reason is not None else ()
        for observer, end, state in (*watch.ending, *failing, *reversed(self._started_by)):
            try:
                end(operation, state)
            except Exception as failure:  # noqa: BLE001
                self._observers.report(observer, failure)


def _judge(operation: Operation, error: BaseException) -> None:
    """Set the outcome of an operation by the exception that left its block.

    A cancelled operation is skipped.  Any other operation is failed, unless its block has set the outcome.  The reason
    is that of a taskctx error (None where the error has only a text), and ``internal`` for all other errors.
    """
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        operation.skipped()
    elif operation.outcome in (Outcome.FAILED, Outcome.SKIPPED):
        return
    elif isinstance(error, TaskContextError):
        operation.failed(getattr(error, "reason", None))
        operation.cause = getattr(error, "cause", None)
    else:
        operation.failed(Reason.INTERNAL)


def notify(event: Event, within: Runtime | None = None) -> None:
    """Report an event to the observers."""
    observers = (within or runtime()).observers
    for observer, tell in observers.event_watches[type(event)]:
        try:
            tell(event)
        except Exception as error:  # noqa: BLE001
            observers.report(observer, error)


def docket_seen(docket_name: str, docket_tasks: Sequence[str] = (), within: Runtime | None = None) -> None:
    """Report a docket's first use in this process to the observers, and its tasks whenever they are given."""
    seen = (within or runtime()).observers.dockets_seen
    if docket_name not in seen or docket_tasks:
        seen.add(docket_name)
        notify(DocketSeen(docket_name, tuple(docket_tasks)))
