"""After a task's body: renew the snapshot's TTL if the task will run again, or shorten it if the task is done.

When the server is down, the TTL of the save or the restore stays: the snapshot expires later, but it expires.
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
    """What the end of a task's body means for its snapshot.

    Attributes:
        runs_again: whether the task will run again; None when only Docket's record says so.
        delay: seconds until the next run.
    """

    runs_again: bool | None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class RerunHandlers:
    """The Docket dependencies that may make a task run again, declared on the task or on the worker.

    Attributes:
        failure: the task's failure handler (``Retry``).
        completion: the task's completion handler (``Perpetual``, ``Cron``).
        parks: whether a concurrency limit may park the task.
    """

    failure: FailureHandler[Any] | None
    completion: CompletionHandler[Any] | None
    parks: bool
    _frame: Frame | None
    _names: dict[int, str]

    @classmethod
    def of(cls, execution: Execution, worker: Worker) -> RerunHandlers:
        """Find the handlers of a task.  Call it while Docket resolves the task's dependencies."""
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
        """What the end of the body means for the snapshot; ``error`` is the body's exception.  None: change nothing."""
        match error:
            case None:
                # Docket has recorded a success by now, and a perpetual task has scheduled its next run
                return Ending(runs_again=None if self.completion else False)
            case AdmissionBlocked(handled=True):
                # parked: the task may have run by now, and then its snapshot is shortened, which must stay
                return None
            case AdmissionBlocked():
                delay = error.retry_delay or timedelta(0)
                return Ending(error.reschedule, delay.total_seconds())
            case asyncio.CancelledError():
                # cancelled for good (then Docket's record says so), or the worker stops and the task is redelivered
                return Ending(runs_again=None)
            case Exception():
                return self._after_failure(execution)
            case _:
                return Ending(runs_again=True)

    def _after_failure(self, execution: Execution) -> Ending:
        """What Docket will do after a failure, by the task's handlers: Docket acts only after taskctx."""
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
        """The handler instance that the task's body received: the body may have changed its delay."""
        name = self._names.get(id(declared), "")
        return declared if self._frame is None else self._frame.resolved.get(name, declared)


NEVER_AGAIN = RerunHandlers(None, None, parks=False, _frame=None, _names={})
_PARKED_AT_MOST = RerunHandlers(None, None, parks=True, _frame=None, _names={})


def _next_run(handler: Any) -> float:
    """Seconds until the next run of a perpetual task that failed for good."""
    if not isinstance(handler, Perpetual):
        return 0.0
    # private in Docket: after() and at() store here the time that the body asked for (tests/upstream/test_docket.py)
    asked: datetime | None = getattr(handler, "_next_when", None)
    if asked is not None:
        return seconds_until(asked)
    if isinstance(handler, Cron):
        # a new Cron, because reading initial_when advances the handler
        return seconds_until(Cron(handler.expression, tz=handler.tz).initial_when)
    return handler.every.total_seconds()


async def expire_as_needed(
    restoration: Restoration, execution: Execution, handlers: RerunHandlers, error: BaseException | None
) -> None:
    """Set the snapshot's TTL after the end of the body; ``error`` is the body's exception."""
    ending = handlers.ending(execution, error)
    if ending is None:
        return
    within = restoration.runtime
    try:
        with Deadline(restoration.connection.timers, within.settings.backend_timeout):
            if ending.runs_again is False:
                # a later submission under the same key has set a TTL of its own
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
    """Shorten the snapshot of a task cancelled during its restore, unless it will be redelivered (worker stops)."""
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
        # the next run began, ended, and shortened the TTL before we renewed it
    await commands.expire_unless_superseded(connection, key, _shortened(left, within), record_key, record.generation)


def _shortened(left: int, within: Runtime) -> int:
    """The TTL for the snapshot of a finished task; a key that lost its TTL gets one again."""
    completed_ttl = within.settings.completed_ttl
    return min(left, completed_ttl) if left > 0 else completed_ttl


def _is_due_again(record: TaskRecord, execution: Execution, ending: Ending) -> bool:
    """Whether the task key will run again: its next run, a replacement of this run, or a redelivery."""
    if ending.runs_again or record.state is TaskState.PENDING:
        return True
    another = record.generation > execution.generation
    return record.state is TaskState.RUNNING and (another or ending.runs_again is None)
