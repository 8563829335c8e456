"""Around a task's body: restore before it, and afterwards give the snapshot the life it still needs."""

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

    Before a task's body it restores the caller's context.  After it, it renews the snapshot of a task that will run
    again, shortens that of one that is done, and resets everything.
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
    def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AbstractAsyncContextManager[None]:
        """Docket calls this as a worker starts, in the context that its tasks' are made from, and enters what it gives
        for as long as the worker runs.
        """
        make_shared_anonymously()
        # the time to have every series at 0
        docket_seen(docket.name, tuple(docket.tasks))
        return sweeping(docket)


worker_dependencies: Final[Mapping[str, Any]] = MappingProxyType({"task_context": TaskContext()})
"""For ``Worker(docket, dependencies=...)`` or ``docket worker --dependencies taskctx:worker_dependencies``.

A mapping, so that it can be merged with dependencies of yours, and so that Docket's errors name ``task_context``.
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
        """Restore.  What is in force stays so if that fails the task: Docket resolves its other dependencies all the
        same, and they too see an anonymous caller.
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
        """Reset everything, and give the snapshot the life it still needs."""
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
    """A task's body, while it runs.  That it fails is its own affair, and that Docket puts it off is no failure."""

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
    """Watch the body of a task whose context is in force."""
    if restoration.snapshot is None or not restoration.is_in_force:
        return None
    return WatchedBody(execution, restoration.snapshot.trace_context)
