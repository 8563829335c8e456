"""After a task's body: its snapshot is renewed if the task will run again, and shortened if it is done.

When the server is away, the TTL set at save or at restore stands: the key goes later, but it goes.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from docket import Worker
from docket.dependencies import (
    AdmissionBlocked,
    CompletionHandler,
    ConcurrencyLimit,
    Cron,
    Dependency,
    FailureHandler,
    Perpetual,
    Retry,
    get_annotation_dependencies,
    get_dependency_parameters,
)
from docket.execution import Execution
from uncalled_for import current_frame
from uncalled_for.frames import Frame

from .._runtime import Runtime, runtime
from .._snapshot.lifetime import seconds_until
from .._transport import commands
from .._transport.commands import TaskRecord, TaskState
from .._transport.connection import connection_of
from .._transport.deadline import BackendError, Deadline
from .restoration import Restoration, snapshot_key


class Ending(NamedTuple):
    """How a task's body ended, as far as its snapshot is concerned.

    Attributes:
        runs_again: it will run again, or None when only Docket's record can tell.
        delay: seconds until then.
    """

    runs_again: bool | None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class RerunHandlers:
    """What may make a task run again, declared on the task or on the worker.

    Attributes:
        failure: its retry.
        completion: its perpetuation.
        parks: a concurrency limit, which may park it.
    """

    failure: FailureHandler[Any] | None
    completion: CompletionHandler[Any] | None
    parks: bool
    _frame: Frame | None
    _names: dict[int, str]

    @classmethod
    def of(cls, execution: Execution, worker: Worker) -> RerunHandlers:
        """Look them up.  Must be called while Docket resolves the task's dependencies."""
        failure = completion = None
        parks = False
        on_task = get_dependency_parameters(execution.function)
        annotated = get_annotation_dependencies(execution.function)
        declared = chain(worker.dependencies.values(), on_task.values(), chain.from_iterable(annotated.values()))
        for dependency in declared:
            if isinstance(dependency, FailureHandler):
                failure = failure or dependency
            if isinstance(dependency, CompletionHandler):
                completion = completion or dependency
            if isinstance(dependency, ConcurrencyLimit):
                parks = True
        if failure is None and completion is None:
            return _PARKED_AT_MOST if parks else NEVER_AGAIN
        names = {id(handler): name for name, handler in on_task.items()}
        return cls(failure, completion, parks, current_frame(), names)

    def ending(self, execution: Execution, error: BaseException | None) -> Ending | None:
        """What an end of the task's body, with or without an exception, means for its snapshot; None: nothing."""
        match error:
            case None:
                # Docket has recorded a success by now, and a perpetual task has scheduled its next run
                return Ending(runs_again=None if self.completion else False)
            case AdmissionBlocked(handled=True):
                # parked: it may have been run by now, and its snapshot shortened, which must not be undone
                return None
            case AdmissionBlocked():
                delay = error.retry_delay or timedelta(0)
                return Ending(error.reschedule, delay.total_seconds())
            case asyncio.CancelledError():
                # cancelled for good (Docket's record says so already), or the worker stops and it is redelivered
                return Ending(runs_again=None)
            case Exception():
                return self._after_failure(execution)
            case _:
                return Ending(runs_again=True)

    def _after_failure(self, execution: Execution) -> Ending:
        """Docket acts on a failure only after us: what it is going to do follows from the handlers."""
        if self.failure is not None:
            handler = self._resolved(self.failure)
            if not isinstance(handler, Retry):
                return Ending(runs_again=True)
            if handler.attempts is None or execution.attempt < handler.attempts:
                return Ending(runs_again=True, delay=handler.delay.total_seconds())
        if self.completion is not None:
            completion = self._resolved(self.completion)
            if not (isinstance(completion, Perpetual) and completion.cancelled):
                return Ending(runs_again=True, delay=_next_run(completion))
        return Ending(runs_again=False)

    def _resolved(self, declared: Dependency[Any]) -> Any:
        """The instance that the task's body was given, on which it may have set another delay."""
        name = self._names.get(id(declared), "")
        return declared if self._frame is None else self._frame.resolved.get(name, declared)


NEVER_AGAIN = RerunHandlers(None, None, parks=False, _frame=None, _names={})
_PARKED_AT_MOST = RerunHandlers(None, None, parks=True, _frame=None, _names={})


def _next_run(handler: Any) -> float:
    """Seconds until a task that failed for good perpetuates itself all the same."""
    if not isinstance(handler, Perpetual):
        return 0.0
    # private in Docket: where after() and at() leave what the body asked for (tests/upstream/test_docket.py)
    asked: datetime | None = getattr(handler, "_next_when", None)
    if asked is not None:
        return seconds_until(asked)
    if isinstance(handler, Cron):
        # a fresh one, because asking takes the next time off the handler
        return seconds_until(Cron(handler.expression, tz=handler.tz).initial_when)
    return handler.every.total_seconds()


async def expire_as_needed(
    restoration: Restoration, execution: Execution, handlers: RerunHandlers, error: BaseException | None
) -> None:
    """Give the snapshot the life that it needs after an end of the body, with or without an exception."""
    ending = handlers.ending(execution, error)
    if ending is None:
        return
    within = restoration.runtime
    try:
        with Deadline(restoration.connection.timers, within.settings.backend_timeout):
            if ending.runs_again is False:
                # a later submission under the same key has set its own
                await commands.expire_unless_superseded(
                    restoration.connection,
                    restoration.redis_key,
                    _shortened(restoration.ttl_left(), within),
                    execution.docket.runs_key(execution.key),
                    execution.generation,
                )
            else:
                await _renew(restoration, execution, ending, within)
    except BackendError:
        return


async def shorten_if_ended(execution: Execution) -> None:
    """The task was cancelled during its restore: for good, or because the worker stops and it is to be redelivered."""
    key = snapshot_key(execution.docket, execution.key)
    if key is None:
        return
    within, connection = runtime(), connection_of(execution.docket)
    with Deadline(connection.timers, within.settings.backend_timeout):
        left, record = await commands.life_of(connection, key, execution.docket.runs_key(execution.key))
        if record.state is TaskState.ENDED and record.generation <= execution.generation:
            await commands.expire(connection, key, _shortened(left, within))


async def _renew(restoration: Restoration, execution: Execution, ending: Ending, within: Runtime) -> None:
    connection, key = restoration.connection, restoration.redis_key
    record_key = execution.docket.runs_key(execution.key)
    left = restoration.ttl_left()
    now_left, record = await commands.life_of(connection, key, record_key)
    if _is_due_again(record, execution, ending):
        due_in = max(0.0, ending.delay, record.due - time.time())
        ttl = max(now_left, math.ceil(due_in) + within.settings.pending_ttl)
        record = await commands.expire_and_look(connection, key, ttl, record_key)
        restoration.renewed(ttl)
        if _is_due_again(record, execution, ending):
            return
        # the next run came, ended, and shortened it before we renewed it
    await commands.expire_unless_superseded(connection, key, _shortened(left, within), record_key, record.generation)


def _shortened(left: int, within: Runtime) -> int:
    """The life of a snapshot whose task is done; a key whose TTL was taken away gets one again."""
    completed_ttl = within.settings.completed_ttl
    return min(left, completed_ttl) if left > 0 else completed_ttl


def _is_due_again(record: TaskRecord, execution: Execution, ending: Ending) -> bool:
    """Whether the key still has a run to come: its next one, one that replaced this one, or a redelivery."""
    if ending.runs_again or record.state is TaskState.PENDING:
        return True
    another = record.generation > execution.generation
    return record.state is TaskState.RUNNING and (another or ending.runs_again is None)
