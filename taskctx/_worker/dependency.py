"""Around a task's body: restore before it, and afterwards give the snapshot the life it still needs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, Final

from docket import Docket, Worker
from docket.dependencies import AdmissionBlocked, Dependency, current_execution, current_worker
from docket.execution import Execution

from .._caller.resets import Undo
from .._snapshot.keys import parse_task_key
from .._transport import commands
from .._transport.commands import RunState
from .._transport.deadline import BackendError, bounded
from ..operations import Run
from ..settings import current_settings
from ..telemetry.observe import docket_seen, observe
from .rerun import Ending, RerunHandlers
from .restoration import Fetched, redis_key, restore


class TaskContext(Dependency[None]):
    """The worker-level Docket dependency behind :data:`taskctx.worker_dependencies`.

    Before a task's body it restores the caller's context.  After it, it renews the snapshot of a task that will run
    again, shortens that of one that is done, and takes everything back.
    """

    _run: ContextVar[_TaskRun] = ContextVar("taskctx_run")

    async def __aenter__(self) -> None:
        # one instance serves every task of a worker: what belongs to a task is kept in the task's own context
        run = _TaskRun(current_execution.get(), current_worker.get())
        await run.enter()
        self._run.set(run)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._run.get().leave(error)

    @classmethod
    def worker_lifecycle(cls, docket: Docket, worker: Worker) -> None:
        """Docket calls this as a worker starts: the time to have every series at 0."""
        docket_seen(docket.name, tuple(docket.tasks))


worker_dependencies: Final[Mapping[str, Any]] = MappingProxyType({"task_context": TaskContext()})
"""For ``Worker(docket, dependencies=...)`` or ``docket worker --dependencies taskctx:worker_dependencies``.

A mapping, so that it can be merged with dependencies of yours, and so that Docket's errors name ``task_context``.
"""


class _TaskRun:
    """One run of a task, from before its body until after it."""

    __slots__ = ("_body", "_execution", "_handlers", "_restored", "_undo")

    def __init__(self, execution: Execution, worker: Worker) -> None:
        self._execution = execution
        self._handlers = RerunHandlers.of(execution, worker)
        self._undo = Undo()

    async def enter(self) -> None:
        """Restore.  What is in force stays so if that fails the task: Docket resolves its other dependencies all the
        same, and they too see nobody.
        """
        execution = self._execution
        try:
            renew = bool(self._handlers) or execution.redelivered
            self._restored = await restore(execution.key, self._undo, renew=renew)
        except asyncio.CancelledError:
            with suppress(BackendError):
                await _shorten_if_ended(execution)
            raise
        if self._restored is not None:
            self._body = watching_body(execution, self._restored.snapshot.trace_context)
            self._body.__enter__()

    async def leave(self, error: BaseException | None) -> None:
        """Take everything back, and give the snapshot the life it still needs."""
        try:
            if self._restored is not None:
                self._body.__exit__(None if error is None else type(error), error, None)
                await self._settle(self._restored.fetched, self._handlers.ending(self._execution, error))
        finally:
            self._undo.take_back()

    async def _settle(self, fetched: Fetched, ending: Ending | None) -> None:
        if ending is None:
            return
        # When the server is away, the TTL set at save or at restore stands: the key goes later, but it goes.
        with suppress(BackendError):
            async with bounded():
                await _settle(self._execution, fetched, ending)


class watching_body:  # noqa: N801 - reads as a verb: ``with watching_body(execution, origin)``
    """Watch the task's body.  That it fails is its own affair, and that Docket puts it off is no failure."""

    __slots__ = ("_operation", "_watch")

    def __init__(self, execution: Execution, origin: Mapping[str, str]) -> None:
        self._operation = Run(
            docket_name=execution.docket.name,
            docket_task=execution.function_name,
            attempt=execution.attempt,
            origin=origin,
        )
        self._watch = observe(self._operation)

    def __enter__(self) -> None:
        self._watch.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        match error:
            case AdmissionBlocked():
                self._operation.skipped()
            case Exception():
                self._operation.body_failed(type(error).__qualname__)
            case _:
                pass
        self._watch.__exit__(kind, error, traceback)


async def _shorten_if_ended(execution: Execution) -> None:
    """The task was cancelled during its restore: for good, or because the worker stops and it is to be redelivered."""
    if parse_task_key(execution.key) is None:
        return
    key = redis_key(execution.docket, execution.key)
    async with bounded():
        left, run = await commands.life_of(execution.docket, key, execution.key)
        if run.state is RunState.ENDED and run.generation <= execution.generation:
            await commands.expire(execution.docket, key, _shortened(left))


async def _settle(execution: Execution, fetched: Fetched, ending: Ending) -> None:
    """Renew the snapshot of a task that will run again, shorten that of a task that is done."""
    settings = current_settings()
    docket, key = execution.docket, fetched.redis_key
    left = fetched.ttl - math.floor(time.monotonic() - fetched.fetched_at)
    shortened = _shortened(left)
    if ending.runs_again is False:
        # a later submission under the same key has set its own
        await commands.expire_unless_superseded(docket, key, shortened, execution.key, execution.generation)
        return
    now_left, run = await commands.life_of(docket, key, execution.key)
    if _is_due_again(run, execution, ending):
        due_in = max(0.0, ending.delay, run.due - time.time())
        ttl = max(now_left, math.ceil(due_in) + settings.pending_ttl)
        run = await commands.expire_and_look(docket, key, ttl, execution.key)
        if _is_due_again(run, execution, ending):
            return
        # the next run came, ended, and shortened it before we renewed it
    await commands.expire_unless_superseded(docket, key, shortened, execution.key, run.generation)


def _shortened(left: int) -> int:
    """The life of a snapshot whose task is done; a key that somebody took the TTL from gets one again."""
    completed_ttl = current_settings().completed_ttl
    return min(left, completed_ttl) if left > 0 else completed_ttl


def _is_due_again(run: commands.Run, execution: Execution, ending: Ending) -> bool:
    """Whether the key still has a run to come: its next one, one that replaced this one, or a redelivery."""
    if ending.runs_again or run.state is RunState.PENDING:
        return True
    another = run.generation > execution.generation
    return run.state is RunState.RUNNING and (another or ending.runs_again is None)
