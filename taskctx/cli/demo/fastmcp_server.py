"""The server of ``taskctx demo --fastmcp``; worker processes load this file too.

Its tools report what they see of their caller, and check that FastMCP's own getters see the same.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from docket.dependencies import current_worker
from fastmcp import FastMCP
from fastmcp.server import dependencies
from fastmcp.server.auth import AccessToken, TokenVerifier
from fastmcp.utilities.tasks import TaskConfig
from opentelemetry import trace

import taskctx

# absolute, because FastMCP's worker loads this file by its path
from taskctx.cli.demo import child, fastmcp_lines, identity, tasks
from taskctx.cli.demo.sighting import Sighting
from taskctx.fastmcp import instrument

AS_TASK = TaskConfig(mode="required", poll_interval=timedelta(milliseconds=50))

instrument()
# FastMCP's worker has no HTTP server for metrics
child.serve_metrics()


class Verifier(TokenVerifier):
    """Accepts the tokens that the demo issued."""

    async def verify_token(self, token: str) -> AccessToken | None:
        verified = identity.access_token(bytes.fromhex(os.environ[child.SIGNING_KEY]), token)
        return AccessToken(**verified) if verified else None


mcp: FastMCP = FastMCP("taskctx-demo", auth=Verifier())
fastmcp_lines.give_tasks(
    mcp,
    url=os.environ[child.URL],
    name=os.environ[child.DOCKET],
    worker_name=os.environ[child.NAME],
    concurrency=child.CONCURRENCY,
)
mounted: FastMCP = FastMCP("mounted")
mcp.mount(mounted, namespace="mounted")


async def report(number: int) -> dict[str, Any]:
    """Report what this task sees of its caller."""
    docket_span = trace.get_current_span()
    with tasks.tracer.start_as_current_span(tasks.BODY):
        context = tasks.see(docket_span)
        ours, theirs = taskctx.get_access_token(), dependencies.get_access_token()
        if (ours and ours.token) != (theirs and theirs.token):
            raise LookupError("FastMCP's getter sees another caller")
        # the client adds headers of its own, and the demo does not know the client's session
        headers = {name: value for name, value in context.headers.items() if name.startswith("x-")}
        context = context.model_copy(update={"headers": headers, "session_id": None})
        return Sighting(number=number, worker=current_worker.get().name, context=context).model_dump()


mcp.tool(report, task=AS_TASK)
mounted.tool(report, task=AS_TASK)
