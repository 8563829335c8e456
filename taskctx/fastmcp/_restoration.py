"""In the worker: FastMCP's restore is a taskctx restoration, over FastMCP's wire."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from docket.dependencies import AdmissionBlocked, TaskKey, current_docket, current_execution

from .._worker.dependency import TaskContext, WatchedBody, watched_body
from .._worker.held_back import held_back
from .._worker.restoration import Restoration
from .._worker.shared import make_shared_anonymously
from ..operations import Run
from ._upstream import line
from ._wire import FastMCPWire


def restoring(original: Callable[..., Any]) -> object:
    """Wraps FastMCP's ``restore_task_snapshot``, which is used in ``Depends`` or awaited."""

    def restore_task_snapshot(key: str = TaskKey()) -> ToolRestoration:
        return ToolRestoration(original, key)

    return restore_task_snapshot


class ToolRestoration(AbstractAsyncContextManager[None]):
    """Docket enters this around a task's body.  When it is awaited, it restores for the rest of the current task."""

    def __init__(self, original: Callable[..., Any], key: str) -> None:
        self._original = original
        self._key = key
        self._wire = FastMCPWire()

    def __await__(self) -> Generator[Any, None, None]:
        return self._restore_for_good().__await__()

    async def __aenter__(self) -> None:
        make_shared_anonymously()
        # a plain Docket task on FastMCP's docket was submitted with taskctx.add, or without any context
        is_tool = self._wire.parse(self._key) is not None
        self._run = _ToolRun(self._key, self._wire) if is_tool else TaskContext()
        await self._run.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._run.__aexit__(kind, error, traceback)

    async def _restore_for_good(self) -> None:
        if self._wire.parse(self._key) is None or current_docket.get(None) is None:
            await self._original(self._key)
        else:
            await _restored(Restoration(self._key, self._wire))


class _ToolRun(AbstractAsyncContextManager[None]):
    """One run of a tool, from before its body until after it.  FastMCP itself sets the snapshot's TTL."""

    def __init__(self, key: str, wire: FastMCPWire) -> None:
        self._restoration = Restoration(key, wire)
        self._body: WatchedBody | None = None

    async def __aenter__(self) -> None:
        """Restore.  A failed restore leaves the anonymous caller in force: Docket still resolves the task's other
        dependencies, and they must see no other caller.
        """
        if held_back:
            held_back.resume(self._restoration, current_execution.get())
        await _restored(self._restoration)
        if self._restoration.runtime.observers.watches[Run].any:
            self._body = watched_body(current_execution.get(), self._restoration)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._body is not None:
                self._body.end(error)
            if isinstance(error, AdmissionBlocked) and self._restoration.is_in_force:
                held_back.remember(self._restoration, current_execution.get(), error)
        finally:
            self._restoration.resets.run()


async def _restored(restoration: Restoration) -> None:
    """Restore.  FastMCP's own getters see no caller until the snapshot is in force, nor after a failure."""
    line.clear()
    try:
        await restoration.run()
    finally:
        if not restoration.is_in_force:
            line.clear()
