"""What a worker's tasks share (Docket's ``Shared``) is made for none of them.

Docket makes it inside the first task that needs it, which all others then share it with: made as that task's caller, it
would serve everybody as that caller, and so would whatever it starts in the background, for the worker's whole life.
Docket holds a lock while it makes one, and enters what that one needs on a stack; the worker's tasks find both in
ContextVars of ``SharedContext``, and so there is the place to take the caller away and to give it back.
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
from .._caller.trace_context import leave_trace
from .current_task import RestoredTask, restored_task


def make_shared_anonymously() -> None:
    """Have what is shared be made for an anonymous caller, by the tasks whose context is made from this one."""
    lock = SharedContext.lock.get(None)
    if lock is not None and not isinstance(lock, _LockWhileMaking):
        SharedContext.lock.set(cast("Lock", _LockWhileMaking(lock)))
        SharedContext.stack.set(cast("AsyncExitStack", _StackOfShared(SharedContext.stack.get())))


class _LockWhileMaking:
    """Docket's lock, with no caller for as long as it is held."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        self._resets = _for_no_task()

    async def __aexit__(self, *_: object) -> None:
        self._resets.run()
        self._lock.release()


class _StackOfShared:
    """Docket's stack of what is shared, on which it also enters the parameters of what makes it, without the lock."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def enter_async_context(self, entered: AbstractAsyncContextManager[Any]) -> Any:
        with _for_no_task() as resets:
            made_for_task = getattr(entered, "cache", None)
            if isinstance(made_for_task, ContextVar):
                # what a Depends has made for this task is not shared, and what it makes here is not the task's
                resets.set(cast("ContextVar[Any]", made_for_task), {})
            return await self._stack.enter_async_context(entered)

    def enter_context(self, entered: AbstractContextManager[Any]) -> Any:
        return self._stack.enter_context(entered)


def _for_no_task() -> Resets:
    """Take away the caller, carried values, trace and baggage of the task that runs here."""
    resets = Resets()
    execution = current_execution.get(None)
    resets.set(current_caller, ANONYMOUS)
    resets.set(restored_task, None if execution is None else RestoredTask(execution.key, None, None))
    set_carried({}, resets)
    leave_trace(resets)
    return resets
