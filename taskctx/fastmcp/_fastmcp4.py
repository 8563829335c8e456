"""The names that only FastMCP 4 has: its tasks are a separate package, which seals and applies snapshots itself."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import Any

from fastmcp.server.dependencies import fastmcp_request_ctx, get_http_request
from fastmcp_tasks import context, creation, lifespan
from fastmcp_tasks.context import _apply_snapshot_to_context, _remember_snapshot
from fastmcp_tasks.context import _snapshot_redis_key as snapshot_redis_key
from fastmcp_tasks.dependencies import _current_docket as current_docket
from fastmcp_tasks.encryption import SnapshotDecryptionError, snapshot_codec
from fastmcp_tasks.keys import parse_task_key

from .._snapshot.codec import as_text as as_unreadable

__all__ = [
    "LIFESPAN",
    "REGISTRIES",
    "SnapshotDecryptionError",
    "as_unreadable",
    "clear",
    "context",
    "current_docket",
    "current_message",
    "current_request",
    "parse_task_key",
    "put_in_force",
    "snapshot_codec",
    "snapshot_redis_key",
]

LIFESPAN = (lifespan, "docket_lifespan")

REGISTRIES = {
    "register_task_session": (context,),
    "get_task_session": (context,),
    "register_task_server": (context, creation),
    "get_task_server": (context,),
}

_ANONYMOUS = context.TaskContextSnapshot()


def current_message() -> Any:
    return fastmcp_request_ctx.get()


def current_request() -> object | None:
    try:
        return get_http_request()
    except RuntimeError:
        return None


def clear() -> None:
    _apply_snapshot_to_context(_ANONYMOUS)


def put_in_force(task_id: str, snapshot: context.TaskContextSnapshot) -> None:
    _apply_snapshot_to_context(snapshot)
    _remember_snapshot(task_id, snapshot)
