"""The differences between FastMCP 3.4 and 4 for tasks: in the server, its worker, and its client."""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownArgumentType=false, reportArgumentType=false
from __future__ import annotations

from typing import Any, Final

import fastmcp
from fastmcp import Client, FastMCP

# absolute, because FastMCP's worker loads the server by its path
from taskctx._upstream.fastmcp import LINE

WORKER: Final = "fastmcp.cli tasks worker" if LINE == 3 else "fastmcp_tasks.worker_cli worker"  # noqa: PLR2004

if LINE == 3:  # noqa: PLR2004

    def give_tasks(server: FastMCP[Any], **settings: Any) -> None:  # noqa: ARG001
        """Give a server that is not started yet its queue and its worker."""
        for name, value in settings.items():
            setattr(fastmcp.settings.docket, name, value)

    async def call_as_task(client: Client[Any], tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> Any:
        """Call a tool, and get the task that it runs as."""
        return await client.call_tool(tool, arguments, meta=meta, raise_on_error=False, task=True)

else:
    from fastmcp_tasks import TasksExtension, call_tool_task

    def give_tasks(server: FastMCP[Any], **settings: Any) -> None:
        """Give a server that is not started yet its queue and its worker."""
        server.add_extension(TasksExtension(**settings))

    async def call_as_task(client: Client[Any], tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> Any:
        """Call a tool, and get the task that it runs as."""
        return await call_tool_task(client, tool, arguments, meta=meta, raise_on_error=False)
