"""Log lines: one observer that logs when context was lost, and the probable cause.

A line names the task's function, or the task's id where the function is not known; a structured field has the id.
There is one line for each kind of operation, docket, task, reason and cause in ten seconds; the next line says how many
lines were left out.  A worker that restores no caller gets one line for each task function: its tasks lose their caller
until an operator starts the worker with ``worker_dependencies``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..errors import Reason
from ..operations import (
    Capture,
    CommandRefused,
    ContextInherited,
    Event,
    NotScheduled,
    Operation,
    Outcome,
    Restore,
    Save,
    Sweep,
    UnrestoredRead,
    UserNotUnderstood,
)
from .names import DOCKETS_ERROR
from .observers import EventCounters, OwnObserver, logger

INTERVAL = 10.0
"""Seconds between two lines about the same subject."""

MAX_TOPICS = 1_000

_INHERITED: Final = (
    "The server began a request in the context of an earlier one of the same connection. taskctx runs it in a clean "
    "context, and counts such requests in taskctx_inherited_contexts_total. What stands outside of "
    "TaskContextMiddleware still sees the earlier request's ContextVars and trace: start uvicorn with "
    "--reset-contextvars, or with --loop uvloop where no client pipelines. taskctx logs this once."
)

REFUSED_INTERVAL = 3600.0
"""Seconds between two lines about the same refused command."""

_INSTEAD: Final = {
    "TIME": "the ages and TTLs of snapshots are measured by this process's clock",
    "TTL": "a renewed snapshot lives for pending_ttl, even if it had a longer TTL",
}

_NOT_UNDERSTOOD: Final = (
    "scope['user'] is an object of type %s, which does not say who it is in a way that taskctx knows: tasks of its "
    "requests have no caller. Call taskctx.identify(access_token=...) in such requests; or give the user "
    "is_authenticated and identity, as Starlette's users have, or get_username(), as Django's. taskctx logs this once."
)

_Logged = Capture | Restore | Save | Sweep

_Subject = tuple[str, str, str, str, str | None]
"""The subject of a line: the kind of operation, the docket, the task, the reason and the cause."""


@dataclass(slots=True)
class _Topic:
    silent_until: float
    suppressed: int = 0


class LogObserver(OwnObserver):
    """Logs to the logger ``taskctx``: failed and degraded restores, failed captures, saves, schedules and sweeps, tasks
    that were never restored, and refused commands.
    """

    reasons_only: bool = True

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._topics: dict[_Subject, _Topic] = {}
        self._logged_once: set[object] = set()
        # re-entrant: a finalizer may log while its thread holds the lock
        self._lock = threading.RLock()
        self.event_counters: EventCounters = {
            CommandRefused: self._command_refused,
            ContextInherited: self._inherited,
            NotScheduled: self._not_scheduled,
            UnrestoredRead: self._read_unrestored,
            UserNotUnderstood: self._not_understood,
        }

    def wants(self, kind: type[Operation]) -> bool:
        return issubclass(kind, _Logged)

    def on_event(self, event: Event) -> None:
        self.event_counters[type(event)](event)

    def on_end(self, operation: Operation, state: None) -> None:
        reason = operation.reason
        if reason is None or not isinstance(operation, _Logged):
            return
        kind, task, task_id = type(operation).__name__, _task(operation), _task_id(operation)
        repeated = self._repeated((kind, operation.docket_name, task, reason, operation.cause))
        if repeated is None:
            return
        logger.log(
            _level(operation),
            "%s (reason=%s docket=%s task=%s): %s.%s%s",
            _what_happened(operation),
            reason.value,
            operation.docket_name or "-",
            task or task_id or "-",
            operation.cause or reason.explanation,
            _refresh_failure(operation),
            _and_more(repeated),
            extra=_extra(operation, reason),
        )

    def _inherited(self, event: ContextInherited) -> None:
        if self._is_first(event):
            logger.warning(_INHERITED)

    def _not_understood(self, event: UserNotUnderstood) -> None:
        if self._is_first(event):
            logger.error(_NOT_UNDERSTOOD, event.kind)

    def _read_unrestored(self, read: UnrestoredRead) -> None:
        task = (read.docket_name, read.docket_task)
        if not self._is_first(task):
            return
        logger.log(
            logging.ERROR if read.fails_task else logging.WARNING,
            "A task asked for its caller and was %s (reason=%s docket=%s task=%s): %s.",
            "failed" if read.fails_task else "shown an anonymous one",
            Reason.NOT_RESTORED.value,
            *task,
            Reason.NOT_RESTORED.explanation,
            extra={
                "docket.name": read.docket_name,
                "docket.task": read.docket_task,
                "error.type": Reason.NOT_RESTORED.value,
            },
        )

    def _not_scheduled(self, event: NotScheduled) -> None:
        reason = DOCKETS_ERROR if event.reason is None else event.reason
        repeated = self._repeated(("NotScheduled", event.docket_name, event.docket_task, reason, event.cause))
        if repeated is None:
            return
        known = event.cause or (event.reason and event.reason.explanation)
        logger.error(
            "A task was not scheduled (reason=%s docket=%s task=%s): %s.%s",
            reason,
            event.docket_name or "-",
            event.docket_task or "-",
            known or "the exception that its submitter got says why",
            _and_more(repeated),
            extra={"docket.name": event.docket_name, "docket.task": event.docket_task, "error.type": str(reason)},
        )

    def _command_refused(self, event: CommandRefused) -> None:
        repeated = self._repeated(("CommandRefused", event.docket_name, "", event.command, None), REFUSED_INTERVAL)
        if repeated is None:
            return
        logger.warning(
            "The Redis server refuses the command %s (docket=%s), and taskctx does without: %s. "
            "Allow it to the user whom this process connects as: docs/deploy.md has all ACL rules.",
            event.command,
            event.docket_name or "-",
            _INSTEAD[event.command],
            extra={"docket.name": event.docket_name},
        )

    def _is_first(self, subject: object) -> bool:
        """Whether a subject is logged for the first time; False for all new subjects after ``MAX_TOPICS``."""
        with self._lock:
            if subject in self._logged_once or len(self._logged_once) >= MAX_TOPICS:
                return False
            self._logged_once.add(subject)
            return True

    def _repeated(self, subject: _Subject, interval: float = INTERVAL) -> int | None:
        """How many lines about this subject were left out since the last one; None where this line is left out too."""
        now = self._clock()
        with self._lock:
            topic = self._topics.get(subject)
            if topic is not None and now < topic.silent_until:
                topic.suppressed += 1
                return None
            if len(self._topics) >= MAX_TOPICS:
                self._topics.clear()
            self._topics[subject] = _Topic(silent_until=now + interval)
            return topic.suppressed if topic else 0


def _and_more(repeated: int) -> str:
    return f" {repeated} more like this since the last such line." if repeated else ""


def _task(operation: _Logged) -> str:
    return "" if isinstance(operation, Sweep) else operation.docket_task


def _task_id(operation: _Logged) -> str | None:
    return operation.task_id if isinstance(operation, Save | Restore) else None


def _level(operation: _Logged) -> int:
    if isinstance(operation, Sweep) or operation.outcome is not Outcome.FAILED:
        return logging.WARNING
    if not isinstance(operation, Restore):
        return logging.ERROR
    return logging.ERROR if operation.fails_task else logging.WARNING


def _what_happened(operation: _Logged) -> str:
    if isinstance(operation, Capture):
        if operation.outcome is not Outcome.FAILED:
            return "A task is submitted without a caller"
        return "A caller's context was not captured"
    if isinstance(operation, Save):
        return "A task's context was not saved"
    if isinstance(operation, Sweep):
        again = "does not try again (it needs SCAN)" if operation.gives_up else "tries again later"
        return f"Contexts of tasks that were cancelled, struck or cleared live on; this worker {again}"
    if operation.outcome is Outcome.DEGRADED:
        return "A task runs with part of its context"
    return "A task fails without its context" if operation.fails_task else "A task runs without its context"


def _refresh_failure(operation: _Logged) -> str:
    failure = operation.refresh_failure if isinstance(operation, Restore) else None
    return f" The hook {failure}." if failure else ""


def _extra(operation: _Logged, reason: Reason) -> dict[str, object]:
    """The structured fields; they have Docket's own names where Docket has such a name."""
    extra: dict[str, object] = {
        "docket.name": operation.docket_name,
        "docket.task": _task(operation),
        "taskctx.outcome": operation.outcome.value,
        "error.type": reason.value,
    }
    if isinstance(operation, Save | Restore):
        extra["taskctx.task_id"] = operation.task_id
    if isinstance(operation, Restore):
        extra["docket.attempt"] = operation.attempt
        extra["taskctx.encryption.key_id"] = operation.key_id
    return extra
