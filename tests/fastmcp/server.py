"""A FastMCP server with task tools, that tell what they see of their caller."""

from __future__ import annotations

import hashlib
import os
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from docket import Docket
from fastmcp import Context, FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.dependencies import get_access_token, get_http_headers, get_server
from fastmcp.server.middleware import Middleware, MiddlewareContext
from fastmcp.utilities.tasks import TaskConfig
from opentelemetry import baggage, trace

import taskctx
from tests.fastmcp.installed import CurrentDocket, add_tasks, ask_caller, theirs
from tests.secrets import secret

TOKENS = {
    secret("token-ada"): {"client_id": "mcp-app", "scopes": ["tools"], "sub": "ada"},
    secret("token-bob"): {"client_id": "mcp-app", "scopes": ["tools"], "sub": "bob"},
    secret("token-eve"): {"client_id": "mcp-app", "scopes": ["tools"], "sub": "eve", "expires_at": 2**33},
}
ADA, BOB, EVE = TOKENS

LOCALE: ContextVar[str | None] = ContextVar("fastmcp_locale", default=None)

TASK = TaskConfig(mode="optional", poll_interval=timedelta(milliseconds=20))


def mark(value: object) -> str | None:
    """Something to compare a secret by, that may go over the wire and into logs."""
    return None if value is None else hashlib.sha256(str(value).encode()).hexdigest()[:12]


def look() -> dict[str, Any]:
    """What taskctx and FastMCP each say of the caller, here and now."""
    ours, other = taskctx.get_access_token(), get_access_token()
    task, their_task = taskctx.get_task_context(), theirs.get_task_context()
    return {
        "pid": os.getpid(),
        "token": mark(ours and ours.token),
        "their_token": mark(other and other.token),
        "same_token": (ours and ours.model_dump()) == (other and other.model_dump()),
        "headers": taskctx.get_http_headers() == get_http_headers(),
        "tenant": taskctx.get_http_headers().get("x-tenant"),
        "scope": taskctx.get_task_scope(),
        "their_scope": theirs.get_task_scope(),
        "task": None if task is None else [task.task_id, task.task_scope],
        "their_task": None if their_task is None else [their_task.task_id, their_task.task_scope],
        "session": mark(taskctx.get_task_session_id()),
        "their_session": mark(theirs.get_task_session_id()),
        "request_id": taskctx.get_request_id(),
        "baggage": baggage.get_baggage("tenant"),
        "locale": LOCALE.get(),
        "trace": trace.format_trace_id(trace.get_current_span().get_span_context().trace_id),
    }


async def look_in_plain_task() -> dict[str, Any]:
    """A Docket task that knows nothing of FastMCP."""
    token, task = taskctx.get_access_token(), taskctx.get_task_context()
    return {
        "pid": os.getpid(),
        "token": mark(token and token.token),
        "scope": taskctx.get_task_scope(),
        "tenant": taskctx.get_http_headers().get("x-tenant"),
        "request_id": taskctx.get_request_id(),
        "key_scope": None if task is None else task.task_scope,
    }


def make_server(url: str, name: str, *, concurrency: int = 10) -> FastMCP:
    """``concurrency`` 0 leaves the tasks to other workers."""
    verifier = StaticTokenVerifier(TOKENS)
    server = FastMCP(name, auth=verifier)
    add_tasks(server, url, name, concurrency)
    server.mount(_child(), namespace="child")
    server.add_middleware(_Locale())
    for tool in (see, whose_server, submit_plain, ask):
        server.tool(tool, task=TASK)
    server.tool(see_now)
    return server


class _Locale(Middleware):
    """Sets a ContextVar of the user's for each tool call."""

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: Any) -> Any:
        LOCALE.set(f"locale-{get_http_headers().get('x-tenant')}")
        return await call_next(context)


async def see() -> dict[str, Any]:
    return look()


async def see_now() -> dict[str, Any]:
    return look()


async def whose_server(ctx: Context) -> list[str]:
    """The server that the task's tool is of, by FastMCP's two ways of asking."""
    return [ctx.fastmcp.name, get_server().name]


async def submit_plain(docket: Docket = CurrentDocket()) -> dict[str, Any]:
    """Submit a plain Docket task as this task's caller, and wait for it."""
    execution = await taskctx.add(docket, look_in_plain_task)()
    return await execution.get_result(timeout=timedelta(seconds=20))


async def ask(ctx: Context) -> Any:
    """Ask the caller something, and tell what it sees once there is an answer."""
    question = await ask_caller(ctx)
    return look() if question is None else question


def _child() -> FastMCP:
    child = FastMCP("the child")
    child.tool(whose_server, task=TASK)
    return child
