"""The task that runs here and now, and the snapshot restored for it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from docket.dependencies import current_execution

from .._snapshot.keys import parse_task_key
from .._snapshot.snapshot import TaskContextSnapshot


@dataclass(frozen=True, slots=True)
class TaskContextInfo:
    """Which task this is.

    Attributes:
        task_id: the caller's own id of the task.
        task_scope: the authorization scope that owns it, None for an anonymous caller's.
    """

    task_id: str
    task_scope: str | None


restored_snapshot: ContextVar[tuple[TaskContextInfo, TaskContextSnapshot] | None] = ContextVar(
    "taskctx_restored_snapshot", default=None
)
"""Kept with the task it is of, so that one left over from another task is never taken for this one's."""


foreign_task: ContextVar[tuple[str, TaskContextInfo] | None] = ContextVar("taskctx_foreign_task", default=None)
"""The Docket key of the task that runs here and what it means, where somebody else makes the keys (FastMCP)."""


def get_task_context() -> TaskContextInfo | None:
    """The task that runs here; None outside a Docket worker, and for task keys that are not ours."""
    execution = current_execution.get(None)
    if execution is None:
        return None
    foreign = foreign_task.get()
    if foreign is not None and foreign[0] == execution.key:
        return foreign[1]
    parts = parse_task_key(execution.key)
    return None if parts is None else TaskContextInfo(parts.task_id, parts.task_scope)


def get_task_session_id() -> str | None:
    """The session that submitted the current task, from its restored snapshot; None outside a task."""
    restored = restored_snapshot.get()
    if restored is None or restored[0] != get_task_context():
        return None
    return restored[1].session_id
