"""The task that runs here and now, and the snapshot restored for it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from docket.dependencies import current_execution

from .._caller.caller import current_caller
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


class RestoredTask(NamedTuple):
    """A task that was restored: its Docket key, what that key means, and its snapshot once that is in force.

    Without a meaning it is the task in which something is made that belongs to no task.
    """

    key: str
    info: TaskContextInfo | None
    snapshot: TaskContextSnapshot | None


restored_task: ContextVar[RestoredTask | None] = ContextVar("taskctx_restored_task", default=None)
"""It may be left over from another task: the key tells."""


def get_task_context() -> TaskContextInfo | None:
    """The task that runs here; None outside a Docket worker, and for task keys that are not ours."""
    execution = current_execution.get(None)
    if execution is None:
        return None
    restored = restored_task.get()
    if restored is not None and restored.key == execution.key:
        return restored.info
    parts = parse_task_key(execution.key)
    return None if parts is None else TaskContextInfo(parts.task_id, parts.task_scope)


def get_task_session_id() -> str | None:
    """The session that submitted the current task, from its restored snapshot; None outside a task.

    For a FastMCP tool it is FastMCP's ``Context.session_id``.  A client of MCP's protocol 2026-07-28 has no session:
    the id is then one of the tool call alone, and the next call of the same client has another.
    """
    restored = restored_task.get()
    if restored is None or restored.snapshot is None or restored.info != get_task_context():
        # who asks for the session asks for the caller: in a run that was never restored, that is told
        current_caller.get()
        return None
    return restored.snapshot.session_id
