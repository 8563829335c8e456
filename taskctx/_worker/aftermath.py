"""After a task's body: its snapshot is renewed if the task will run again, and shortened if it is done.

When the server is away, the TTL set at save or at restore stands: the key goes later, but it goes.
"""

from __future__ import annotations

import math
import time

from docket.execution import Execution

from .._runtime import Runtime, runtime
from .._transport import commands
from .._transport.commands import TaskRecord, TaskState
from .._transport.connection import connection_of
from .._transport.deadline import BackendError, Deadline
from .rerun import Ending, RerunHandlers
from .restoration import Restoration, snapshot_key


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
        if _is_due_again(record, execution, ending):
            return
        # the next run came, ended, and shortened it before we renewed it
    await commands.expire_unless_superseded(connection, key, _shortened(left, within), record_key, record.generation)


def _shortened(left: int, within: Runtime) -> int:
    """The life of a snapshot whose task is done; a key that lost its TTL to somebody gets one again."""
    completed_ttl = within.settings.completed_ttl
    return min(left, completed_ttl) if left > 0 else completed_ttl


def _is_due_again(record: TaskRecord, execution: Execution, ending: Ending) -> bool:
    """Whether the key still has a run to come: its next one, one that replaced this one, or a redelivery."""
    if ending.runs_again or record.state is TaskState.PENDING:
        return True
    another = record.generation > execution.generation
    return record.state is TaskState.RUNNING and (another or ending.runs_again is None)
