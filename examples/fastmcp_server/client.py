"""A caller of the server::

python examples/fastmcp_server/client.py ada

Signs a token for itself, which your identity provider would do, calls the tools, and prints what they answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import jwt
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

if find_spec("fastmcp_tasks"):
    from fastmcp_tasks import call_tool_task  # pyright: ignore[reportUnknownVariableType] - a Client of anything
else:

    async def call_tool_task(client: Client[Any], name: str, arguments: dict[str, Any]) -> Any:
        """As FastMCP 3.4 has it."""
        return await client.call_tool(name, arguments, task=True)  # pyright: ignore[reportCallIssue, reportUnknownVariableType]


CALLS: dict[str, dict[str, str]] = {
    "report": {"subject": "tea"},
    "compare": {"one": "tea", "other": "coffee"},
    "archive_find": {"subject": "cocoa"},
}


def issue(key: str, subject: str, *, lifetime: int = 3600) -> str:
    """A token for ``subject``."""
    claims = {"iss": "reports-login", "aud": "reports", "client_id": "reports-app", "sub": subject}
    return jwt.encode(claims | {"exp": int(time.time()) + lifetime}, key, algorithm="HS256")


@asynccontextmanager
async def connected(url: str, token: str, **headers: str) -> AsyncGenerator[Client[Any]]:
    async with Client(StreamableHttpTransport(url, auth=token, headers=headers)) as client:
        yield client


async def main(subject: str) -> None:
    token = issue(os.environ["REPORTS_SIGNING_KEY"], subject)
    url = os.environ.get("REPORTS_URL", "http://127.0.0.1:8000/mcp")
    async with connected(url, token, **{"X-Tenant": "acme"}) as client:
        tasks = {tool: await call_tool_task(client, tool, arguments) for tool, arguments in CALLS.items()}
        for tool, task in tasks.items():
            answer = await task.result()
            print(f"{tool}: {json.dumps(answer.data)}")  # noqa: T201 - it is what this program is for


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ada"))
