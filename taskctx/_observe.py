"""Telemetry's boundary: the core opens one operation and names what happened; observers do the rest.

::

    with observe(Restore(docket_name=..., docket_task=...)) as operation:
        ...
        operation.failed(Reason.MISSING)

Nothing here knows of counters or spans.  An observer that raises is reported once and otherwise ignored: it
can neither fail a task nor replace the error that was on its way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, TypeVar

from .errors import Reason

logger: logging.Logger = logging.getLogger("taskctx")


class Outcome(StrEnum):
    """How an operation ended.  Captures know ok, partial, empty and failed; restores ok, degraded, failed, skipped."""

    OK = "ok"
    PARTIAL = "partial"
    EMPTY = "empty"
    DEGRADED = "degraded"
    SKIPPED = "skipped"
    FAILED = "failed"


class Field(StrEnum):
    """The parts of a caller's context, as counted."""

    TOKEN = "token"
    HEADERS = "headers"
    SESSION_ID = "session_id"
    REQUEST_ID = "request_id"
    TRACE = "trace"
    BAGGAGE = "baggage"
    CARRIED = "carried"


class FieldResult(StrEnum):
    CAPTURED = "captured"
    ABSENT = "absent"
    DROPPED = "dropped"


@dataclass(slots=True, kw_only=True)
class Operation:
    """One thing taskctx does, from its start to its end.

    Attributes:
        outcome: ``ok`` unless told otherwise.
        reason: why it is degraded or failed.
        duration: seconds; 0 until the operation ended.
    """

    outcome: Outcome = Outcome.OK
    reason: Reason | None = None
    duration: float = 0.0

    def failed(self, reason: Reason) -> None:
        self.outcome, self.reason = Outcome.FAILED, reason

    def degraded(self, reason: Reason) -> None:
        self.outcome, self.reason = Outcome.DEGRADED, reason

    def skipped(self) -> None:
        self.outcome, self.reason = Outcome.SKIPPED, None


@dataclass(slots=True, kw_only=True)
class Capture(Operation):
    """The caller's context is read."""

    docket_name: str
    fields: dict[Field, frozenset[FieldResult]] = field(default_factory=dict[Field, frozenset[FieldResult]])


@dataclass(slots=True, kw_only=True)
class Save(Operation):
    """One snapshot, or a batch of them, is stored.

    Attributes:
        count: snapshots saved together.
        sizes: bytes of each as stored.
        ttl: seconds, of the first.
        fields: names of what the snapshot holds.
    """

    docket_name: str
    docket_task: str = ""
    count: int = 1
    sizes: list[int] = field(default_factory=list[int])
    ttl: int | None = None
    fields: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Restore(Operation):
    """A task's snapshot is fetched and put in force.

    Attributes:
        task_id: for the log; None for keys that are not ours.
        fails_task: the failure contract in force: the task is failed rather than run anonymous.
        size: bytes as stored.
        age: seconds since it was saved.
        ttl: seconds it was given when saved or renewed; ``ttl_remaining`` of them were left when it was fetched.
        credential_ttl: seconds of life left to the token, negative when past.
        origin: the submission's W3C carrier.
    """

    docket_name: str
    docket_task: str = ""
    task_id: str | None = None
    attempt: int = 1
    fails_task: bool = False
    size: int | None = None
    age: float | None = None
    ttl: int | None = None
    ttl_remaining: int | None = None
    credential_ttl: float | None = None
    schema_version: int | None = None
    fields: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(slots=True, kw_only=True)
class Run(Operation):
    """A task's body runs with its restored context."""

    docket_name: str
    docket_task: str
    attempt: int
    origin: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    error_type: str | None = None

    def body_failed(self, error_type: str) -> None:
        """The task's own code raised an exception of this type."""
        self.outcome, self.error_type = Outcome.FAILED, error_type


@dataclass(frozen=True, slots=True)
class DocketSeen:
    """A docket is about to be used in this process: what is counted by docket or task can start at 0."""

    docket_name: str
    docket_tasks: tuple[str, ...] = ()


Registry = Literal["session", "server"]


@dataclass(frozen=True, slots=True)
class RegistryLookup:
    registry: Registry
    result: Literal["hit", "miss", "dead"]


@dataclass(frozen=True, slots=True)
class RegistryEviction:
    registry: Registry
    cause: Literal["dead", "capacity", "removed"]
    count: int = 1


@dataclass(frozen=True, slots=True)
class RegistrySize:
    registry: Registry
    entries: int
    capacity: int


Event = DocketSeen | RegistryLookup | RegistryEviction | RegistrySize


class Observer(Protocol):
    """Something that watches operations: metrics, traces, logs, or one of yours (see :func:`taskctx.configure`)."""

    def on_start(self, operation: Operation) -> Any:
        """An operation begins; what is returned comes back to :meth:`on_end`."""
        ...

    def on_end(self, operation: Operation, state: Any) -> None:
        """The operation ended, on the same task; its outcome, reason and duration are set."""
        ...

    def on_event(self, event: Event) -> None:
        """Something happened that has no length."""
        ...


ObserverFactory = Callable[[], Sequence[Observer]]

_observers: tuple[Observer, ...] | None = None
_default_observers: ObserverFactory = tuple
_seen: set[str] = set()
_reported: set[tuple[int, type[BaseException]]] = set()


def default_observers(factory: ObserverFactory) -> None:
    """Say where observers come from when none were put in use; they are made on first need."""
    global _default_observers
    _default_observers = factory


def use_observers(observers: Sequence[Observer] | None) -> None:
    """Put these observers in use; None goes back to the default ones."""
    global _observers
    _observers = None if observers is None else tuple(observers)
    _reported.clear()
    _seen.clear()


def current_observers() -> tuple[Observer, ...]:
    global _observers
    if _observers is None:
        _observers = tuple(_default_observers())
    return _observers


Op = TypeVar("Op", bound=Operation)


class observe(Generic[Op]):  # noqa: N801 - reads as a verb: ``with observe(Restore(...)) as operation``
    """Watch an operation for the length of a ``with`` block.

    An exception that leaves the block makes the operation a failure, with the exception's own reason if it has
    one.  Cancellation is nobody's failure: the operation counts as skipped.
    """

    __slots__ = ("_operation", "_started", "_states")

    def __init__(self, operation: Op) -> None:
        self._operation = operation

    def __enter__(self) -> Op:
        self._states: list[tuple[Observer, Any]] = []
        for observer in current_observers():
            try:
                self._states.append((observer, observer.on_start(self._operation)))
            except Exception as error:  # noqa: BLE001
                _report(observer, error)
        self._started = time.perf_counter()
        return self._operation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        operation = self._operation
        operation.duration = time.perf_counter() - self._started
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            operation.skipped()
        elif error is not None and operation.outcome not in (Outcome.FAILED, Outcome.SKIPPED):
            operation.failed(getattr(error, "reason", None) or Reason.INTERNAL)
        for observer, state in reversed(self._states):
            try:
                observer.on_end(operation, state)
            except Exception as failure:  # noqa: BLE001
                _report(observer, failure)


def notify(event: Event) -> None:
    """Tell the observers of an event."""
    for observer in current_observers():
        try:
            observer.on_event(event)
        except Exception as error:  # noqa: BLE001
            _report(observer, error)


def docket_seen(docket_name: str, docket_tasks: Sequence[str] = ()) -> None:
    """Tell the observers of a docket the first time it is used in this process, and of its tasks."""
    if docket_name not in _seen or docket_tasks:
        _seen.add(docket_name)
        notify(DocketSeen(docket_name, tuple(docket_tasks)))


def _report(observer: Observer, error: Exception) -> None:
    """Say once for each observer and kind of error that telemetry is failing, without the error's own text."""
    kind = (id(observer), type(error))
    if kind not in _reported:
        _reported.add(kind)
        logger.warning(
            "taskctx telemetry failed and was ignored: %s raised %s; tasks are not affected",
            type(observer).__name__,
            type(error).__name__,
        )
