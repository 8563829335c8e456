"""The task that runs here, and its restored snapshot."""

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
    """The identity of a task.

    Attributes:
        task_id: the caller's own id for the task.
        task_scope: the authorization scope that owns the task; None for an anonymous caller.
    """

    task_id: str
    task_scope: str | None


class RestoredTask(NamedTuple):
    """A restored task: its Docket key, the identity in that key, and its snapshot, once the snapshot is in force.

    Without an identity: the current code runs inside this task, but builds something that no task owns.
    """

    key: str
    info: TaskContextInfo | None
    snapshot: TaskContextSnapshot | None


restored_task: ContextVar[RestoredTask | None] = ContextVar("taskctx_restored_task", default=None)
"""The value may come from another task: compare its key."""


def get_task_context() -> TaskContextInfo | None:
    """The task that runs here; None outside of a Docket worker, and for task keys that taskctx did not build."""
    execution = current_execution.get(None)
    if execution is None:
        return None
    restored = restored_task.get()
    if restored is not None and restored.key == execution.key:
        return restored.info
    parts = parse_task_key(execution.key)
    return None if parts is None else TaskContextInfo(parts.task_id, parts.task_scope)


def get_task_session_id() -> str | None:
    """The id of the session that submitted the current task, from its restored snapshot; None outside of a task.

    For a FastMCP tool this is FastMCP's ``Context.session_id``.  A client of MCP's protocol 2026-07-28 has no session:
    then the id belongs to one tool call, and the client's next call has another id.
    """
    restored = restored_task.get()
    if restored is None or restored.snapshot is None or restored.info != get_task_context():
        # reading the session reads the caller: this call reports a task that was never restored
        current_caller.get()
        return None
    return restored.snapshot.session_id
