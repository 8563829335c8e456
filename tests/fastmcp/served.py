"""What server and worker processes load; the environment says how."""

from __future__ import annotations

import os
import sys

from prometheus_client import generate_latest

from taskctx.fastmcp import instrument
from tests.fastmcp.server import TASK, make_server

if os.environ.get("INSTRUMENTED") == "1":
    instrument()

mcp = make_server(
    os.environ["FASTMCP_DOCKET_URL"], os.environ["FASTMCP_DOCKET_NAME"], concurrency=int(os.environ["CONCURRENCY"])
)


async def series() -> str:
    """The series of the process that runs this task."""
    return generate_latest().decode()


mcp.tool(series, task=TASK)

if __name__ == "__main__":
    mcp.run(transport="http", port=int(sys.argv[1]), show_banner=False, log_level="warning")
