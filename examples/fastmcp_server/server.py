"""A FastMCP server whose tools run as tasks::

python examples/fastmcp_server/server.py
python -m fastmcp_tasks.worker_cli worker examples/fastmcp_server/server.py  # FastMCP 3.4: -m fastmcp.cli tasks worker

Server and workers load this file; ``FASTMCP_DOCKET_*`` tells them where the queue is.
"""

from __future__ import annotations

import os
from datetime import timedelta
from importlib.util import find_spec

from fastmcp import Context, FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.utilities.tasks import TaskConfig
from prometheus_client import start_http_server

import taskctx
from taskctx.fastmcp import instrument

instrument()

AS_TASK = TaskConfig(mode="optional", poll_interval=timedelta(milliseconds=250))
"""Clients that know tasks get one; others wait for the answer."""


def verifier() -> JWTVerifier:
    """Who may call: those with a token that was signed with our key, for us.

    A shared key stands for your identity provider, whose public keys go in as ``jwks_uri``.
    """
    key = os.environ["REPORTS_SIGNING_KEY"]
    return JWTVerifier(public_key=key, algorithm="HS256", issuer="reports-login", audience="reports")


mcp: FastMCP = FastMCP("reports", auth=verifier())
if find_spec("fastmcp_tasks"):
    # FastMCP 4; in 3.4 tasks are a part of it
    from fastmcp_tasks import TasksExtension

    mcp.add_extension(TasksExtension())
archive: FastMCP = FastMCP("archive")
mcp.mount(archive, namespace="archive")


@mcp.tool(task=AS_TASK)
async def report(subject: str) -> dict[str, str | int | None]:
    """Make a report on something, as the caller."""
    return {"report": f"all about {subject}"} | caller()


@mcp.tool(task=AS_TASK)
async def compare(one: str, other: str) -> dict[str, str | int | None]:
    """Compare two things, as the caller."""
    return {"report": f"{one} or {other}"} | caller()


@archive.tool(task=AS_TASK)
async def find(subject: str, ctx: Context) -> dict[str, str | int | None]:
    """Find an old report.  This one is the mounted server's."""
    return {"report": f"{ctx.fastmcp.name}: {subject}"} | caller()


def caller() -> dict[str, str | int | None]:
    """What taskctx knows of the caller, in the worker as in the request; FastMCP's own getters say the same."""
    token = taskctx.get_access_token()
    return {
        "for": taskctx.get_task_scope(),
        "client": None if token is None else token.client_id,
        "tenant": taskctx.get_http_headers().get("x-tenant"),
        "request": taskctx.get_request_id(),
        "made_by": os.getpid(),
    }


if "METRICS_PORT" in os.environ:
    # a worker has no HTTP server of its own
    start_http_server(int(os.environ["METRICS_PORT"]), addr="127.0.0.1")

if __name__ == "__main__":
    mcp.run(transport="http", port=int(os.environ.get("PORT", "8000")), show_banner=False)
