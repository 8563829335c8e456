"""In the worker: FastMCP's restore, as an operation of taskctx's, and the tool's body watched as any task's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from docket import Docket
from docket.dependencies import TaskKey, current_docket, current_execution

from .._caller.resets import Undo
from .._snapshot.keys import PLAIN_TASK, TaskKeyParts
from .._worker.current_task import TaskContextInfo, foreign_task
from .._worker.dependency import TaskContext, watching_body
from .._worker.restoration import Restored, attempt, become_nobody, restore_operation
from ..settings import current_settings
from ..telemetry.observe import docket_seen
from . import _upstream
from ._reader import SnapshotReader
from ._upstream import FastMCPSnapshot

Theirs = Callable[..., Any]

NOBODYS = FastMCPSnapshot()


def restoring(theirs: Theirs) -> object:
    """FastMCP's ``restore_task_snapshot``, for ``Depends`` and to be awaited, as there."""

    def restore_task_snapshot(key: str = TaskKey()) -> Restoration:
        return Restoration(theirs, key)

    return restore_task_snapshot


class Restoration(AbstractAsyncContextManager[None]):
    """Docket enters it around a task's body.  Awaited, it restores for the rest of the current task."""

    def __init__(self, theirs: Theirs, key: str) -> None:
        self._theirs = theirs
        self._key = key

    def __await__(self) -> Generator[Any, None, None]:
        return self._restore_for_good().__await__()

    async def __aenter__(self) -> None:
        self._run = _run_of(self._key)
        await self._run.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._run.__aexit__(kind, error, traceback)

    async def _restore_for_good(self) -> None:
        parts, here = task_key_parts(self._key), current_docket.get(None)
        if parts is None or here is None:
            await self._theirs(self._key)
        else:
            await restore(self._key, parts, here, Undo())


def _run_of(key: str) -> AbstractAsyncContextManager[None]:
    parts = task_key_parts(key)
    # a plain Docket task on FastMCP's docket was submitted with taskctx.add or without any context
    return TaskContext() if parts is None else _ToolRun(key, parts)


class _ToolRun(AbstractAsyncContextManager[None]):
    """One run of a tool, from before its body until after it."""

    def __init__(self, key: str, parts: TaskKeyParts) -> None:
        self._key = key
        self._parts = parts
        self._undo = Undo()
        self._body: watching_body | None = None

    async def __aenter__(self) -> None:
        """Restore.  What is in force stays so if that fails the task: Docket resolves its other dependencies all the
        same, and they too see nobody.
        """
        execution = current_execution.get()
        restored = await restore(self._key, self._parts, execution.docket, self._undo)
        if restored is not None:
            self._body = watching_body(execution, restored.snapshot.trace_context)
            self._body.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._body is not None:
                self._body.__exit__(kind, error, traceback)
        finally:
            self._undo.take_back()


def task_key_parts(key: str) -> TaskKeyParts | None:
    """The parts of a task key of FastMCP's, of any leg; None for other tasks'."""
    try:
        parts = _upstream.parse_task_key(key)
    except ValueError:
        return None
    if parts["task_type"] == PLAIN_TASK:
        return None
    return TaskKeyParts(parts["task_scope"], parts["client_task_id"], parts["task_type"], parts["component_identifier"])


async def restore(key: str, parts: TaskKeyParts, here: Docket, undo: Undo) -> Restored | None:
    """As :func:`taskctx._worker.restoration.restore`, from FastMCP's snapshot, and for FastMCP's getters too."""
    become_nobody(undo)
    _upstream.apply_snapshot(NOBODYS)
    task = TaskContextInfo(parts.task_id, parts.task_scope)
    undo.set(foreign_task, (key, task))
    docket_seen(here.name)
    operation = restore_operation(here)
    reader = SnapshotReader(here, parts, operation, current_settings())
    restored: Restored | None = None
    try:
        restored = await attempt(operation, parts, reader.find, reader.fails_task, undo)
    finally:
        if restored is None:
            _upstream.apply_snapshot(NOBODYS)
    return restored
