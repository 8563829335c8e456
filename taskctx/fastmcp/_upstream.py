"""Every name of FastMCP's that taskctx uses: the one place that imports fastmcp.

What is private there, or is used in a way that FastMCP does not promise, has a test in tests/upstream/test_fastmcp.py.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import logging
from typing import cast

from docket import Docket
from fastmcp.server.dependencies import (
    fastmcp_request_ctx,
    get_access_token,
    get_context,
    get_http_headers,
    get_http_request,
)
from fastmcp.server.server import FastMCP
from fastmcp_tasks import context, creation, lifespan
from fastmcp_tasks.context import TaskContextSnapshot as FastMCPSnapshot
from fastmcp_tasks.context import _apply_snapshot_to_context as apply_snapshot
from fastmcp_tasks.context import _remember_snapshot as remember_snapshot
from fastmcp_tasks.context import _snapshot_redis_key as snapshot_redis_key
from fastmcp_tasks.dependencies import _current_docket
from fastmcp_tasks.encryption import SnapshotDecryptionError, snapshot_codec
from fastmcp_tasks.keys import parse_task_key

__all__ = [
    "FastMCP",
    "FastMCPSnapshot",
    "SnapshotDecryptionError",
    "apply_snapshot",
    "context",
    "creation",
    "docket_of",
    "fastmcp_request_ctx",
    "get_access_token",
    "get_context",
    "get_http_headers",
    "get_http_request",
    "lifespan",
    "logger",
    "parse_task_key",
    "remember_snapshot",
    "snapshot_codec",
    "snapshot_redis_key",
    "submission_docket",
]


logger: logging.Logger = logging.getLogger("fastmcp_tasks.context")
"""Where FastMCP itself logs what went wrong in a restore."""


def docket_of(server: FastMCP) -> Docket | None:
    """The docket that a server runs its tasks on, while it runs."""
    return cast("Docket | None", server._docket)  # noqa: SLF001


def submission_docket() -> Docket | None:
    """The docket that a tool call made here and now is submitted to, as FastMCP looks for it."""
    return docket_of(get_context().fastmcp) or _current_docket.get()
