"""FastMCP's own way for a caller to come to a task, without taskctx: its functions, as they are, on Docket's tasks.

For each task there is in it, as ``fastmcp_tasks.creation.create_task`` and FastMCP's worker have it: the scope, a task
id, the key; ``TaskContextSnapshot.capture`` inside of a request with a verified token and headers, ``save``, and
``restore_task_snapshot`` as a dependency of the worker.  Not in it, in FastMCP's favour: MCP itself, validation of
arguments, its other keys for a task, the wait until the task is visible, the registry of servers, and running the tool.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import secrets
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from docket import Depends, Docket
from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken
from fastmcp.server.context import Context
from fastmcp.server.dependencies import (
    FastMCPRequestContext,
    _current_server,
    fastmcp_request_ctx,
    get_access_token,
    get_http_headers,
)
from fastmcp_tasks import context
from fastmcp_tasks.creation import TASK_MAPPING_TTL_BUFFER_SECONDS
from fastmcp_tasks.dependencies import _current_docket
from fastmcp_tasks.keys import build_task_key
from fastmcp_tasks.settings import tasks_settings
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.requests import Request

import taskctx
import taskctx.fastmcp

from . import callers
from .paths import Task, WithoutContext

TOOL = "job"
COMPONENT = f"tool:{TOOL}@"
MATERIAL = SecretStr("a benchmark's key, which is no secret")


class FastMCPsOwn(WithoutContext):
    """FastMCP's own path: encrypted with its own key, instrumented by taskctx, or neither."""

    def __init__(self, *, encrypted: bool = False, instrumented: bool = False) -> None:
        super().__init__()
        self._encrypted = encrypted
        self._instrumented = instrumented
        self._server: FastMCP = FastMCP("bench")
        self._session: Any = SimpleNamespace(_connection=None, _fastmcp_state_prefix=callers.SESSION)

    @property
    def dependencies(self) -> list[Any]:
        return [Depends(context.restore_task_snapshot)]

    def install(self) -> None:
        tasks_settings.encryption_key = MATERIAL if self._encrypted else None
        if self._instrumented:
            taskctx.configure(registry=CollectorRegistry())
            taskctx.fastmcp.instrument()
        else:
            taskctx.fastmcp.uninstrument()

    @asynccontextmanager
    async def serving(self, docket: Docket) -> AsyncGenerator[None]:
        """Set the context as FastMCP's lifespan does, inside one tool call of a server."""
        server, taken = _current_server.set(weakref.ref(self._server)), _current_docket.set(docket)
        owner: Any = self._server  # its type knows of no docket
        owner._docket = docket  # noqa: SLF001
        try:
            async with Context(self._server):
                yield
        finally:
            owner._docket = None  # noqa: SLF001
            _current_docket.reset(taken)
            _current_server.reset(server)

    def request(self, number: int) -> FastMCPRequestContext:
        headers = [(name.encode(), value.encode()) for name, value in callers.headers(number).items()]
        user = AuthenticatedUser(AccessToken(**callers.ACCESS))
        return FastMCPRequestContext(
            session=self._session,
            request_id=callers.request_id(number),
            meta=None,
            request=Request({"type": "http", "headers": headers, "user": user}),
            protocol_version="",
            close_sse_stream=None,
            lifespan_context=None,
            _srctx=cast("Any", None),
        )

    async def submit(self, docket: Docket, task: Task, number: int, request: FastMCPRequestContext) -> None:
        bound = fastmcp_request_ctx.set(request)
        try:
            scope, task_id = context.get_task_scope(), secrets.token_urlsafe(32)
            key = build_task_key(scope, task_id, "tool", COMPONENT)
            snapshot = context.TaskContextSnapshot.capture(owning_tool_name=TOOL)
            ttl = int(docket.execution_ttl.total_seconds()) + TASK_MAPPING_TTL_BUFFER_SECONDS
            await snapshot.save(docket, scope, task_id, ttl)
            await docket.add(task, key=key)(number)
        finally:
            fastmcp_request_ctx.reset(bound)

    def sees(self, number: int) -> bool:
        token = get_access_token()
        subject = None if token is None else token.claims.get("sub")
        request_id = get_http_headers(include_all=True).get(callers.REQUEST_ID)
        return subject == callers.SUBJECT and request_id == callers.request_id(number)
