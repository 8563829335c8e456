"""The names that only FastMCP 3.4 has: its tasks are part of FastMCP, and its snapshots are stored in plain text.

FastMCP 3's getters read the task's snapshot at each call, and only log a snapshot that cannot be parsed.  So taskctx
stores a sealed snapshot as a valid JSON object that raises an error when a getter reads a part of the caller.
"""

# pyright sees only the installed FastMCP line, which may be 4
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportPrivateUsage=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

from docket import Docket
from fastmcp.server import dependencies
from fastmcp.server.auth import AccessToken
from fastmcp.server.dependencies import _current_docket as current_docket
from fastmcp.server.http import _current_http_request
from fastmcp.server.mixins.lifespan import LifespanMixin
from fastmcp.server.tasks import context, handlers
from fastmcp.server.tasks.context import _remember_snapshot, _task_snapshot
from fastmcp.server.tasks.keys import parse_task_key, task_redis_prefix
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.lowlevel.server import request_ctx

from .._snapshot.codec import as_json as as_unreadable
from .._snapshot.codec import is_fernet

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

LIFESPAN = (LifespanMixin, "_docket_lifespan")

REGISTRIES: dict[str, tuple[ModuleType, ...]] = {
    "register_task_session": (context, dependencies, handlers),
    "get_task_session": (context, dependencies),
    "register_task_server": (context, dependencies, handlers),
    "get_task_server": (context, dependencies),
}


class SnapshotDecryptionError(Exception):
    """FastMCP 4 sealed the snapshot with a key of its own."""


class _Plaintext:
    protected: ClassVar[bool] = False

    def encode(self, text: str) -> str:
        return text

    def decode(self, stored: bytes) -> str:
        if is_fernet(stored):
            raise SnapshotDecryptionError
        return stored.decode()


_PLAINTEXT = _Plaintext()


def snapshot_codec() -> _Plaintext:
    return _PLAINTEXT


def snapshot_redis_key(docket: Docket, task_scope: str | None, task_id: str) -> str:
    return docket.key(f"{task_redis_prefix(task_scope)}:{task_id}:snapshot")


def current_message() -> Any:
    return request_ctx.get(None)


def current_request() -> object | None:
    # FastMCP's public getter returns an artificial request inside a task
    return _current_http_request.get()


def clear() -> None:
    auth_context_var.set(None)
    _task_snapshot.set(None)


def put_in_force(task_id: str, snapshot: Any) -> None:
    if snapshot.access_token_json is not None:
        AccessToken.model_validate_json(snapshot.access_token_json)
    _remember_snapshot(task_id, snapshot)
