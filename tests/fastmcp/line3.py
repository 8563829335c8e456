"""How the tests speak to FastMCP 3.4: tasks are of the server itself, and its settings say where the queue is."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import fastmcp
import pytest
from cryptography.fernet import Fernet
from fastmcp import Client, Context, FastMCP
from fastmcp.client.tasks import ToolTask
from fastmcp.exceptions import ToolError as CallError
from fastmcp.server import dependencies
from fastmcp.server.dependencies import CurrentDocket
from fastmcp.server.mixins.lifespan import LifespanMixin
from fastmcp.server.tasks import context, handlers

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

WORKER = ("-m", "fastmcp.cli", "tasks", "worker")

REFUSED = "Error calling tool"
"""What a client is told when its call fails before there is a task."""

PATCHED: list[tuple[Any, str]] = [
    (context.TaskContextSnapshot, "capture"),
    (context.TaskContextSnapshot, "save"),
    (context, "restore_task_snapshot"),
    (context, "register_task_server"),
    (handlers, "register_task_server"),
    (handlers, "register_task_session"),
    (dependencies, "get_task_server"),
    (LifespanMixin, "_docket_lifespan"),
]


@dataclass
class EncryptedCodec:
    """As a FastMCP 4 seals, which may share the queue."""

    key: str

    def encode(self, text: str) -> str:
        material = base64.urlsafe_b64encode(hashlib.sha256(self.key.encode()).digest())
        return Fernet(material).encrypt(text.encode()).decode()


def add_tasks(server: FastMCP, url: str, name: str, concurrency: int) -> None:
    """For the server that starts next."""
    docket = fastmcp.settings.docket
    docket.url, docket.name, docket.concurrency = url, name, concurrency
    docket.minimum_check_interval = timedelta(milliseconds=5)


async def call_tool_task(client: Client[Any], tool: str, arguments: Any = None, **options: Any) -> ToolTask:
    task = await client.call_tool(tool, arguments, task=True, **options)
    if task.returned_immediately:
        await task.result()
    return task


async def run_tool(client: Client[Any], tool: str, arguments: Any = None) -> Any:
    """What a tool answers, as a task where it can be one: the client has to say so."""
    known = {each.name: each for each in await client.list_tools()}[tool].execution
    if known is None or known.taskSupport in {None, "forbidden"}:
        return await client.call_tool(tool, arguments)
    return await (await call_tool_task(client, tool, arguments)).result()


def from_here(client: Client[Any], task: ToolTask) -> ToolTask:
    """A task that another client submitted, for this one."""
    return ToolTask(client, task.task_id, task._tool_name, raise_on_error=False)


async def answer(client: Client[Any], task: ToolTask) -> None:
    pytest.skip("FastMCP 3 asks while the task runs")


async def ask_caller(ctx: Context) -> Any:
    """None when the caller has answered."""
    await ctx.elicit("Which?", response_type=str)


def with_own_key(key: str) -> Iterator[None]:
    pytest.skip("FastMCP 3 has no key of its own")
    yield
