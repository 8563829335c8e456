"""Cancels a submitted task, or looks it up, by the id that its caller gave to ``add``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import NamedTuple, TypeVar

from docket import Docket
from docket.execution import Execution

from .._caller.caller import get_task_scope
from .._runtime import current_settings, runtime
from .._snapshot.keys import PLAIN_TASK, TaskKeyParts, build_task_key
from .._snapshot.wire import PLAIN
from .._transport import commands
from .._transport.answers import FAILURES
from .._transport.commands import Stored, TaskState
from .._transport.connection import check_docket, check_open, connection_of
from .._transport.deadline import BackendError
from .._transport.keyspace import Claim, claims_of, expire_if_due, scan
from ..errors import ExecutionError, Reason
from .scheduling import scheduler_of

T = TypeVar("T")


async def cancel(docket: Docket, key: str) -> bool:
    """Cancel a task of the current caller, and remove its context.  Like ``docket.cancel``, by the caller's own id.

    The context of a waiting task is removed.  The context of a running task stays for ``completed_ttl``, like that of a
    finished task: Docket asks the worker to cancel the task's body, which may continue for a while.

    Args:
        docket: an open docket.
        key: the id that was given to :func:`add`.

    Returns:
        True if a task was cancelled.  False, without any change, where the caller has no waiting or running task with
        this id, because the id is unknown, the task belongs to another scope, or the task has ended.

    Raises:
        ExecutionError: the server could not be reached, or refused.  Call again: a second call does no harm.
        InvalidArgument, InvalidType: an argument cannot be used.
    """
    return await _Task(docket, key).asked(_Task.cancel)


async def get_execution(docket: Docket, key: str) -> Execution | None:
    """A task of the current caller, with its state.  Like ``docket.get_execution``, by the caller's own id.

    Args:
        docket: an open docket.
        key: the id that was given to :func:`add`.

    Returns:
        None where the caller has no such task, because the id is unknown, the task belongs to another scope, or Docket
        has deleted its record (when the task ended longer ago than the docket's ``execution_ttl``).

    Raises:
        ExecutionError: the server could not be reached, or refused.
        InvalidArgument, InvalidType: an argument cannot be used.
    """
    return await _Task(docket, key).asked(_Task.execution)


class _Record(NamedTuple):
    """Docket's record of a task."""

    task_key: str
    claim: Claim


class _Task:
    """A task of the current caller; its id is known, its function is not."""

    def __init__(self, docket: Docket, task_id: str) -> None:
        check_docket(docket)
        self._scope, self._id = get_task_scope(), task_id
        parts = TaskKeyParts(self._scope, task_id, PLAIN_TASK, "-")
        self._snapshot_key = PLAIN.key(docket, self._key_of("-"), parts, runtime())
        check_open(docket)
        self._docket, self._connection = docket, connection_of(docket)
        self._stored: Stored | None = None

    async def asked(self, ask: Callable[[_Task], Awaitable[T]]) -> T:
        """The result of ``ask``, which is one of the methods below.

        Raises:
            ExecutionError: the server could not be reached, or refused.
        """
        try:
            # a limited number at a time: each uses a connection
            return await scheduler_of(self._docket).alone(partial(ask, self))
        except BackendError as error:
            refused = error
        except FAILURES as failure:
            refused = BackendError(Reason.BACKEND_ERROR, failure)
        raise ExecutionError(refused.reason, refused.cause)

    async def cancel(self) -> bool:
        live = [record for record in await self._records() if record.claim.state in commands.LIVE]
        for record in live:
            await self._docket.cancel(record.task_key)
        if live:
            # a failure here is harmless: a remaining snapshot has a TTL, and workers sweep
            with suppress(BackendError):
                await self._take_context_away(live)
        return bool(live)

    async def execution(self) -> Execution | None:
        for record in await self._records():
            execution = await self._docket.get_execution(record.task_key)
            if execution is not None:
                return execution
        return None

    async def _records(self) -> list[_Record]:
        """Docket's records under this id, usually of one function; waiting and running tasks come first."""
        with self._connection.deadline():
            self._stored = await commands.fetch(self._connection, self._snapshot_key)
        records = await self._records_of([self._key_of(name) for name in self._docket.tasks])
        if not records and self._stored is not None:
            # this process may not have registered the task's function
            records = await self._records_of(await self._searched())
        return sorted(records, key=lambda record: record.claim.state not in commands.LIVE)

    async def _take_context_away(self, cancelled: Sequence[_Record]) -> None:
        """Remove the snapshot, or shorten its TTL if a worker claimed one of these tasks before the cancellation."""
        if self._stored is None:
            return
        with self._connection.deadline():
            claims = await self._claims([record.task_key for record in cancelled])
            if any(claim.state in commands.LIVE for claim in claims):
                return  # the task was added again
            if all(_never_ran(record.claim, now) for record, now in zip(cancelled, claims, strict=True)):
                await commands.compare_and_set(self._connection, self._snapshot_key, self._stored.value, None)
            else:
                completed_ttl = current_settings().completed_ttl
                due = {self._snapshot_key: range(completed_ttl + 1, max(completed_ttl, self._stored.ttl or 0) + 2)}
                await expire_if_due(self._connection, completed_ttl, due)

    async def _records_of(self, task_keys: Sequence[str]) -> list[_Record]:
        with self._connection.deadline():
            claims = await self._claims(task_keys)
        found = zip(task_keys, claims, strict=True)
        return [_Record(key, claim) for key, claim in found if claim.state is not TaskState.UNKNOWN]

    async def _claims(self, task_keys: Sequence[str]) -> list[Claim]:
        return await claims_of(self._connection, [self._docket.runs_key(key) for key in task_keys])

    async def _searched(self) -> list[str]:
        """The Docket keys of all tasks with this id, for any function."""
        prefix = self._docket.runs_key("")
        ours = self._docket.runs_key(self._key_of("-")).removesuffix("-")
        async with aclosing(scan(self._connection, ours)) as steps:
            return [key.removeprefix(prefix) async for keys in steps for key in keys]

    def _key_of(self, name: str) -> str:
        return build_task_key(self._scope, self._id, PLAIN_TASK, name)


def _never_ran(before: Claim, now: Claim) -> bool:
    """Whether a waiting task was cancelled before a worker claimed it.  Docket lets no worker claim it after that."""
    return before.state is TaskState.PENDING and now == Claim(TaskState.ENDED, before.started_at)
