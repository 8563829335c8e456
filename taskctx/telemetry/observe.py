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
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from ..errors import InvalidType, Reason, TaskContextError
from ..operations import DocketSeen, Event, Operation, Outcome

logger: logging.Logger = logging.getLogger("taskctx")


class Observer(Protocol):
    """Something that watches operations: metrics, traces, logs, or one of yours (see :func:`taskctx.configure`).

    A subclass inherits methods that do nothing, and those are not called.
    """

    def on_start(self, operation: Operation) -> Any:
        """An operation begins; what is returned comes back to :meth:`on_end`."""
        return None

    def on_end(self, operation: Operation, state: Any) -> None:
        """The operation ended, on the same task; its outcome, reason and duration are set."""
        return

    def on_event(self, event: Event) -> None:
        """Something happened that has no length."""
        return


class _Watching(NamedTuple):
    """The observers in use, and which of them have something to do when."""

    observers: tuple[Observer, ...]
    from_the_start: tuple[Observer, ...]
    at_the_end: tuple[tuple[Observer, None], ...]
    """Those who do nothing at the start, the last one first, and what they returned there."""
    for_events: tuple[Observer, ...]

    @classmethod
    def of(cls, observers: Iterable[Observer]) -> _Watching:
        everybody = tuple(observers)
        return cls(
            everybody,
            tuple(each for each in everybody if _has_own(each, "on_start")),
            tuple(
                (each, None)
                for each in reversed(everybody)
                if not _has_own(each, "on_start") and _has_own(each, "on_end")
            ),
            tuple(each for each in everybody if _has_own(each, "on_event")),
        )


def _has_own(observer: Observer, method: str) -> bool:
    return getattr(type(observer), method, None) is not getattr(Observer, method)


ObserverFactory = Callable[[], Sequence[Observer]]

_watching: _Watching | None = None
_default_observers: ObserverFactory = tuple
_seen: set[str] = set()
_reported: set[tuple[int, type[BaseException]]] = set()


def default_observers(factory: ObserverFactory) -> None:
    """Say where observers come from when none were put in use; they are made on first need."""
    global _default_observers
    _default_observers = factory


def checked_observers(observers: object) -> tuple[Observer, ...]:
    """Observers of the user's, each with what an :class:`Observer` has.

    Raises:
        InvalidType: one is none, or they are no sequence.
    """
    if not isinstance(observers, Iterable):
        raise InvalidType(f"observers must be a sequence of observers, not {type(observers).__name__}")
    given: tuple[Any, ...] = tuple(cast("Iterable[Any]", observers))
    for observer in given:
        if isinstance(observer, type):
            raise InvalidType(f"observers must hold an observer in place of its class, {observer.__name__}")
        if not all(callable(getattr(observer, method, None)) for method in ("on_start", "on_end", "on_event")):
            raise InvalidType(
                f"an observer needs the methods on_start, on_end and on_event (see taskctx.Observer); "
                f"{type(observer).__name__} has not all of them"
            )
    return given


def use_observers(observers: Sequence[Observer] | None) -> None:
    """Put these observers in use; None goes back to the default ones."""
    global _watching
    _watching = None if observers is None else _Watching.of(observers)
    _reported.clear()
    _seen.clear()


def current_observers() -> tuple[Observer, ...]:
    return _current().observers


def _current() -> _Watching:
    global _watching
    if _watching is None:
        _watching = _Watching.of(_default_observers())
    return _watching


Op = TypeVar("Op", bound=Operation)


class observe(Generic[Op]):  # noqa: N801 - reads as a verb: ``with observe(Restore(...)) as operation``
    """Watch an operation for the length of a ``with`` block.

    An exception that leaves the block makes the operation a failure, with the exception's own reason.  Cancellation
    is nobody's failure: the operation counts as skipped.
    """

    __slots__ = ("_operation", "_started", "_states", "_watching")

    def __init__(self, operation: Op) -> None:
        self._operation = operation

    def __enter__(self) -> Op:
        operation = self._operation
        self._watching = watching = _current()
        self._states = states = list[tuple[Observer, Any]]()
        for observer in watching.from_the_start:
            try:
                states.append((observer, observer.on_start(operation)))
            except Exception as error:  # noqa: BLE001
                _report(observer, error)
        self._started = time.perf_counter()
        return operation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        operation = self._operation
        operation.duration = time.perf_counter() - self._started
        if error is not None:
            _blame(operation, error)
        for observer, state in (*self._watching.at_the_end, *reversed(self._states)):
            try:
                observer.on_end(operation, state)
            except Exception as failure:  # noqa: BLE001
                _report(observer, failure)


def _blame(operation: Operation, error: BaseException) -> None:
    """Judge an operation by the exception that left its block.

    Cancelled, it is skipped.  Else it failed, unless its block has judged it: for the exception's own reason; none for
    errors of ours that say it in words; ``internal`` for all others.
    """
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        operation.skipped()
    elif operation.outcome in (Outcome.FAILED, Outcome.SKIPPED):
        return
    elif isinstance(error, TaskContextError):
        operation.outcome, operation.reason = Outcome.FAILED, getattr(error, "reason", None)
    else:
        operation.failed(Reason.INTERNAL)


def notify(event: Event) -> None:
    """Tell the observers of an event."""
    for observer in _current().for_events:
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
