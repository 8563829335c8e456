"""Around a task's body: restore the caller before it, and set the snapshot's TTL after it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, Final

from docket import Docket, Worker
from docket.dependencies import AdmissionBlocked, Dependency, current_execution, current_worker
from docket.execution import Execution

from .._transport.deadline import BackendError
from ..operations import Run
from ..telemetry.observe import docket_seen, observe
from .afterwards import NEVER_AGAIN, RerunHandlers, expire_as_needed, shorten_if_ended
from .held_back import held_back
from .restoration import Restoration
from .shared import make_shared_anonymously
from .sweep import sweeping


class TaskContext(Dependency[None]):
    """The worker-level Docket dependency behind :data:`taskctx.worker_dependencies`.

    Before a task's body, the dependency restores the caller's context.  After the body, it renews the snapshot's TTL if
    the task will run again, shortens it if the task is done, and resets all that it set.
    """

    _run: ContextVar[_TaskRun] = ContextVar("taskctx_run")

    async def __aenter__(self) -> None:
        # all tasks of a worker share this instance: the state of a task is in the task's own context
        run = _TaskRun(current_execution.get(), current_worker.get())
        await run.enter()
        self._run.set(run)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._run.get().leave(error)

    @classmethod
    def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AbstractAsyncContextManager[None]:
        """Called by Docket when a worker starts, in the context that its tasks copy.  Docket keeps the returned context
        manager entered while the worker runs.
        """
        make_shared_anonymously()
        # create every series at 0
        docket_seen(docket.name, tuple(docket.tasks))
        return sweeping(docket)


worker_dependencies: Final[Mapping[str, Any]] = MappingProxyType({"task_context": TaskContext()})
"""For ``Worker(docket, dependencies=...)`` or ``docket worker --dependencies taskctx:worker_dependencies``.

A mapping, so that you can merge it with your own dependencies, and so that Docket's errors name ``task_context``.
"""


class _TaskRun:
    """One run of a task, from before its body until after it."""

    __slots__ = ("_body", "_execution", "_handlers", "_restoration")

    def __init__(self, execution: Execution, worker: Worker) -> None:
        self._execution = execution
        self._handlers = RerunHandlers.of(execution, worker)
        self._restoration = Restoration(execution.key)
        self._body: WatchedBody | None = None

    async def enter(self) -> None:
        """Restore.  A failed restore leaves the anonymous caller in force: Docket still resolves the task's other
        dependencies, and they must see no other caller.
        """
        restoration = self._restoration
        if held_back:
            held_back.resume(restoration, self._execution)
        try:
            await restoration.run(renew=self._handlers is not NEVER_AGAIN or self._execution.redelivered)
        except asyncio.CancelledError:
            with suppress(BackendError):
                await shorten_if_ended(self._execution)
            raise
        if restoration.runtime.observers.watches[Run].any:
            self._body = watched_body(self._execution, restoration)

    async def leave(self, error: BaseException | None) -> None:
        """Set the snapshot's TTL, and reset everything."""
        try:
            if self._body is not None:
                self._body.end(error)
            if self._restoration.is_in_force:
                if isinstance(error, AdmissionBlocked):
                    held_back.remember(self._restoration, self._execution, error)
                await expire_as_needed(self._restoration, self._execution, self._handlers, error)
        finally:
            self._restoration.resets.run()


class WatchedBody:
    """Observes a task's body while it runs.  The body is not failed where Docket only postpones the task."""

    __slots__ = ("_operation", "_watch")

    def __init__(self, execution: Execution, origin: Mapping[str, str]) -> None:
        self._operation = Run(
            docket_name=execution.docket.name,
            docket_task=execution.function_name,
            attempt=execution.attempt,
            origin=origin,
        )
        self._watch = observe(self._operation)
        self._watch.__enter__()

    def end(self, error: BaseException | None) -> None:
        match error:
            case AdmissionBlocked():
                self._operation.skipped()
            case Exception():
                self._operation.body_failed(type(error).__qualname__)
            case _:
                pass
        self._watch.__exit__(None if error is None else type(error), error, None)


def watched_body(execution: Execution, restoration: Restoration) -> WatchedBody | None:
    """Observe the body of a task with a restored context; None for a task without one."""
    if restoration.snapshot is None or not restoration.is_in_force:
        return None
    return WatchedBody(execution, restoration.snapshot.trace_context)
