"""FastMCP's own way for a caller to come to a task, without taskctx: its functions, as they are, on Docket's tasks.

In it, for each task, as ``fastmcp_tasks.creation.create_task`` and the worker of ``fastmcp_tasks.lifespan`` have it:
the scope, a task id, the key; ``TaskContextSnapshot.capture`` inside of a request with a verified token and headers,
``save`` with FastMCP's TTL, and ``restore_task_snapshot`` as a dependency of the worker.

Not in it, so that nothing but carrying the caller is compared: the MCP protocol, validation of arguments, FastMCP's
other keys for a task (its mapping, creation time, poll interval, arguments, leg), the wait until the task is visible,
the registry of servers and its look-up in the worker, and running the tool.  The request is bound once with all that it
holds, without MCP's session around it; its session id is found where FastMCP caches it.  All of this is in FastMCP's
favour, and so is that taskctx's own path begins with ``bind_caller``.
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
from fastmcp_tasks.context import (
    TaskContextSnapshot,
    _snapshot_redis_key,
    get_task_scope,
    restore_task_snapshot,
)
from fastmcp_tasks.creation import TASK_MAPPING_TTL_BUFFER_SECONDS
from fastmcp_tasks.dependencies import _current_docket
from fastmcp_tasks.encryption import snapshot_codec
from fastmcp_tasks.keys import build_task_key, parse_task_key
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.requests import Request

from . import callers
from .callers import Sight
from .paths import TTL, Kept, Task

TOOL = "look"
COMPONENT = f"tool:{TOOL}@"


class FastMCPsOwn:
    """Encrypted when ``FASTMCP_TASKS_ENCRYPTION_KEY`` is in the environment."""

    def __init__(self, *, encrypted: bool) -> None:
        if snapshot_codec().protected is not encrypted:
            raise RuntimeError("FASTMCP_TASKS_ENCRYPTION_KEY is not as this variant has it")
        self._server: FastMCP = FastMCP("bench")
        self._session: Any = SimpleNamespace(_connection=None, _fastmcp_state_prefix=callers.SESSION)

    @property
    def dependencies(self) -> list[Any]:
        return [Depends(restore_task_snapshot)]

    @asynccontextmanager
    async def serving(self, docket: Docket) -> AsyncGenerator[None]:
        """As FastMCP's lifespan leaves the context, and inside one tool call of a server."""
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

    def caller(self, number: int, payload: int | None) -> FastMCPRequestContext:
        token = AccessToken(
            token=callers.token(payload),
            client_id=callers.CLIENT,
            scopes=list(callers.SCOPES),
            expires_at=callers.expires_at(),
            claims=dict(callers.claims()),
        )
        headers = [(name.encode(), value.encode()) for name, value in callers.headers(number, payload).items()]
        request = Request({"type": "http", "headers": headers, "user": AuthenticatedUser(token)})
        return FastMCPRequestContext(
            session=self._session,
            request_id=callers.request_id(number),
            meta=None,
            request=request,
            protocol_version="",
            close_sse_stream=None,
            lifespan_context=None,
            _srctx=cast("Any", None),
        )

    async def submit(self, docket: Docket, task: Task, number: int, caller: FastMCPRequestContext) -> None:
        bound = fastmcp_request_ctx.set(caller)
        try:
            scope, task_id = get_task_scope(), secrets.token_urlsafe(32)
            key = build_task_key(scope, task_id, "tool", COMPONENT)
            snapshot = TaskContextSnapshot.capture(owning_tool_name=TOOL)
            ttl = int(docket.execution_ttl.total_seconds()) + TASK_MAPPING_TTL_BUFFER_SECONDS
            await snapshot.save(docket, scope, task_id, ttl)
            await docket.add(task, key=key)(number)
        finally:
            fastmcp_request_ctx.reset(bound)

    async def submit_many(self, docket: Docket, task: Task, numbers: range) -> None:
        for number in numbers:
            await self.submit(docket, task, number, self.caller(number, None))

    def seen(self) -> Sight:
        token = get_access_token()
        subject = None if token is None else token.claims.get("sub")
        return Sight(subject, get_http_headers().get(callers.REQUEST_ID))

    def expected(self, number: int) -> Sight:
        return callers.expected(number)

    def redis_key(self, docket: Docket, task_key: str) -> str:
        parts = parse_task_key(task_key)
        return _snapshot_redis_key(docket, parts["task_scope"], parts["client_task_id"])

    def keep(self, number: int) -> Kept:
        bound = fastmcp_request_ctx.set(self.caller(number, None))
        try:
            task_id = f"kept-{number}"
            key = build_task_key(get_task_scope(), task_id, "tool", COMPONENT)
            return Kept(TaskContextSnapshot.capture(owning_tool_name=TOOL), task_id, key)
        finally:
            fastmcp_request_ctx.reset(bound)

    async def save(self, docket: Docket, kept: Kept) -> None:
        await kept.snapshot.save(docket, f"{callers.CLIENT}|{callers.SUBJECT}", kept.task_id, TTL)

    async def restore(self, kept: Kept) -> None:
        await restore_task_snapshot(kept.task_key)
