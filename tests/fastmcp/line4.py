"""How the tests speak to FastMCP 4: a server with the tasks' extension, and clients that know it."""

# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import mcp_types
from fastmcp import Client, Context, FastMCP
from fastmcp_tasks import TasksExtension, context, creation, lifespan
from fastmcp_tasks import call_tool_task as _call_tool_task
from fastmcp_tasks import settings as fastmcp_settings
from fastmcp_tasks.client import ToolTask, _send_update
from fastmcp_tasks.dependencies import CurrentDocket
from fastmcp_tasks.encryption import EncryptedCodec, clear_codec_cache
from mcp.shared.exceptions import MCPError as CallError
from pydantic import SecretStr

__all__ = [
    "PATCHED",
    "REFUSED",
    "WORKER",
    "CallError",
    "CurrentDocket",
    "EncryptedCodec",
    "ToolTask",
    "add_tasks",
    "answer",
    "ask_caller",
    "call_tool_task",
    "from_here",
    "run_tool",
    "theirs",
    "with_own_key",
]

theirs = context

WORKER = ("-m", "fastmcp_tasks.worker_cli", "worker")

REFUSED = "Internal server error"
"""What a client is told when its call fails before there is a task."""

PATCHED: list[tuple[Any, str]] = [
    (context.TaskContextSnapshot, "capture"),
    (context.TaskContextSnapshot, "save"),
    (context, "restore_task_snapshot"),
    (context, "register_task_server"),
    (creation, "register_task_server"),
    (lifespan, "docket_lifespan"),
]


def add_tasks(server: FastMCP, url: str, name: str, concurrency: int) -> None:
    interval = timedelta(milliseconds=5)
    server.add_extension(TasksExtension(url=url, name=name, concurrency=concurrency, minimum_check_interval=interval))


async def call_tool_task(client: Client[Any], tool: str, arguments: Any = None, **options: Any) -> ToolTask:
    return await _call_tool_task(client, tool, arguments, **options)


async def run_tool(client: Client[Any], tool: str, arguments: Any = None) -> Any:
    """What a tool answers, as a task where it can be one: the client knows."""
    return await client.call_tool(tool, arguments)


def from_here(client: Client[Any], task: ToolTask) -> ToolTask:
    """A task that another client submitted, for this one."""
    return ToolTask(client, task._tool_name, task.create_result, raise_on_error=False)


async def answer(client: Client[Any], task: ToolTask) -> None:
    """Answer what a task asks, whatever it is, and so start its next leg."""
    status = await ToolTask(client, "", task.create_result).status()
    assert status.status == "input_required"
    answers: dict[str, Any] = {key: {"action": "accept", "content": {}} for key in status.input_requests or {}}
    await _send_update(client.session, task.task_id, answers)


async def ask_caller(ctx: Context) -> Any:
    """Ends its first leg with a question; None on the second, which has the answer."""
    if ctx.input_responses:
        return None
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    question = mcp_types.ElicitRequest(
        params=mcp_types.ElicitRequestFormParams(message="Which?", requested_schema=schema)
    )
    return mcp_types.InputRequiredResult(input_requests={"colour": question})


def with_own_key(key: str) -> Iterator[None]:
    """FASTMCP_TASKS_ENCRYPTION_KEY is set."""
    clear_codec_cache()
    settings = fastmcp_settings.tasks_settings
    before, settings.encryption_key = settings.encryption_key, SecretStr(key)
    yield
    settings.encryption_key = before
    clear_codec_cache()
