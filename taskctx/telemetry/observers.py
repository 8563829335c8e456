"""Observers of operations and events, and the set of observers in use, sorted by the methods that they have.

An error of an observer is logged once and otherwise ignored: it can neither fail a task nor replace another error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from ..errors import InvalidType
from ..operations import Event, Operation

logger: Final = logging.getLogger("taskctx")

End = Callable[[Operation, Any], None]
Counters = Mapping[type[Operation], Callable[[Any, Any], None]]
EventCounters = Mapping[type[Event], Callable[[Any], None]]


class Observer(Protocol):
    """Observes operations: metrics, traces, logs, or your own observer (see :func:`taskctx.configure`).

    A subclass inherits methods that do nothing; taskctx does not call these.
    """

    def on_start(self, operation: Operation) -> Any:
        """An operation begins; the returned value is the ``state`` argument of :meth:`on_end`."""
        return None

    def on_end(self, operation: Operation, state: Any) -> None:
        """The operation ended, in the same asyncio task; its outcome, reason and duration are set."""
        return

    def on_event(self, event: Event) -> None:
        """An event happened; an event has no duration."""
        return


class OwnObserver(Observer):
    """One of taskctx's own observers, which is only told what it wants.  All other observers see everything.

    Attributes:
        reasons_only: whether it wants only operations with a reason.
        counters: its function for each kind of operation that has a function of its own.
        event_counters: its function for each kind of event that it wants.
    """

    reasons_only: bool = False
    counters: Counters = MappingProxyType({})
    event_counters: EventCounters = MappingProxyType({})

    def wants(self, kind: type[Operation]) -> bool:
        """Whether it wants operations of this kind."""
        return kind in self.counters


NOT_WATCHED: Final = object()
"""Returned by ``on_start`` where the observer need not see the end of this operation."""

Ending = tuple[Observer, End, None]
"""An observer without ``on_start``, the function for the end of the operation, and its state (None)."""


class Watch:
    """The observers of one kind of operation.

    Attributes:
        any: whether there are observers.
        starting: the observers with an ``on_start``.
        ending: the observers with an ``on_end`` only, the last one first.
        failing: the same, for observers that want only operations with a reason.
    """

    __slots__ = ("any", "ending", "failing", "starting")

    def __init__(self, kind: type[Operation], observers: Sequence[Observer]) -> None:
        self.any: bool = bool(observers)
        self.starting: tuple[Observer, ...] = tuple(each for each in observers if _has_own(each, "on_start"))
        rest = [each for each in reversed(observers) if not _has_own(each, "on_start") and _has_own(each, "on_end")]
        self.ending: tuple[Ending, ...] = tuple(_ending(each, kind) for each in rest if not _wants_reasons(each))
        self.failing: tuple[Ending, ...] = tuple(_ending(each, kind) for each in rest if _wants_reasons(each))


class _Watches(dict[type[Operation], Watch]):
    """The observers by the kind of operation, computed once for each kind."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__()
        self._observers = observers

    def __missing__(self, kind: type[Operation]) -> Watch:
        watch = self[kind] = Watch(kind, [each for each in self._observers if _looks_at(each, kind)])
        return watch


class _EventWatches(dict[type[Event], tuple[tuple[Observer, Callable[[Any], None]], ...]]):
    """The observers and their functions by the kind of event, computed once for each kind."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__()
        self._observers = [each for each in observers if _has_own(each, "on_event")]

    def __missing__(self, kind: type[Event]) -> tuple[tuple[Observer, Callable[[Any], None]], ...]:
        told = ((each, _told(each, kind)) for each in self._observers)
        watch = self[kind] = tuple((each, tell) for each, tell in told if tell is not None)
        return watch


class Observers:
    """The observers in use.

    Attributes:
        watches: the observers by the kind of operation.
        event_watches: the observers and their functions by the kind of event.
        dockets_seen: the names of the dockets that were reported to the observers.
    """

    __slots__ = ("_reported", "dockets_seen", "event_watches", "observers", "watches")

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.observers: tuple[Observer, ...] = tuple(observers)
        self.event_watches: _EventWatches = _EventWatches(self.observers)
        self.watches: _Watches = _Watches(self.observers)
        self.dockets_seen: set[str] = set()
        self._reported: set[tuple[int, type[BaseException]]] = set()

    def report(self, observer: Observer, error: Exception) -> None:
        """Log once for each observer and type of error that telemetry failed, without the error's own text."""
        kind = (id(observer), type(error))
        if kind not in self._reported:
            self._reported.add(kind)
            # the observer of log lines may have failed in a handler or filter of the user's, which fails here too
            with suppress(Exception):
                logger.warning(
                    "taskctx telemetry failed and was ignored: %s raised %s; tasks are not affected",
                    type(observer).__name__,
                    type(error).__name__,
                )


def checked_observers(observers: object) -> tuple[Observer, ...]:
    """The user's observers; each has the methods of an :class:`Observer`.

    Raises:
        InvalidType: an observer lacks a method, or the argument is not iterable.
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


def _has_own(observer: Observer, method: str) -> bool:
    return getattr(type(observer), method, None) is not getattr(Observer, method)


def _ending(observer: Observer, kind: type[Operation]) -> Ending:
    end = observer.counters.get(kind, observer.on_end) if isinstance(observer, OwnObserver) else observer.on_end
    return observer, end, None


def _told(observer: Observer, kind: type[Event]) -> Callable[[Any], None] | None:
    return observer.event_counters.get(kind) if isinstance(observer, OwnObserver) else observer.on_event


def _looks_at(observer: Observer, kind: type[Operation]) -> bool:
    return not isinstance(observer, OwnObserver) or observer.wants(kind)


def _wants_reasons(observer: Observer) -> bool:
    return isinstance(observer, OwnObserver) and observer.reasons_only
