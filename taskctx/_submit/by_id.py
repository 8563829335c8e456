"""Tasks that were submitted before, by the id that their caller gave to ``add``: cancelled, and looked up."""

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
    """Cancel a task of the current caller's, and take its context away.  As ``docket.cancel``, by the caller's own id.

    The context of a task that waits is removed.  A task that runs keeps it for ``completed_ttl``, as one that is done:
    Docket asks its worker to cancel the body, which may go on for a while.

    Args:
        docket: an open docket.
        key: the id that was given to :func:`add`.

    Returns:
        Whether there was something to cancel.  Nothing is changed where the caller has no task of this id that waits or
        runs, because the id is unknown, the task is another scope's, or it has ended.

    Raises:
        ExecutionError: the server could not be asked, or refused.  Ask again: a second call does no harm.
        InvalidArgument, InvalidType: an argument cannot be used.
    """
    return await _Task(docket, key).asked(_Task.cancel)


async def get_execution(docket: Docket, key: str) -> Execution | None:
    """A task of the current caller's, with its state.  As ``docket.get_execution``, by the caller's own id.

    Args:
        docket: an open docket.
        key: the id that was given to :func:`add`.

    Returns:
        None where the caller has no such task, because the id is unknown, the task is another scope's, or Docket has
        forgotten it (when it ended longer ago than the docket's ``execution_ttl``).

    Raises:
        ExecutionError: the server could not be asked, or refused.
        InvalidArgument, InvalidType: an argument cannot be used.
    """
    return await _Task(docket, key).asked(_Task.execution)


class _Record(NamedTuple):
    """A task that Docket has a record of."""

    task_key: str
    claim: Claim


class _Task:
    """A task of the current caller's, of which the id is known but not the function."""

    def __init__(self, docket: Docket, task_id: str) -> None:
        check_docket(docket)
        self._scope, self._id = get_task_scope(), task_id
        parts = TaskKeyParts(self._scope, task_id, PLAIN_TASK, "-")
        self._snapshot_key = PLAIN.key(docket, self._key_of("-"), parts, runtime())
        check_open(docket)
        self._docket, self._connection = docket, connection_of(docket)
        self._stored: Stored | None = None

    async def asked(self, ask: Callable[[_Task], Awaitable[T]]) -> T:
        """What one of the methods below gives.

        Raises:
            ExecutionError: the server did not do what it was asked.
        """
        try:
            # not too many at a time: each takes a connection
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
            # a context that is left over has a TTL, and workers sweep
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
        """What Docket has under this id: of one function as a rule, and tasks that wait or run before others."""
        with self._connection.deadline():
            self._stored = await commands.fetch(self._connection, self._snapshot_key)
        records = await self._records_of([self._key_of(name) for name in self._docket.tasks])
        if not records and self._stored is not None:
            # a task that this process has not registered
            records = await self._records_of(await self._searched())
        return sorted(records, key=lambda record: record.claim.state not in commands.LIVE)

    async def _take_context_away(self, cancelled: Sequence[_Record]) -> None:
        """Remove the snapshot, or shorten its life if a worker claimed one of these tasks before it was cancelled."""
        if self._stored is None:
            return
        with self._connection.deadline():
            claims = await self._claims([record.task_key for record in cancelled])
            if any(claim.state in commands.LIVE for claim in claims):
                return  # it was added again
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
        """The Docket keys of tasks with this id, whatever their function."""
        prefix = self._docket.runs_key("")
        ours = self._docket.runs_key(self._key_of("-")).removesuffix("-")
        async with aclosing(scan(self._connection, ours)) as steps:
            return [key.removeprefix(prefix) async for keys in steps for key in keys]

    def _key_of(self, name: str) -> str:
        return build_task_key(self._scope, self._id, PLAIN_TASK, name)


def _never_ran(before: Claim, now: Claim) -> bool:
    """Whether a task that waited was cancelled before a worker claimed it.  Docket refuses to have it claimed later."""
    return before.state is TaskState.PENDING and now == Claim(TaskState.ENDED, before.started_at)
