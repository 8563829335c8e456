"""Docket's ``Shared`` dependencies of a worker are built without a caller.

Docket builds a ``Shared`` inside the first task that needs it, and gives it to all later tasks.  Built as that task's
caller, it would serve every task as that caller for the worker's whole life; so would its background tasks.  While
Docket builds a ``Shared``, it holds a lock and enters the parameters on a stack.  Both are in ContextVars of
``SharedContext``, so taskctx wraps both: the wrappers clear the caller and restore it afterwards.
"""

from __future__ import annotations

from asyncio import Lock
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from contextvars import ContextVar
from typing import Any, cast

from docket.dependencies import SharedContext, current_execution

from .._caller.caller import ANONYMOUS, current_caller
from .._caller.carried import set_carried
from .._caller.resets import Resets
from .._caller.trace_context import clear_trace
from .current_task import RestoredTask, restored_task


def make_shared_anonymously() -> None:
    """Build ``Shared`` dependencies for an anonymous caller, in all tasks that copy the current context."""
    lock = SharedContext.lock.get(None)
    if lock is not None and not isinstance(lock, _LockWithoutCaller):
        SharedContext.lock.set(cast("Lock", _LockWithoutCaller(lock)))
        SharedContext.stack.set(cast("AsyncExitStack", _StackWithoutCaller(SharedContext.stack.get())))


class _LockWithoutCaller:
    """Docket's lock; the caller is cleared while it is held."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        self._resets = _clear_caller()

    async def __aexit__(self, *_: object) -> None:
        self._resets.run()
        self._lock.release()


class _StackWithoutCaller:
    """Docket's stack of ``Shared`` dependencies.  Docket also enters their parameters on it, without the lock."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def enter_async_context(self, entered: AbstractAsyncContextManager[Any]) -> Any:
        with _clear_caller() as resets:
            made_for_task = getattr(entered, "cache", None)
            if isinstance(made_for_task, ContextVar):
                # an empty cache: results of a Depends must not pass from the task to the Shared, nor back
                resets.set(cast("ContextVar[Any]", made_for_task), {})
            return await self._stack.enter_async_context(entered)

    def enter_context(self, entered: AbstractContextManager[Any]) -> Any:
        return self._stack.enter_context(entered)


def _clear_caller() -> Resets:
    """Clear the caller, carried values, trace and baggage of the current task."""
    resets = Resets()
    execution = current_execution.get(None)
    resets.set(current_caller, ANONYMOUS)
    resets.set(restored_task, None if execution is None else RestoredTask(execution.key, None, None))
    set_carried({}, resets)
    clear_trace(resets)
    return resets
