"""Observers: what watches operations and events, and all of those in use, sorted by what they have to do.

An observer that raises is reported once and otherwise ignored: it can neither fail a task nor replace the error that
was on its way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from ..errors import InvalidType
from ..operations import Event, Operation

logger: Final = logging.getLogger("taskctx")

End = Callable[[Operation, Any], None]


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


NOT_WATCHED: Final = object()
"""What ``on_start`` gives where the observer has nothing to do at the end of this operation."""

Ending = tuple[Observer, End, None]
"""An observer that does nothing at the start, what it does at the end, and what it returned at the start."""


class Watch:
    """The observers of one kind of operation.

    Attributes:
        any: whether there are some.
        starting: those that have something to do at the start.
        ending: those that have something to do at the end only, the last one first.
        failing: of those, the ones that look at operations with a reason only.
    """

    __slots__ = ("any", "ending", "failing", "starting")

    def __init__(self, kind: type[Operation], observers: Sequence[Observer]) -> None:
        self.any: bool = bool(observers)
        self.starting: tuple[Observer, ...] = tuple(each for each in observers if _has_own(each, "on_start"))
        rest = [each for each in reversed(observers) if not _has_own(each, "on_start") and _has_own(each, "on_end")]
        self.ending: tuple[Ending, ...] = tuple(_ending(each, kind) for each in rest if not _wants_reasons(each))
        self.failing: tuple[Ending, ...] = tuple(_ending(each, kind) for each in rest if _wants_reasons(each))


class _Watches(dict[type[Operation], Watch]):
    """By the kind of operation; each is found out once."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__()
        self._observers = observers

    def __missing__(self, kind: type[Operation]) -> Watch:
        watch = self[kind] = Watch(kind, [each for each in self._observers if _looks_at(each, kind)])
        return watch


class _EventWatches(dict[type[Event], tuple[tuple[Observer, Callable[[Any], None]], ...]]):
    """Which observers have something to do when an event of a kind happens, and what; each is found out once."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__()
        self._observers = [each for each in observers if _has_own(each, "on_event")]

    def __missing__(self, kind: type[Event]) -> tuple[tuple[Observer, Callable[[Any], None]], ...]:
        told = ((each, getattr(each, "event_counters", {kind: each.on_event}).get(kind)) for each in self._observers)
        watch = self[kind] = tuple((each, tell) for each, tell in told if tell is not None)
        return watch


class Observers:
    """The observers in use.

    An observer of our own says with an attribute ``operations`` which kinds of operations it looks at, with
    ``reasons_only`` that it looks at those with a reason alone, with ``counters`` what it does for each kind, so that
    it is not found out each time, and with ``event_counters`` the same of events; another one looks at all.

    Attributes:
        watches: the observers of each kind of operation.
        event_watches: what observers do when an event of each kind happens.
        dockets_seen: the names of the dockets that they were told of.
    """

    __slots__ = ("_reported", "dockets_seen", "event_watches", "observers", "watches")

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.observers: tuple[Observer, ...] = tuple(observers)
        self.event_watches: _EventWatches = _EventWatches(self.observers)
        self.watches: _Watches = _Watches(self.observers)
        self.dockets_seen: set[str] = set()
        self._reported: set[tuple[int, type[BaseException]]] = set()

    def report(self, observer: Observer, error: Exception) -> None:
        """Say once for each observer and kind of error that telemetry is failing, without the error's own text."""
        kind = (id(observer), type(error))
        if kind not in self._reported:
            self._reported.add(kind)
            logger.warning(
                "taskctx telemetry failed and was ignored: %s raised %s; tasks are not affected",
                type(observer).__name__,
                type(error).__name__,
            )


def checked_observers(observers: object) -> tuple[Observer, ...]:
    """Observers of the user's, each with what an :class:`Observer` has.

    Raises:
        InvalidType: one lacks a method, or they are no sequence.
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
    counters: Mapping[type[Operation], End] = getattr(observer, "counters", {})
    return observer, counters.get(kind, observer.on_end), None


def _looks_at(observer: Observer, kind: type[Operation]) -> bool:
    kinds: Iterable[type[Operation]] | None = getattr(observer, "operations", None)
    return kinds is None or kind in kinds


def _wants_reasons(observer: Observer) -> bool:
    return getattr(observer, "reasons_only", False) is True
