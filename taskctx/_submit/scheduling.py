"""Schedules tasks with Docket; tasks that are submitted at the same time share a batch.

``docket.add`` costs two to three times as much CPU as one task in ``docket.add_many``.  So a task joins the current
batch unless its submitter's span is recorded.  Each task keeps its own disposition, error and trace context.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar, cast

from docket import Docket
from docket.execution import Disposition, Execution, TaskCall

from .._caller.trace_context import message_carrier, use_parent_span
from .._transport.answers import FAILURES
from .._transport.connection import PerDocket
from .._transport.lane import PATIENCE, Lane
from .docket_messages import carrying

T = TypeVar("T")

MAX_ALONE = 8
"""How many calls of Docket run at a time: redis-py's pool does not wait for a free connection, it raises."""

MAX_TOGETHER = 64
"""The most tasks in a batch: their arguments, of any size, are in memory at the same time."""

CLUSTER = ("redis+cluster:", "rediss+cluster:")
"""No batches in a cluster: ``add_many`` sends its script to every node, so it schedules nothing while one is down."""


class _Add(NamedTuple):
    call: TaskCall
    carrier: Mapping[str, str]


class Scheduler:
    """Schedules the tasks of one docket, in one event loop."""

    def __init__(self, docket: Docket) -> None:
        self._docket = cast("Docket", weakref.proxy(docket))
        self._may_batch = not docket.url.startswith(CLUSTER)
        self._alone = asyncio.Semaphore(MAX_ALONE)
        self._lane: Lane[_Add, Execution | Exception] = Lane(self._add_alone, self._add_batch, MAX_TOGETHER)
        self._batch: asyncio.Future[None] | None = None

    async def add(self, call: TaskCall) -> Execution:
        """Do ``docket.add``, in a batch with other tasks, unless Docket's own span of this task must be recorded."""
        carrier = message_carrier() if self._may_batch else None
        if carrier is None:
            return await self.alone(partial(self._add_alone, _Add(call, {})))
        try:
            answer = await self._lane.ask(_Add(call, carrier))
        except asyncio.CancelledError:
            # Whether the snapshot stays depends on whether the task was scheduled: wait until that is known.
            if self._batch is not None:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([self._batch], timeout=PATIENCE)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def alone(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Let Docket do something with one task, outside of a batch."""
        async with self._alone:
            return await ask()

    def _add_alone(self, add: _Add) -> Awaitable[Execution]:
        call = add.call
        function = call.function if call.function_name is None else call.function_name
        return self._docket.add(function, call.when, call.key)(*call.args, **call.kwargs)

    async def _add_batch(self, adds: Sequence[_Add]) -> list[Execution | Exception]:
        """Add tasks of several submitters.  It runs in a clean context: each message gets its own submitter's trace
        context.  Docket's span of the batch is not recorded, because its parent is not recorded.
        """
        batch = self._batch = asyncio.get_running_loop().create_future()
        parent = next((add.carrier for add in adds if add.carrier), dict[str, str]())
        try:
            # Docket schedules the first of two tasks with the same key
            with use_parent_span(parent), carrying({add.call.key: add.carrier for add in reversed(adds)}):
                return await self._added(adds)
        finally:
            batch.set_result(None)
            if self._batch is batch:
                self._batch = None

    async def _added(self, adds: Sequence[_Add]) -> list[Execution | Exception]:
        try:
            executions = await self._docket.add_many([add.call for add in adds], chunk_size=None)
        except FAILURES:
            raise
        except Exception:  # noqa: BLE001 - one task's error (its arguments cannot be pickled): nothing was sent
            return [await self._answer(add) for add in adds]
        return [own_error(execution) or execution for execution in executions]

    async def _answer(self, add: _Add) -> Execution | Exception:
        try:
            return await self._add_alone(add)
        except Exception as error:  # noqa: BLE001 - raised to the task's own submitter
            return error


def own_error(execution: Execution) -> Exception | None:
    """The error of one task of a batch, which Docket keeps in the execution; ``docket.add`` would have raised it."""
    if execution.disposition is not Disposition.FAILED:
        return None
    return cast("Exception | None", execution.schedule_exception)


scheduler_of = PerDocket(Scheduler).of
"""The scheduler of a docket in this event loop."""
